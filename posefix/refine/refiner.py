"""The public face: images and estimated poses in, better poses out."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from posefix.core import geometry
from posefix.core.errors import InputError
from posefix.core.neighbours import OtherPeople
from posefix.core.people import FARTHEST, People, with_refined
from posefix.core.skeleton import Skeleton
from posefix.engines import accelerate
from posefix.media.crop_stream import stream_crops
from posefix.models import checkpoint as checkpoints
from posefix.models import decode
from posefix.models.fold import fold_batch_norm
from posefix.models.interface import InputPose, RefinementNetwork
from posefix.models.network import FusionNetwork, PoseFixNetwork
from posefix.refine.rescoring import expected_oks, rescored, was_rescored
from posefix.refine.settings import RefineSettings
from posefix.refine.views import Views

WITHOUT_POSE_COST = 0.1  # expected OKS by which the image alone must do better for the pose to be put aside
POSE_VIEW_COST = 0.25  # expected OKS by which the place of a pose must be better than that of the person's box
LEAST_SCORE = 1e-4  # of a keypoint: 0 would say that there is none
LOOK_AGAIN = (0.85, 0.7)  # expected OKS below which a person is refined a second and a third time
Poses = TypeVar("Poses", np.ndarray, People)


@dataclass(frozen=True)
class RefinedBatch:
    """What became of one batch of people.

    Attributes:
        rows: (B,) int64 positions in the people that were given.
        keypoints: (B, K, 2) float32, pixels of the original image.
        expected: (B,) float32 OKS that is expected of each person, as told by the first pass (of what it said itself a
            network always thinks well); NaN where the image could not be used.
        keypoint_scores: (B, K) float32 expected similarity of each keypoint to the truth times the probability that it
            is in the image; NaN where nothing can be said.
        problems: for each row whose image could not be used, ``(row, sentence)``; its keypoints are the input's.
    """

    rows: np.ndarray
    keypoints: np.ndarray
    expected: np.ndarray
    keypoint_scores: np.ndarray
    problems: list[tuple[int, str]]


@dataclass(frozen=True)
class Refinement:
    """What has become of N people so far, batch by batch: arrays as in :class:`RefinedBatch`, of everybody."""

    keypoints: np.ndarray
    expected: np.ndarray
    keypoint_scores: np.ndarray
    problems: list[str]

    @classmethod
    def of(cls, people: People) -> Refinement:
        """Nothing yet: everybody is where they were."""
        shape = people.scores.shape
        unknown = np.full(len(people), np.nan, np.float32), np.full(shape, np.nan, np.float32)
        return cls(people.keypoints.copy(), *unknown, [])

    def take(self, batch: RefinedBatch) -> None:
        """Note a batch."""
        self.keypoints[batch.rows], self.expected[batch.rows] = batch.keypoints, batch.expected
        self.keypoint_scores[batch.rows] = batch.keypoint_scores
        self.problems.extend(text for _, text in batch.problems)

    def apply(self, people: People, rescore: bool, keypoint_scores: bool) -> People:
        """The people with their refined keypoints and, if asked for, new scores of people and of keypoints."""
        scores = people.scores
        if keypoint_scores:
            known = np.isfinite(self.keypoint_scores)
            scores = np.where(known, np.maximum(self.keypoint_scores, LEAST_SCORE), scores)
        refined = people.with_keypoints(self.keypoints, scores)
        return rescored(refined, self.expected) if rescore else refined


class Refiner:
    """A trained refiner.

    Args:
        checkpoint: the network with its configuration and skeleton.
        device: where the network runs.
        keep_margin: a keypoint moves only where the network expects its similarity to the truth (KS) to grow by more
            than this; 0 moves whenever any gain is expected, 1 never moves. None takes the checkpoint's own.
        engine: what runs the network's eyes: ``torch``, ``openvino``, or ``auto`` for the fastest that is installed.

    Example::

        refiner = Refiner.from_pretrained()
        better = refiner(image, keypoints)
    """

    def __init__(
        self,
        checkpoint: checkpoints.Checkpoint,
        device: str | torch.device = "cpu",
        keep_margin: float | None = None,
        engine: str = "auto",
    ) -> None:
        self.device = torch.device(device)
        self.network = self._prepare(checkpoint)
        self.engine = accelerate(self.network, engine, self.device)
        self.config = checkpoint.config
        self.skeleton: Skeleton = checkpoint.skeleton
        self.training_info = checkpoint.training_info
        self.keep_margin = self.config.keep_margin if keep_margin is None else keep_margin

    def _prepare(self, checkpoint: checkpoints.Checkpoint) -> RefinementNetwork:
        """A copy of the checkpoint's network that is as fast as it can be."""
        network = copy.deepcopy(checkpoint.network).eval()
        k, size = len(checkpoint.skeleton), checkpoint.config.input_size
        if isinstance(network, PoseFixNetwork):
            example = torch.zeros(1, 3, *size), torch.zeros(1, k, 2), torch.zeros(1, k)
            device = next(network.parameters()).device
            fold_batch_norm(network, *(tensor.to(device) for tensor in example))
        layout = torch.channels_last if checkpoint.config.channels_last else torch.contiguous_format
        return network.to(self.device, memory_format=layout)

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | Path = checkpoints.DEFAULT, device: str | torch.device | None = None, **options: Any
    ) -> Refiner:
        """Load by the name of a checkpoint in the package or by path; ``device`` defaults to a GPU if there is one.

        Raises:
            InputError: when the checkpoint or the device cannot be used.
        """
        if device is None:
            device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            torch.zeros(1, device=device).cpu()
        except (RuntimeError, AssertionError) as error:
            raise InputError(f"device {str(device)!r} cannot be used here ({str(error).splitlines()[0]})") from None
        return cls(checkpoints.load_checkpoint(name_or_path, device), device, **options)

    def __call__(
        self,
        image: np.ndarray,
        keypoints: Poses,
        boxes: np.ndarray | None = None,
        settings: RefineSettings | None = None,
    ) -> Poses:
        """Refine the people of one image.

        Args:
            image: (H, W, 3) uint8, RGB; OpenCV's are BGR (``cv2.cvtColor(image, cv2.COLOR_BGR2RGB)``).
            keypoints: (N, K, 3) x, y in pixels and score; a score of 0 says that there is no estimate. Or
                :class:`~posefix.People` of one image, of any skeleton that shares keypoints with this refiner's.
            boxes: (N, 4) xywh in pixels, or None to take the people's own, or the poses' extents.
            settings: how to refine; None takes the defaults.

        Returns:
            (N, K, 3) float32, scores as they came. Of people, the same people: keypoints that this refiner does not
            know, and those without an estimate, stay as they are.

        Raises:
            InputError: when shapes or types are not these.
        """
        if isinstance(keypoints, People):
            people = keypoints if boxes is None else replace(keypoints, boxes=boxes)
            return with_refined(keypoints, self._refine_image(people, image, settings))
        keypoints = np.asarray(keypoints, np.float32)
        k = len(self.skeleton)
        if keypoints.ndim != 3 or keypoints.shape[1:] != (k, 3) or not np.isfinite(keypoints).all():
            raise InputError(
                f"keypoints must be finite and (N, {k}, 3) for {self.skeleton.name}, got {keypoints.shape}"
            )
        people = People(self.skeleton, keypoints[..., :2], keypoints[..., 2], np.zeros(len(keypoints)), boxes=boxes)
        refined = self.refine(people, {0: image}, settings)
        return np.concatenate([refined.keypoints, refined.scores[..., None]], axis=-1)

    def _refine_image(self, people: People, image: np.ndarray, settings: RefineSettings | None) -> People:
        """People of one image and any skeleton, refined in this refiner's."""
        ids = np.unique(people.image_ids).tolist()
        if len(ids) > 1:
            raise InputError(f"people of {len(ids)} images were given with one image; use Refiner.refine for several")
        if (self.skeleton.indices_from(people.skeleton) < 0).all():
            raise InputError(
                f"the checkpoint refines {self.skeleton.name} poses, which have no keypoint of {people.skeleton.name}"
            )
        return self.refine(people.to_skeleton(self.skeleton), dict.fromkeys(ids, image), settings)

    def refine(
        self, people: People, images: Mapping[int, np.ndarray], settings: RefineSettings | None = None
    ) -> People:
        """Refine many people of many images; the same people in the same order, with better keypoints.

        Where a person's keypoints go depends on the image, this pose and the other poses in the same image alone.

        Args:
            people: of this refiner's skeleton. People with ``original_scores`` were refined before, and stay as they
                are.
            images: image id to (H, W, 3) uint8 RGB; looked up once per image (again for each 256 people in one), in
                order of image id, by several threads: a :class:`posefix.media.images.ImageFolder` decodes there.
            settings: how to refine; None takes the defaults.

        Raises:
            InputError: for an unusable image, or people of another skeleton.
        """
        settings = settings or RefineSettings()
        refined = Refinement.of(people)
        for batch in self.refine_batches(people, images, settings):
            refined.take(batch)
        return refined.apply(people, settings.rescore, settings.keypoint_scores)

    def refine_batches(
        self,
        people: People,
        images: Mapping[int, np.ndarray],
        settings: RefineSettings | None = None,
        *,
        first_batch: int = 0,
    ) -> Iterator[RefinedBatch]:
        """Like :meth:`refine`, a batch at a time as they are done; people who were refined before are in none.

        Which people make up a batch depends on the people and ``batch_size`` alone, so that a run which starts at
        ``first_batch`` goes on exactly where another one stopped.
        """
        settings = settings or RefineSettings()
        batch_size = settings.batch_size
        self._check(people, first_batch)
        new = np.flatnonzero(~was_rescored(people))
        order = new[np.argsort(people.image_ids[new], kind="stable")][first_batch * batch_size :]
        views = Views.of(people, order, self.config.frame_size, self.config.box_padding)
        crops = stream_crops(
            people.image_ids[views.rows],
            geometry.translated(views.maps, self.config.frame_margin),
            self.config.input_size,
            images,
            workers=settings.workers,
            ahead=3 * batch_size,
            skip=settings.on_error == "skip",
        )
        others = OtherPeople(people)
        for start in range(0, len(order), batch_size):
            end = min(start + batch_size, len(order))
            part = views.of_people(start, end)
            cut = [next(crops) for _ in part.rows]
            yield self._refine_batch(people, order[start:end], part, cut, others, settings.flip_test, settings.passes)

    def _check(self, people: People, first_batch: int) -> None:
        if people.skeleton.keypoint_names != self.skeleton.keypoint_names:
            raise InputError(
                f"the checkpoint refines {self.skeleton.name} poses ({len(self.skeleton)} keypoints), "
                f"not {people.skeleton.name} ({len(people.skeleton)})"
            )
        if first_batch < 0:
            raise ValueError(f"first_batch must be 0 or more, got {first_batch}")
        if not (np.isfinite(people.keypoints).all() and np.isfinite(people.scores).all()):
            raise ValueError("keypoints and scores must be finite; give a keypoint without estimate score 0 at (0, 0)")
        if len(people) and np.abs(people.keypoints).max() > FARTHEST:
            raise ValueError(f"keypoints must lie within +-{FARTHEST:,.0f} px of the image's corner")

    def _refine_batch(
        self,
        people: People,
        rows: np.ndarray,
        views: Views,
        crops: list[np.ndarray | str],
        others: OtherPeople,
        flip_test: bool,
        passes: int,
    ) -> RefinedBatch:
        """Refine the people at ``rows`` by what their views show; of two views the one of which more is expected."""
        problems = {int(row): crop for row, crop in zip(views.rows, crops, strict=True) if isinstance(crop, str)}
        usable = np.array([not isinstance(crop, str) for crop in crops]) & geometry.known_boxes(views.boxes)
        done = RefinedBatch(
            rows,
            people.keypoints[rows].copy(),
            np.full(len(rows), np.nan, np.float32),
            np.full((len(rows), len(self.skeleton)), np.nan, np.float32),
            list(problems.items()),
        )
        if usable.any():
            stacked = np.stack([crop for crop, use in zip(crops, usable, strict=True) if use])
            found = self._refine_views(people, views.take(usable), stacked, others, flip_test, passes)
            owner = views.people[usable] - views.people[0]
            worth = found[1] - POSE_VIEW_COST * (np.diff(owner, prepend=-1) == 0)
            better = np.lexsort((worth, owner))  # the last one of each person is the one expected to be best
            best = better[np.r_[owner[better][1:] != owner[better][:-1], True]]
            for own, new in zip((done.keypoints, done.expected, done.keypoint_scores), found, strict=True):
                own[owner[best]] = new[best]
        return done

    @torch.inference_mode()
    def _refine_views(
        self, people: People, views: Views, crops: np.ndarray, others: OtherPeople, flip_test: bool, passes: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Keypoints (V, K, 2) in the original image, expected OKS (V,) and keypoint scores (V, K) of V views."""
        seen = self.network.see(torch.from_numpy(crops).to(self.device).permute(0, 3, 1, 2), flip_test)
        pose = self._input_pose(people, views, others)
        keypoints, similarity, expected = self._decode(seen, pose)
        if isinstance(self.network, FusionNetwork):  # what would be said without the pose costs next to nothing
            nobody = {name: torch.zeros_like(getattr(pose, name)) for name in ("scores", "other_scores")}
            alone = self._decode(seen, pose._replace(**nobody))
            better = alone[2] > expected + WITHOUT_POSE_COST
            keypoints, similarity, expected = (
                torch.where(better.view(-1, *[1] * (with_pose.ndim - 1)), without, with_pose)
                for without, with_pose in zip(alone, (keypoints, similarity, expected), strict=True)
            )
        for least in LOOK_AGAIN[: passes - 1]:
            again = torch.nonzero(expected < least)[:, 0]
            if not len(again):
                break
            part = pose.take(again)._replace(keypoints=keypoints[again])
            keypoints[again] = self._decode(type(seen)(*(tensor[again] for tensor in seen)), part)[0]
        original = geometry.transform(keypoints.cpu().numpy().astype(np.float64), geometry.invert(views.maps))
        stays = (keypoints == pose.keypoints).all(-1).cpu().numpy()
        moved = np.where(stays[..., None], people.keypoints[views.rows], original)
        return moved, expected.cpu().numpy(), similarity.cpu().numpy()

    def _input_pose(self, people: People, views: Views, others: OtherPeople) -> InputPose:
        """What is known of the people of V views, in pixels of each view's frame."""
        rows, maps = views.rows, views.maps
        lengths = np.sqrt(geometry.BOX_AREA_TO_AREA * views.boxes[:, 2] * views.boxes[:, 3])
        scales = lengths[:, None] * 2 * self.skeleton.sigmas
        scores = people.scores[rows] * views.posed[:, None]
        their_keypoints, their_scores = others.nearest(rows, people.keypoints[rows], scores > 0, scales, views.boxes)
        arrays = (
            geometry.transform(people.keypoints[rows], maps),
            scores,
            scales * geometry.map_scale(maps)[:, None],
            geometry.transform(their_keypoints, maps),
            their_scores,
        )
        return InputPose(*(torch.from_numpy(array.astype(np.float32)).to(self.device) for array in arrays))

    def _decode(self, seen: Any, pose: InputPose) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Keypoints (V, K, 2) in the frame, their scores (V, K), and the OKS that is expected (V,)."""
        answer = self.network.answer(seen, pose)
        keypoints, similarity = decode.most_similar(
            answer.posterior,
            pose.scales,
            self.config.frame_size,
            pose.keypoints,
            pose.scores > 0,
            self.keep_margin,
        )
        expected = answer.person
        if expected is None:
            mean = expected_oks(similarity.cpu().numpy(), pose.scores.cpu().numpy())
            expected = torch.from_numpy(mean).to(similarity.device)
        scores = similarity.nan_to_num(0)  # outside the crop nothing is known
        return keypoints, scores if answer.presence is None else scores * answer.presence, expected

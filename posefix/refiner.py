"""The public face: images and estimated poses in, better poses out."""

from __future__ import annotations

import copy
import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from posefix import geometry
from posefix.adapters import with_refined
from posefix.data.crops import crop_image, input_amplitudes
from posefix.errors import InputError
from posefix.model import adapt, decode
from posefix.model import checkpoint as checkpoints
from posefix.model.fuse import fold_batch_norm
from posefix.model.network import RefinerNetwork
from posefix.people import FARTHEST, People
from posefix.rescoring import expected_oks, rescored, was_rescored
from posefix.skeleton import Skeleton

PEOPLE_PER_READ = 256  # people cut out of an image each time it is decoded
ADAPTING_PEOPLE = 256  # the first by image id, from whom it is found whether the input poses have errors at all
LOOK_AGAIN = (0.85, 0.7)  # expected OKS below which a person is refined a second and a third time
ADAPTING_ELEMENTS = 1 << 25  # of their beliefs that are in memory at a time, 128 MiB; fewer people where maps are large
Poses = TypeVar("Poses", np.ndarray, People)


@dataclass(frozen=True)
class RefinedBatch:
    """What became of one batch of people.

    Attributes:
        rows: (B,) int64 positions in the people that were given.
        keypoints: (B, K, 2) float32, pixels of the original image.
        problems: for each row whose image could not be used, ``(row, sentence)``; its keypoints are the input's.
        shares: (R,) what the poses' offsets from the truth were taken to be (:mod:`posefix.model.adapt`), or None.
        expected: (B,) float32 OKS that is expected of each person now; NaN where the image could not be used.
    """

    rows: np.ndarray
    keypoints: np.ndarray
    problems: list[tuple[int, str]]
    shares: np.ndarray | None = None
    expected: np.ndarray | None = None


@dataclass(frozen=True)
class _Look:
    """One batch between the network and the decision: B people, of whom G have a usable crop.

    Attributes:
        rows: (B,) int64 positions in the people that were given.
        keypoints: (B, K, 2) float32 input, pixels of the original image.
        problems: as in :class:`RefinedBatch`.
        usable: (G,) int64 places of the usable ones among the B.
        crops: (G, 3, height, width) uint8.
        belief: (G, K, h, w) over each keypoint's truth.
        pose: (G, K, 2) input in pixels of the crop.
        scores: (G, K) float32 confidences of the input, on the host.
        heights: (G, K) of the input's Gaussians; 0 where there is no input.
        tolerances: (G, K) s k_j in pixels of the crop.
        maps: (G, 2, 3) from original pixels to the crop's.
    """

    rows: np.ndarray
    keypoints: np.ndarray
    problems: list[tuple[int, str]]
    usable: np.ndarray
    crops: torch.Tensor
    belief: torch.Tensor
    pose: torch.Tensor
    scores: np.ndarray
    heights: torch.Tensor
    tolerances: torch.Tensor
    maps: np.ndarray

    @property
    def present(self) -> torch.Tensor:
        """(G, K) bool, whether there is an input."""
        return self.heights > 0


class Refiner:
    """A trained refiner.

    Args:
        checkpoint: the network with its configuration and skeleton.
        device: where the network runs.
        keep_margin: a keypoint moves only where the network expects its similarity to the truth (KS) to grow by more
            than this; 0 moves whenever any gain is expected, 1 never moves. None takes the checkpoint's own.

    Example::

        refiner = Refiner.from_pretrained("posefix-small")
        better = refiner(image, keypoints)
    """

    def __init__(
        self, checkpoint: checkpoints.Checkpoint, device: str | torch.device = "cpu", keep_margin: float | None = None
    ) -> None:
        self.device = torch.device(device)
        self.network = self._prepare(checkpoint)
        self.config = checkpoint.config
        self.skeleton: Skeleton = checkpoint.skeleton
        self.facts = checkpoint.facts
        self.keep_margin = self.config.model.keep_margin if keep_margin is None else keep_margin

    def _prepare(self, checkpoint: checkpoints.Checkpoint) -> RefinerNetwork:
        """A copy of the checkpoint's network that is as fast as it can be."""
        network = copy.deepcopy(checkpoint.network).eval()
        k, size = len(checkpoint.skeleton), checkpoint.config.model.input_size
        device = next(network.parameters()).device
        crops, poses, heights = torch.zeros(1, 3, *size), torch.zeros(1, k, 2), torch.zeros(1, k)
        fold_batch_norm(network, crops.to(device), poses.to(device), heights.to(device))
        layout = torch.channels_last if checkpoint.config.model.channels_last else torch.contiguous_format
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
        self, image: np.ndarray, keypoints: Poses, boxes: np.ndarray | None = None, flip_test: bool = True
    ) -> Poses:
        """Refine the people of one image.

        Args:
            image: (H, W, 3) uint8, RGB; OpenCV's are BGR (``cv2.cvtColor(image, cv2.COLOR_BGR2RGB)``).
            keypoints: (N, K, 3) x, y in pixels and score; a score of 0 says that there is no estimate. Or
                :class:`~posefix.people.People` of one image, of any skeleton that shares keypoints with this refiner's.
            boxes: (N, 4) xywh in pixels, or None to take the people's own, or the poses' extents.
            flip_test: average over the mirrored image.

        Returns:
            (N, K, 3) float32, scores as they came. Of people, the same people: keypoints that this refiner does not
            know, and those without an estimate, stay as they are.

        Raises:
            ValueError: when shapes or types are not these.
        """
        if isinstance(keypoints, People):
            people = keypoints if boxes is None else replace(keypoints, boxes=boxes)
            return with_refined(keypoints, self._refine_image(people, image, flip_test))
        keypoints = np.asarray(keypoints, np.float32)
        k = len(self.skeleton)
        if keypoints.ndim != 3 or keypoints.shape[1:] != (k, 3) or not np.isfinite(keypoints).all():
            raise ValueError(
                f"keypoints must be finite and (N, {k}, 3) for {self.skeleton.name}, got {keypoints.shape}"
            )
        people = People(self.skeleton, keypoints[..., :2], keypoints[..., 2], np.zeros(len(keypoints)), boxes=boxes)
        refined = self.refine(people, {0: image}, flip_test=flip_test)
        return np.concatenate([refined.keypoints, refined.scores[..., None]], axis=-1)

    def _refine_image(self, people: People, image: np.ndarray, flip_test: bool) -> People:
        """People of one image and any skeleton, refined in this refiner's."""
        ids = np.unique(people.image_ids).tolist()
        if len(ids) > 1:
            raise InputError(f"people of {len(ids)} images were given with one image; use Refiner.refine for several")
        if (self.skeleton.indices_from(people.skeleton) < 0).all():
            raise InputError(
                f"the checkpoint refines {self.skeleton.name} poses, which have no keypoint of {people.skeleton.name}"
            )
        return self.refine(people.to_skeleton(self.skeleton), dict.fromkeys(ids, image), flip_test=flip_test)

    def refine(
        self,
        people: People,
        images: Mapping[int, np.ndarray],
        *,
        batch_size: int = 64,
        flip_test: bool = True,
        workers: int = 2,
        on_error: str = "stop",
        rescore: bool = False,
        passes: int = 1 + len(LOOK_AGAIN),
    ) -> People:
        """Refine many people of many images; the same people in the same order, with better keypoints.

        Args:
            people: of this refiner's skeleton.
            images: image id to (H, W, 3) uint8 RGB; looked up once per image (again for each 256 people in one), in
                order of image id, by ``workers`` threads: a :class:`posefix.data.images.ImageFolder` decodes there.
            batch_size: people in a batch; batches run across images.
            flip_test: average over the mirrored image; twice the work.
            workers: threads that decode and crop while the network runs.
            on_error: ``"stop"`` raises at the first unusable image, ``"skip"`` hands its people through.
            rescore: also give people scores that rank them by how good they are (:mod:`posefix.rescoring`).
            passes: how often a person may be refined; more than once only those of whom little is expected.

        People whose ``extra`` has an ``original_score`` were refined and rescored before, and stay as they are.

        Raises:
            InputError: for an unusable image, or people of another skeleton.
        """
        keypoints, expected = people.keypoints.copy(), np.full(len(people), np.nan, np.float32)
        batches = self.refine_batches(
            people,
            images,
            batch_size=batch_size,
            flip_test=flip_test,
            workers=workers,
            on_error=on_error,
            passes=passes,
        )
        for batch in batches:
            keypoints[batch.rows], expected[batch.rows] = batch.keypoints, batch.expected
        refined = people.with_keypoints(keypoints)
        return rescored(refined, expected) if rescore else refined

    def refine_batches(
        self,
        people: People,
        images: Mapping[int, np.ndarray],
        *,
        batch_size: int = 64,
        flip_test: bool = True,
        workers: int = 2,
        on_error: str = "stop",
        first_batch: int = 0,
        shares: np.ndarray | None = None,
        passes: int = 1 + len(LOOK_AGAIN),
    ) -> Iterator[RefinedBatch]:
        """Like :meth:`refine`, a batch at a time as they are done.

        Which people make up a batch depends on the people and ``batch_size`` alone, so that a run which starts at
        ``first_batch`` with the ``shares`` of an earlier batch goes on exactly where another one stopped.
        """
        if people.skeleton.keypoint_names != self.skeleton.keypoint_names:
            raise InputError(
                f"the checkpoint refines {self.skeleton.name} poses ({len(self.skeleton)} keypoints), "
                f"not {people.skeleton.name} ({len(people.skeleton)})"
            )
        if batch_size < 1 or on_error not in ("stop", "skip"):
            raise ValueError(
                f"batch_size must be 1 or more and on_error stop or skip, got {batch_size} and {on_error!r}"
            )
        if first_batch < 0 or passes < 1:
            raise ValueError(f"first_batch must be 0 or more and passes 1 or more, got {first_batch} and {passes}")
        if self.config.model.input_shares is None:
            shares = None
        elif shares is not None and np.shape(shares) != (adapt.COMPONENTS,):
            raise ValueError(f"shares must be ({adapt.COMPONENTS},), as of an earlier batch, got {np.shape(shares)}")
        if not (np.isfinite(people.keypoints).all() and np.isfinite(people.scores).all()):
            raise ValueError("keypoints and scores must be finite; give a keypoint without estimate score 0 at (0, 0)")
        if len(people) and np.abs(people.keypoints).max() > FARTHEST:
            raise ValueError(f"keypoints must lie within +-{FARTHEST:,.0f} px of the image's corner")
        order = np.argsort(people.image_ids, kind="stable")[first_batch * batch_size :]
        looks = self._looks(people, images, order, batch_size, flip_test, max(workers, 1), on_error)
        waiting: deque[_Look] = deque()
        if shares is None and self.config.model.input_shares is not None:
            elements = len(self.skeleton) * math.prod(self.network.heatmap_size)
            most = max(min(ADAPTING_PEOPLE, ADAPTING_ELEMENTS // elements), 1)
            waiting.extend(islice(looks, -(-most // batch_size)))
            shares = self._fit_shares(waiting, most)
        new = ~was_rescored(people)
        while waiting:
            look = waiting.popleft()
            yield self._settle(look, shares, new[look.rows], passes, flip_test)
        for look in looks:
            yield self._settle(look, shares, new[look.rows], passes, flip_test)

    def _looks(
        self,
        people: People,
        images: Mapping[int, np.ndarray],
        order: np.ndarray,
        batch_size: int,
        flip_test: bool,
        workers: int,
        on_error: str,
    ) -> Iterator[_Look]:
        """What the network sees, a batch of the people in ``order`` at a time."""
        stream = self._crops(people, order, images, workers, 3 * batch_size, on_error)
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            crops, problems = [], []
            for row in rows:
                crop = next(stream)
                crops.append(None if isinstance(crop, str) else crop)
                if isinstance(crop, str):
                    problems.append((int(row), crop))
            boxes, maps = self._boxes_and_maps(people, rows)
            good = np.array([crop is not None for crop in crops]) & geometry.known_boxes(boxes)
            usable = np.flatnonzero(good)
            yield self._look(
                rows, problems, people, usable, [crops[i] for i in usable], maps[usable], boxes[usable], flip_test
            )

    def _boxes_and_maps(self, people: People, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Boxes (R, 4) of the people at ``rows`` and the maps (R, 2, 3) to their crops."""
        boxes = geometry.person_boxes(people.boxes[rows], people.keypoints[rows], people.labelled[rows])
        return boxes, geometry.crop_matrices(boxes, self.config.model.input_size, self.config.model.box_padding)

    def _crops(
        self,
        people: People,
        order: np.ndarray,
        images: Mapping[int, np.ndarray],
        workers: int,
        ahead: int,
        on_error: str,
    ) -> Iterator[np.ndarray | str]:
        """The crop of each person in ``order``, or the sentence that says why there is none."""
        size = self.config.model.input_size

        def read(rows: np.ndarray) -> list[np.ndarray | str]:
            try:
                image = _checked_image(images, int(people.image_ids[rows[0]]))
            except InputError as error:
                if on_error == "stop":
                    raise
                return [str(error)] * len(rows)
            return [crop_image(image, matrix, size) for matrix in self._boxes_and_maps(people, rows)[1]]

        ids = people.image_ids[order]
        starts = np.flatnonzero(np.r_[True, ids[1:] != ids[:-1]]) if len(ids) else np.zeros(0, int)
        bounds = np.r_[starts, len(ids)]
        pieces = (
            order[first : min(first + PEOPLE_PER_READ, end)]
            for begin, end in pairwise(bounds)
            for first in range(begin, end, PEOPLE_PER_READ)
        )
        pending: deque[tuple[int, Future]] = deque()
        waiting = 0
        pool = ThreadPoolExecutor(workers, thread_name_prefix="crop")
        try:
            for piece in pieces:
                pending.append((len(piece), pool.submit(read, piece)))
                waiting += len(piece)
                while waiting > ahead:
                    count, future = pending.popleft()
                    waiting -= count
                    yield from future.result()
            while pending:
                yield from pending.popleft()[1].result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    @torch.inference_mode()
    def _look(
        self,
        rows: np.ndarray,
        problems: list[tuple[int, str]],
        people: People,
        usable: np.ndarray,
        crops: list[np.ndarray],
        maps: np.ndarray,
        boxes: np.ndarray,
        flip_test: bool,
    ) -> _Look:
        """Run the network on the ``usable`` ones among the people at ``rows``."""
        size, skeleton = self.config.model.input_size, self.skeleton
        keypoints, scores = people.keypoints[rows[usable]], people.scores[rows[usable]]
        points = geometry.transform(keypoints, maps).astype(np.float32)
        lengths = np.sqrt(geometry.BOX_AREA_TO_AREA * boxes[:, 2] * boxes[:, 3]) * geometry.map_scale(maps)
        tolerances = (lengths[:, None] * 2 * skeleton.sigmas).astype(np.float32)
        pose, heights, scales = (
            torch.from_numpy(values).to(self.device)
            for values in (points, input_amplitudes(scores, self.config.model.amplitude), tolerances)
        )
        stacked = np.stack(crops) if crops else np.zeros((0, *size, 3), np.uint8)
        image = torch.from_numpy(stacked).to(self.device).permute(0, 3, 1, 2)
        belief = self._belief(image, pose, heights, flip_test)
        original = people.keypoints[rows].copy()
        return _Look(rows, original, problems, usable, image, belief, pose, scores, heights, scales, maps)

    def _belief(self, image: torch.Tensor, pose: torch.Tensor, heights: torch.Tensor, flip_test: bool) -> torch.Tensor:
        """Where the truth may be, (G, K, h, w), of crops (G, 3, H, W) with poses (G, K, 2) of heights (G, K)."""
        if not len(image):
            return pose.new_zeros((0, len(self.skeleton), *self.network.heatmap_size))
        belief = decode.spatial_softmax(self.network(image, pose, heights))
        if flip_test:
            exchange = torch.as_tensor(self.skeleton.flip, device=self.device)
            width = self.config.model.input_size[1]
            points = geometry.flip_keypoints(pose.cpu().numpy(), width, self.skeleton.flip)
            mirrored = torch.from_numpy(points).to(self.device)
            logits = self.network(image.flip(3), mirrored, heights[:, exchange])
            belief = (belief + decode.flip_maps(decode.spatial_softmax(logits), exchange)) / 2
        return belief

    @torch.inference_mode()
    def _fit_shares(self, looks: Iterable[_Look], most: int) -> np.ndarray:
        """(R,) how the offsets of the first ``most`` poses from the truth are taken to be distributed."""
        training = np.array(self.config.model.input_shares)
        found = [np.zeros((0, len(training)))]
        first = 0
        for look in looks:
            mixture, density = self._mixture(look)
            known = look.present & decode.inside(look.pose, self.config.model.input_size)
            known &= torch.from_numpy(look.usable + first < most).to(self.device)[:, None]
            found.append(mixture.likelihoods(look.belief / density)[known].cpu().double().numpy())
            first += len(look.rows)
        likelihoods = np.concatenate(found)
        return adapt.shares_at_hand(likelihoods[np.isfinite(likelihoods).all(1)], training)

    def _mixture(self, look: _Look) -> tuple[adapt.OffsetMixture, torch.Tensor]:
        """The mixture around the input keypoints, and its density (G, K, h, w) with the shares of training."""
        mixture = adapt.OffsetMixture(
            look.pose, look.tolerances, self.network.heatmap_size, self.config.model.input_size
        )
        return mixture, mixture.density(look.pose.new_tensor(self.config.model.input_shares))

    def _settle(
        self, look: _Look, shares: np.ndarray | None, new: np.ndarray, passes: int, flip_test: bool
    ) -> RefinedBatch:
        """Refine the ``new`` (B,) ones of a batch, and again those of whom little is expected.

        The others would only be moved about, and so would everybody who was refined in an earlier run. What is expected
        of a person is told by the first look: of what it said itself the network always thinks well.
        """
        given = look.keypoints.copy()
        batch = self._decide(look, shares)
        batch.keypoints[~new] = given[~new]
        for least in LOOK_AGAIN[: passes - 1]:
            again = np.flatnonzero(new[look.usable] & (batch.expected[look.usable] < least))
            if not len(again):
                break
            places = look.usable[again]
            settled = self._decide(self._look_again(look, again, batch.keypoints[places], flip_test), shares)
            batch.keypoints[places] = settled.keypoints
        return batch

    @torch.inference_mode()
    def _look_again(self, look: _Look, again: np.ndarray, keypoints: np.ndarray, flip_test: bool) -> _Look:
        """What the network sees of some of the G people of a look, with keypoints (A, K, 2) of the original image."""
        chosen = torch.from_numpy(again).to(self.device)
        maps = look.maps[again]
        pose = torch.from_numpy(geometry.transform(keypoints, maps).astype(np.float32)).to(self.device)
        crops, heights = look.crops[chosen], look.heights[chosen]
        return _Look(
            look.rows[look.usable[again]],
            keypoints.copy(),
            [],
            np.arange(len(again)),
            crops,
            self._belief(crops, pose, heights, flip_test),
            pose,
            look.scores[again],
            heights,
            look.tolerances[chosen],
            maps,
        )

    @torch.inference_mode()
    def _decide(self, look: _Look, shares: np.ndarray | None) -> RefinedBatch:
        """Where each keypoint goes, given what the network sees and how good the input poses are."""
        size, belief = self.config.model.input_size, look.belief
        if shares is not None and not np.array_equal(shares, self.config.model.input_shares):
            mixture, density = self._mixture(look)
            adapted = belief * (mixture.density(look.pose.new_tensor(shares)) / density)
            total = adapted.sum((-1, -2), keepdim=True)
            known = look.present & decode.inside(look.pose, size)
            belief = torch.where(known[..., None, None] & (total > 0), adapted / total, belief)
        refined, similarity = decode.most_similar(
            belief, look.tolerances, size, look.pose, look.present, self.keep_margin
        )
        original = geometry.transform(refined.cpu().numpy().astype(np.float64), geometry.invert(look.maps))
        stays = (refined == look.pose).all(-1).cpu().numpy()
        keypoints = look.keypoints
        keypoints[look.usable] = np.where(stays[..., None], keypoints[look.usable], original)
        expected = np.full(len(look.rows), np.nan, np.float32)
        expected[look.usable] = expected_oks(similarity.cpu().numpy(), look.scores)
        return RefinedBatch(look.rows, keypoints, look.problems, shares, expected)


def _checked_image(images: Mapping[int, np.ndarray], image_id: int) -> np.ndarray:
    """The image of an id; InputError when there is none, or it is not (H, W, 3) uint8."""
    try:
        image = images[image_id]
    except KeyError:
        raise InputError(f"no image for image_id {image_id}") from None
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise InputError(f"image {image_id} must be a numpy array (H, W, 3) of uint8, RGB, found {found}")
    return image

"""Refine poses: images and estimated poses in, better poses out."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from posefix.core import geometry
from posefix.core.errors import InputError
from posefix.core.neighbours import OtherPeople
from posefix.core.people import People, require_shared, with_refined
from posefix.engines import Engine, create_engine
from posefix.media.crops import Images, stream_crops
from posefix.models import checkpoint as checkpoints
from posefix.refine.batches import BatchPlan, RefinedBatch, Refinement
from posefix.refine.checks import check_people, check_types, people_of_arrays
from posefix.refine.one_batch import BatchRefiner
from posefix.refine.settings import RefineSettings

Poses = TypeVar("Poses", np.ndarray, People)


class Refiner:
    """Refine poses with a trained network.

    Args:
        checkpoint: the network with its configuration and skeleton.
        device: device that runs the network.
        keep_margin: a keypoint moves only if the network expects its similarity to the truth (KS) to grow by more than
            this; 0 moves it for any expected gain, 1 never moves it. None takes the checkpoint's.
        engine: one of :data:`posefix.engines.ENGINES`, or an engine.
        precision: ``f32``, ``bf16``, or ``auto`` for the faster, in engines that have a choice.

    Example::

        refiner = Refiner.from_pretrained()
        better = refiner(image, keypoints)
    """

    def __init__(
        self,
        checkpoint: checkpoints.Checkpoint,
        device: str | torch.device = "cpu",
        keep_margin: float | None = None,
        engine: str | Engine = "auto",
        precision: str = "auto",
    ) -> None:
        self.config, self.skeleton = checkpoint.config, checkpoint.skeleton
        self.training_info = checkpoint.training_info
        self.keep_margin = self.config.keep_margin if keep_margin is None else keep_margin
        if isinstance(engine, str):
            engine = create_engine(engine, checkpoint.network, device, precision)
        self.engine, self.device = engine, engine.device

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | Path = checkpoints.DEFAULT, device: str | torch.device | None = None, **options: Any
    ) -> Refiner:
        """Load a checkpoint of the package by name, or a file by path; ``device`` defaults to a GPU if there is one.

        Raises:
            InputError: when the checkpoint or the device cannot be used.
        """
        if device is None:
            device = "cuda" if torch.cuda.is_available() else "cpu"
        return cls(checkpoints.load_checkpoint(name_or_path), device, **options)

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
            keypoints: (N, K, 3) x, y in pixels and score; a score of 0 means no estimate. Or :class:`~posefix.People`
                of one image, of any skeleton that shares keypoints with this refiner's.
            boxes: (N, 4) xywh in pixels; None uses the people's own boxes, or else the poses' extents.
            settings: options of refining; None takes the defaults.

        Returns:
            (N, K, 3) float32, with unchanged scores unless the settings ask for new ones. For ``People``, the same
            people; keypoints that this refiner does not know, and those without an estimate, stay unchanged.

        Raises:
            InputError: when shapes or types are not these.
        """
        if not isinstance(keypoints, People):
            people = people_of_arrays(keypoints, boxes, self.skeleton)
            refined = self.refine(people, dict.fromkeys(people.image_ids.tolist(), image), settings)
            return np.concatenate([refined.keypoints, refined.scores[..., None]], axis=-1)
        ids = np.unique(keypoints.image_ids).tolist()
        if len(ids) > 1:
            raise InputError(f"people of {len(ids)} images were given with one image; use Refiner.refine for several")
        people = keypoints if boxes is None else replace(keypoints, boxes=boxes)
        refined = self.refine(people, dict.fromkeys(ids, image), settings)
        return with_refined(keypoints, refined)  # type: ignore[return-value]

    def refine(self, people: People, images: Images, settings: RefineSettings | None = None) -> People:
        """Refine many people of many images, and return the same people in the same order.

        The result for a person depends only on the image, this pose and the other poses in the same image. People
        with ``original_scores`` were refined before: they stay unchanged, and count as neighbours of the others.

        Args:
            people: of any skeleton that shares keypoints with this refiner's; other keypoints stay unchanged. Keypoints
                without an estimate are placed, unless the people come from a file of a format that cannot hold them.
            images: image id to (H, W, 3) uint8 RGB; looked up once per image (again for each 256 people in one), in
                order of image id, by several threads: a :class:`posefix.media.images.ImageFolder` decodes there.
            settings: options of refining; None takes the defaults.

        Raises:
            InputError: for an unusable image, or people who cannot be refined.
        """
        settings = settings or RefineSettings()
        check_types(people, images)
        require_shared(people, self.skeleton, "the checkpoint refines")
        known = people.to_skeleton(self.skeleton)
        refined = Refinement.of(known)
        for batch in self.refine_batches(known, images, settings):
            refined.add(batch)
        holds_missing = people.source is None or people.source.format.completed
        return with_refined(people, refined.apply(known, settings), missing=holds_missing)

    def plan(self, people: People, settings: RefineSettings) -> BatchPlan:
        """Plan in which batches people of this refiner's skeleton are refined; InputError when they cannot be."""
        check_people(people, self.skeleton)
        return BatchPlan.of(people, self.config, settings.batch_size)

    def refine_batches(
        self,
        people: People,
        images: Images,
        settings: RefineSettings | None = None,
        plan: BatchPlan | None = None,
    ) -> Iterator[RefinedBatch]:
        """Refine people of this refiner's skeleton, giving each batch as it is done.

        ``plan`` is that of :meth:`plan`, or what is left of it.
        """
        settings = settings or RefineSettings()
        if settings.estimator_ap is not None and self.config.head != "fusion":
            raise InputError("this checkpoint cannot be told how good the estimator is: it is of PoseFix's own network")
        plan = self.plan(people, settings) if plan is None else plan
        crops = stream_crops(
            people.image_ids[plan.views.rows],
            geometry.translated(plan.views.maps, self.config.frame_margin),
            self.config.input_size,
            images,
            workers=settings.workers,
            ahead=3 * settings.batch_size,
            skip=settings.on_error == "skip",
        )
        refine_batch = BatchRefiner(people, OtherPeople(people), self.engine, settings, self.keep_margin)
        with ThreadPoolExecutor(2, thread_name_prefix="batch") as pool:  # so that no core waits where a batch ends
            begun: deque[Future[RefinedBatch]] = deque()
            for views in plan:
                begun.append(pool.submit(refine_batch, views, [next(crops) for _ in views.rows]))
                if len(begun) > 1:
                    yield begun.popleft().result()
            yield from (batch.result() for batch in begun)

"""The public refiner: images and estimated poses in, refined poses out."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from numbers import Real
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
    """A trained refiner.

    Args:
        checkpoint: the network with its configuration and skeleton.
        device: where the network runs.
        keep_margin: a keypoint moves only if its expected similarity to the truth (KS) grows by more than this: 0 moves
            it for any gain, 1 never moves it. None takes the checkpoint's value.
        engine: runs the network: one of :data:`posefix.engines.ENGINES`, or an engine object.
        precision: of engines that support several: ``f32``, ``bf16``, or ``auto`` for the faster one.

    Raises:
        InputError: when the engine or the device cannot be used, or ``keep_margin`` is not 0 to 1.

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
        margin = self.keep_margin
        if isinstance(margin, bool) or not isinstance(margin, Real) or not 0 <= margin <= 1:
            raise InputError(f"keep_margin must be 0 to 1, got {self.keep_margin!r:.40}")
        if isinstance(engine, str):
            engine = create_engine(engine, checkpoint.network, device, precision)
        self.engine: Engine = engine
        self.device = engine.device

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | Path = checkpoints.DEFAULT, device: str | torch.device | None = None, **options: Any
    ) -> Refiner:
        """Load a checkpoint by shipped name or path; ``device`` defaults to the GPU if there is one.

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
            image: (H, W, 3) uint8 RGB. OpenCV images are BGR: convert with ``cv2.cvtColor(image, cv2.COLOR_BGR2RGB)``.
            keypoints: (N, K, 3) x, y in pixels and score, where score 0 means no estimate; or :class:`~posefix.People`
                of one image, with any skeleton that shares keypoints with this refiner's.
            boxes: (N, 4) xywh in pixels; None takes the people's boxes, or else the extents of the poses.
            settings: how to refine; None takes the defaults.

        Returns:
            (N, K, 3) float32, with the input scores unless they are 0 or the settings ask for others. For People, the
            same people: keypoints unknown to this refiner or without an estimate stay as they are.

        Raises:
            InputError: as :meth:`refine`; or for other shapes or types, or people of several images.
        """
        if not isinstance(keypoints, People):
            people = people_of_arrays(keypoints, boxes, self.skeleton)
            refined = self.refine(people, dict.fromkeys(people.image_ids.tolist(), image), settings)
            return refined.xyc
        ids = np.unique(keypoints.image_ids).tolist()
        if len(ids) > 1:
            raise InputError(f"people of {len(ids)} images were given with one image; use Refiner.refine for several")
        people = keypoints if boxes is None else replace(keypoints, boxes=boxes)
        refined = self.refine(people, dict.fromkeys(ids, image), settings)
        return with_refined(keypoints, refined)  # type: ignore[return-value]

    def refine(self, people: People, images: Images, settings: RefineSettings | None = None) -> People:
        """Refine people of many images; returns the same people in the same order.

        The result for a person depends only on the image, this pose and the other poses in the same image. People
        with ``original_scores`` were refined before: they stay unchanged, but count as neighbours of the others.

        Args:
            people: with any skeleton that shares keypoints with this refiner's; the others stay as they are. Keypoints
                without an estimate are filled in, unless the people's file format cannot hold them.
            images: image id to (H, W, 3) uint8 RGB. Looked up by several threads in order of image id, once per 256
                people of an image; :class:`posefix.media.images.ImageFolder` decodes the image then.
            settings: how to refine; None takes the defaults.

        Raises:
            InputError: for an unusable image, or people who cannot be refined.
        """
        settings = RefineSettings.given(settings)
        check_types(people, images)
        require_shared(people, self.skeleton, "the checkpoint refines")
        input_people = people.to_skeleton(self.skeleton)
        refinement = Refinement.of(input_people, self.refine_batches(input_people, images, settings))
        holds_missing = people.source is None or people.source.format.completed
        return with_refined(people, refinement.apply(input_people, settings), missing=holds_missing)

    def plan(self, people: People, settings: RefineSettings) -> BatchPlan:
        """Split people with this refiner's skeleton into batches; InputError when they cannot be refined."""
        check_people(people, self.skeleton)
        return BatchPlan.of(people, self.config, settings.batch_size)

    def assumed_ap(self, people: People, settings: RefineSettings) -> float | None:
        """Return the estimator's AP in percent that the network is given; None if the network takes none."""
        return settings.assumed_ap(people) if self.config.head == "fusion" else None

    def refine_batches(
        self,
        people: People,
        images: Images,
        settings: RefineSettings | None = None,
        plan: BatchPlan | None = None,
    ) -> Iterator[RefinedBatch]:
        """Refine people with this refiner's skeleton, yielding each batch when it is done.

        ``plan`` is the result of :meth:`plan`, or the remaining part of it.
        """
        settings = RefineSettings.given(settings)
        if settings.estimator_ap is not None and self.config.head != "fusion":
            raise InputError("estimator_ap needs a network with the fusion head, which this checkpoint does not have")
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
        with ThreadPoolExecutor(2, thread_name_prefix="batch") as pool:  # two batches overlap, to keep all cores busy
            pending: deque[Future[RefinedBatch]] = deque()
            for views in plan:
                pending.append(pool.submit(refine_batch, views, [next(crops) for _ in views.rows]))
                if len(pending) > 1:
                    yield pending.popleft().result()
            yield from (batch.result() for batch in pending)

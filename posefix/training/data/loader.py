"""Training batches: people, their crops, and the poses somebody might have estimated for them."""

from __future__ import annotations

import copy
import signal
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from posefix.core import geometry
from posefix.core.errors import InputError
from posefix.core.people import People, concatenate
from posefix.media.crops import crop_image
from posefix.media.opencv import cv2
from posefix.training.config import Config
from posefix.training.data.augment import Appearance, cut_out, random_maps
from posefix.training.data.backdrops import random_backdrop
from posefix.training.data.inputs import InputPoses
from posefix.training.data.stores import PoseStore, Store, in_fold
from synth import guess_legs, hidden_keypoints, leg_regions, shorten_legs

IMAGE_ID_BLOCK = 1 << 40  # keeps the image ids of different sources apart

Batch = dict[str, torch.Tensor]


class TrainingBatches(Dataset):
    """Batch ``index`` of epoch ``epoch``: a pure function of the configuration's seed and those two numbers.

    Args:
        config: the experiment.
        stores: one per data source, in its order. People without images are shown on a third of somebody else's
            crops, a third of noise and a third of one colour.
        observed: per source, real estimators' keypoints (R, N, K, 2) and scores (R, N, K), or None.
        batch: people in a batch.
    """

    def __init__(
        self,
        config: Config,
        stores: Sequence[Store | PoseStore],
        observed: Sequence[tuple[np.ndarray, np.ndarray] | None],
        batch: int,
    ) -> None:
        self.config, self.stores, self.batch = config, stores, batch
        self.people = concatenate(
            [replace(s.people, image_ids=s.people.image_ids + i * IMAGE_ID_BLOCK) for i, s in enumerate(stores)]
        )
        self.skeleton = self.people.skeleton
        self._place = np.array([(i, row) for i, s in enumerate(stores) for row in range(len(s.people))])
        self._imaged = np.array([not isinstance(s, PoseStore) for s in stores])
        self.usable = self.people.labelled.any(1) & ~np.concatenate(self._held_out())
        self._shown = np.flatnonzero(self.usable & self._imaged[self._place[:, 0]])
        self._pools = [
            np.repeat(np.flatnonzero(self.usable & (self._place[:, 0] == i)), source.repeat)
            for i, source in enumerate(config.train)
        ]
        for i, (pool, source) in enumerate(zip(self._pools, config.train, strict=True)):
            if source.take is not None and source.take > len(pool):
                raise InputError(f"train.{i}.take is {source.take}, of {len(pool)} people (with repeats); lower it")
        self.inputs = InputPoses(config.synthesis, self.people, *self._place.T, observed)
        labelled = [s.people.labelled.any(0) for s in stores]
        self._annotated = np.array(labelled)[self._place[:, 0]]  # kinds of keypoints that a source has at all
        self._appearance = Appearance(config.augmentation)
        self.epoch = 0

    def _held_out(self) -> list[np.ndarray]:
        """For each store (N,) bool: people of images that its source, or for poses without images any, holds out."""
        held = [
            in_fold(s.people.image_ids, s.image_ids, source.held_out)
            if source.held_out
            else np.zeros(len(s.people), bool)
            for s, source in zip(self.stores, self.config.train, strict=True)
        ]
        folds = [(s.image_ids, source.held_out) for s, source in zip(self.stores, self.config.train, strict=True)]
        ids = np.concatenate([np.zeros(0, int)] + [i[in_fold(i, i, fold)] for i, fold in folds if fold])
        return [
            h if imaged else h | np.isin(s.people.image_ids, ids)
            for s, h, imaged in zip(self.stores, held, self._imaged, strict=True)
        ]

    def __len__(self) -> int:
        takes = [source.take for source in self.config.train]
        drawn = (len(pool) if take is None else take for pool, take in zip(self._pools, takes, strict=True))
        return sum(drawn) // self.batch

    def rows(self, index: int) -> np.ndarray:
        """(batch,) people of a batch."""
        order = self._order(np.random.default_rng([self.config.seed, self.epoch]))
        return order[index * self.batch : (index + 1) * self.batch]

    def _order(self, rng: np.random.Generator) -> np.ndarray:
        """Everybody whom an epoch sees, as often as it does, in random order."""
        drawn = [
            pool if source.take is None else rng.choice(pool, source.take, replace=False)
            for pool, source in zip(self._pools, self.config.train, strict=True)
        ]
        return rng.permutation(np.concatenate(drawn))

    def __getitem__(self, index: int) -> Batch:
        rng = np.random.default_rng([self.config.seed, self.epoch, index])
        rows = self.rows(index)
        crops, keypoints, scores, maps, flipped = self.look(rows, rng)
        return {
            "crops": torch.from_numpy(crops).permute(0, 3, 1, 2),
            **self.poses(rows, maps, keypoints, scores, rng, flipped),
        }

    def with_held_out(self) -> TrainingBatches:
        """The same with the people who are held out."""
        other = copy.copy(self)
        posed = self.people.labelled.any(1)
        other._pools = [
            np.repeat(np.flatnonzero(posed & (self._place[:, 0] == i)), source.repeat)
            for i, source in enumerate(self.config.train)
        ]
        return other

    def augmented(self, **changes: float) -> TrainingBatches:
        """The same people with another augmentation."""
        other = copy.copy(self)
        augmentation = self.config.augmentation.model_copy(update=changes)
        other.config = self.config.model_copy(update={"augmentation": augmentation})
        other._appearance = Appearance(augmentation)
        return other

    def look(
        self, rows: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Crops of the people at ``rows`` and the input poses that went with them.

        Returns:
            crops (B, height, width, 3) uint8, keypoints (B, K, 2) and scores (B, K) in original pixels, maps (B, 2, 3)
            from there to the frame, and (B,) bool, whether the map mirrors.
        """
        people = self.people[rows]
        keypoints, scores = self.inputs.draw(rows, rng)
        keypoints, scores, regions = self._occlude_legs(people, keypoints, scores, rng)
        boxes = self._boxes(people.boxes, people.keypoints, people.labelled, keypoints, scores, rng)
        model = self.config.model
        maps, flipped = random_maps(boxes, model.frame_size, model.box_padding, self.config.augmentation, rng)
        regions[~self._imaged[self._place[rows, 0]]] = 0  # would tell where the legs are that nothing shows
        in_crop = geometry.translated(maps, model.frame_margin)
        crops = self._crops(rows, in_crop, rng)
        if regions.any():
            crops = self._hide_legs(crops, in_crop, regions, rng)
        return self._appearance(crops, rng), keypoints, scores, maps, flipped

    def poses(
        self,
        rows: np.ndarray,
        maps: np.ndarray,
        keypoints: np.ndarray,
        scores: np.ndarray,
        rng: np.random.Generator,
        flipped: np.ndarray | None = None,
    ) -> Batch:
        """All of a batch but the image, in pixels of the frame that ``maps`` (B, 2, 3) lead to.

        ``keypoints`` (B, K, 2) and ``scores`` (B, K) are input poses in original pixels; where ``flipped`` (B,) the
        map mirrors the person.
        """
        people = self.people[rows]
        others, other_scores = self.inputs.others(rows, keypoints, scores, rng)
        flipped = np.zeros(len(rows), bool) if flipped is None else flipped
        exchange = np.where(flipped[:, None], self.skeleton.flip, np.arange(len(self.skeleton)))

        def arrange(values: np.ndarray) -> torch.Tensor:
            index = exchange if values.ndim == 2 else exchange[:, None]
            return torch.from_numpy(np.take_along_axis(values, index, axis=-1))

        def place(points: np.ndarray) -> torch.Tensor:
            moved = geometry.transform(points, maps).astype(np.float32)
            index = exchange if points.ndim == 3 else exchange[:, None]
            return torch.from_numpy(np.take_along_axis(moved, index[..., None], axis=-2))

        told, boxes = self.inputs.boxes(rows, keypoints, scores, rng)
        lengths = np.sqrt(geometry.BOX_AREA_TO_AREA * boxes[:, 2] * boxes[:, 3]) * geometry.map_scale(maps)
        scales = lengths[:, None] * 2 * self.skeleton.sigmas
        told = geometry.transform_boxes(told, maps)
        lengths = np.sqrt(np.maximum(people.areas, 1)) * geometry.map_scale(maps)
        return {
            "keypoints": place(keypoints),
            "scores": arrange(scores),
            "scales": arrange(scales.astype(np.float32)),
            "others": place(others),
            "other_scores": arrange(other_scores),
            "boxes": torch.from_numpy(told.astype(np.float32)),
            "target": place(people.keypoints),
            "labelled": arrange(people.labelled),
            "annotated": arrange(self._annotated[rows]),
            "target_scales": arrange((lengths[:, None] * 2 * self.skeleton.sigmas).astype(np.float32)),
        }

    def _boxes(
        self,
        boxes: np.ndarray,
        truth: np.ndarray,
        labelled: np.ndarray,
        keypoints: np.ndarray,
        scores: np.ndarray,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """The annotated box, or the extent of the input pose as it would be without one."""
        annotated = geometry.person_boxes(boxes, truth, labelled)
        padding = rng.choice([0.0, geometry.POSE_BOX_PADDING])
        posed = geometry.pose_boxes(keypoints, scores > 0, padding)
        use_pose = (rng.random(len(boxes)) < self.config.augmentation.pose_box) & ((scores > 0).sum(1) >= 3)
        return np.where(use_pose[:, None], posed, annotated)

    def _crops(self, rows: np.ndarray, maps: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(N, height, width, 3) uint8 crops of the people at ``rows`` by maps (N, 2, 3)."""
        without = np.flatnonzero(~self._imaged[self._place[rows, 0]])
        backdrops = {}
        if len(without):
            size = self.config.model.input_size
            shows = rng.integers(0, 3 if len(self._shown) else 2, len(without))
            others = self._shown[rng.integers(0, max(len(self._shown), 1), int((shows == 2).sum()))]
            people = self.people[others]
            boxes = geometry.person_boxes(people.boxes, people.keypoints, people.labelled)
            theirs, _ = random_maps(
                boxes, self.config.model.frame_size, self.config.model.box_padding, self.config.augmentation, rng
            )
            theirs = geometry.translated(theirs, self.config.model.frame_margin)
            backdrops = {
                int(i): random_backdrop(size, rng, bool(s)) for i, s in zip(without, shows, strict=True) if s < 2
            }
            rows, maps = rows.copy(), maps.copy()
            rows[without[shows == 2]], maps[without[shows == 2]] = others, theirs
        return np.stack(
            [
                backdrops[i] if i in backdrops else self._crop(row, matrix)
                for i, (row, matrix) in enumerate(zip(rows, maps, strict=True))
            ]
        )

    def _crop(self, row: int, matrix: np.ndarray) -> np.ndarray:
        source, local = self._place[row]
        image, stored = self.stores[source].pixels(local)
        composed = geometry.compose(matrix[None], geometry.invert(stored[None]))[0]
        return crop_image(image, composed, self.config.model.input_size)

    def _occlude_legs(
        self, people: People, keypoints: np.ndarray, scores: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Input poses and scores with the legs of some as if hidden, and the regions (N, 4) that hide them."""
        options, skeleton = self.config.synthesis, self.skeleton
        if options.leg_occlusion == 0:
            return keypoints, scores, np.zeros((len(people), 4), np.float32)
        if options.leg_input == "shortened":
            keypoints, occluded = shorten_legs(keypoints, scores, skeleton, rng, options.leg_occlusion)
            return keypoints, scores, leg_regions(people.keypoints, people.labelled, skeleton, occluded, rng)
        occluded = rng.random(len(people)) < options.leg_occlusion
        regions = leg_regions(people.keypoints, people.labelled, skeleton, occluded, rng)
        hidden = hidden_keypoints(people.keypoints, regions) & people.labelled
        return *guess_legs(keypoints, scores, hidden, skeleton, rng), regions

    def _hide_legs(
        self, crops: np.ndarray, maps: np.ndarray, regions: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        x0, y0, x1, y1 = regions.T
        corners = np.stack([x0, y0, x1, y0, x1, y1, x0, y1], axis=1).reshape(-1, 4, 2)
        corners = geometry.transform(corners, maps)
        colours = rng.integers(0, 256, (len(crops), 3))
        for i in np.flatnonzero((regions[:, 2:] > regions[:, :2]).all(1)):
            crops[i] = cut_out(crops[i], corners[i], colours[i])
        return crops


def training_loader(batches: TrainingBatches, start: int, rank: int, world: int, workers: int) -> DataLoader:
    """Batches of the current epoch for one of ``world`` processes, from its ``start``-th on."""
    usable = len(batches) // world

    class Order:
        def __iter__(self) -> Iterator[int]:
            return iter(range(start * world + rank, usable * world, world))

        def __len__(self) -> int:
            return usable - start

    return DataLoader(
        batches,
        batch_size=None,
        sampler=Order(),
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        worker_init_fn=_single_threaded,
        pin_memory=torch.cuda.is_available(),
    )


def _single_threaded(_: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the training process decides when to stop
    cv2.setNumThreads(0)
    torch.set_num_threads(1)

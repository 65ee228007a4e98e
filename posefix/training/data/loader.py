"""Training batches: crops of people with input poses and targets."""

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
from posefix.core.people import concatenate
from posefix.media.crops import crop_image
from posefix.media.opencv import cv2
from posefix.training.config import Config
from posefix.training.data.augment import Appearance, random_maps
from posefix.training.data.inputs import InputPoses, Inputs
from posefix.training.data.stores import FolderStore
from synth import leg_regions

IMAGE_ID_BLOCK = 1 << 40  # offset between the image ids of different data sources

Batch = dict[str, torch.Tensor]


class Batches(Dataset[Batch]):
    """Batches of rows ``trained_on`` (R,), shuffled in each epoch.

    Attributes:
        share: part of each batch that this process trains on. Random numbers are drawn for the whole batch, so that
            several processes together have the batches of a single one.
    """

    share = slice(None)

    def __init__(self, trained_on: np.ndarray, seed: int, batch: int) -> None:
        self.trained_on, self.seed, self.batch, self.epoch = trained_on, seed, batch, 0
        self._order_of, self._order = -1, trained_on

    def __len__(self) -> int:
        return len(self.trained_on) // self.batch

    def rows(self, index: int) -> np.ndarray:
        """Return the rows (batch,) of a batch of the current epoch."""
        if self.epoch != self._order_of:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(self.trained_on)
            self._order_of, self._order = self.epoch, order
        return self._order[index * self.batch : (index + 1) * self.batch]


class TrainingBatches(Batches):
    """Batches of augmented crops; each is a pure function of the configuration, the epoch and the index.

    Args:
        config: the experiment.
        stores: one per data source of ``config``, in its order.
        observed: per source, real estimators' keypoints (R, N, K, 2) and scores (R, N, K), or None.
    """

    def __init__(
        self,
        config: Config,
        stores: Sequence[FolderStore],
        observed: Sequence[tuple[np.ndarray, np.ndarray] | None],
        batch: int,
    ) -> None:
        self.config, self.stores = config, stores
        super().__init__(self.rows_of_epoch(), config.seed, batch)
        self.people = concatenate(
            [replace(s.people, image_ids=s.people.image_ids + i * IMAGE_ID_BLOCK) for i, s in enumerate(stores)]
        )
        self.skeleton = self.people.skeleton
        self._place = np.array([(i, row) for i, s in enumerate(stores) for row in range(len(s.people))])
        self.inputs = InputPoses(config.synthesis, self.people, self._place[:, 0], self._place[:, 1], observed)
        labelled = [s.people.labelled.any(0) for s in stores]
        self._annotated = np.array(labelled)[self._place[:, 0]]  # keypoints that the person's source annotates at all
        self._appearance = Appearance(config.augmentation)

    def rows_of_epoch(self, held_out: bool = False) -> np.ndarray:
        """Return the rows (R,) int64 of the people in an epoch, with repetitions, optionally with held-out people."""
        rows, first = [], 0
        for store, source in zip(self.stores, self.config.train, strict=True):
            usable = store.people.labelled.any(1)
            if source.held_out and not held_out:
                usable &= ~np.isin(store.people.image_ids, source.held_out.images(store.image_ids))
            rows.append(np.repeat(first + np.flatnonzero(usable), source.repeat))
            first += len(store.people)
        return np.concatenate(rows)

    def __getitem__(self, index: int) -> Batch:
        rng = np.random.default_rng([self.config.seed, self.epoch, index])
        rows = self.rows(index)
        crops, inputs, maps, flipped = self.draw_crops(rows, rng)
        batch = self.poses(rows, maps, inputs, rng, flipped)
        batch["crops"] = torch.from_numpy(crops).permute(0, 3, 1, 2)
        return {name: values[self.share] for name, values in batch.items()}

    def augmented(self, **changes: float) -> TrainingBatches:
        """Copy with changed augmentation options."""
        other = copy.copy(self)
        augmentation = self.config.augmentation.model_copy(update=changes)
        other.config = self.config.model_copy(update={"augmentation": augmentation})
        other._appearance = Appearance(augmentation)
        return other

    def draw_crops(
        self, rows: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, Inputs, np.ndarray, np.ndarray]:
        """Draw augmented crops and input poses of the people at ``rows``.

        Returns:
            crops (B, height, width, 3) uint8, black outside the ``share``, input poses, maps (B, 2, 3) from image to
            frame pixels, and (B,) bool, whether the map mirrors.
        """
        people, model = self.people[rows], self.config.model
        inputs = self.inputs.draw(rows, rng)
        regions = np.zeros((len(rows), 4), np.float32)
        if self.config.synthesis.leg_occlusion:
            occluded = rng.random(len(rows)) < self.config.synthesis.leg_occlusion
            regions = leg_regions(people.keypoints, people.labelled, self.skeleton, occluded, rng)
        boxes = self._boxes(rows, inputs.keypoints, inputs.scores, rng)
        maps, flipped = random_maps(boxes, model.frame_size, model.box_padding, self.config.augmentation, rng)
        in_crop = geometry.translated(maps, model.frame_margin)
        crops = np.zeros((len(rows), *model.input_size, 3), np.uint8)
        indices = range(len(rows))[self.share]
        for i in indices:
            crops[i] = self._crop(rows[i], in_crop[i])
        if regions.any():
            _hide(crops, in_crop, regions, rng)
        return self._appearance(crops, rng, indices), inputs, maps, flipped

    def poses(
        self,
        rows: np.ndarray,
        maps: np.ndarray,
        inputs: Inputs,
        rng: np.random.Generator,
        flipped: np.ndarray,
    ) -> Batch:
        """Create the poses and targets of a batch, in pixels of the frame.

        ``maps`` (B, 2, 3) lead from image to frame pixels, and mirror where ``flipped`` (B,).
        """
        people, keypoints, scores = self.people[rows], inputs.keypoints, inputs.scores
        others, other_scores = self.inputs.others(rows, keypoints, scores, rng)
        order = np.where(flipped[:, None], self.skeleton.flip, np.arange(len(self.skeleton)))

        def exchange_sides(values: np.ndarray) -> torch.Tensor:
            index = order if values.ndim == 2 else order[:, None]
            return torch.from_numpy(np.take_along_axis(values, index, axis=-1))

        def map_points(points: np.ndarray) -> torch.Tensor:
            mapped = geometry.transform(points, maps).astype(np.float32)
            index = order if points.ndim == 3 else order[:, None]
            return torch.from_numpy(np.take_along_axis(mapped, index[..., None], axis=-2))

        input_boxes, boxes = self.inputs.draw_boxes(rows, keypoints, scores, rng)
        input_boxes, zoom = geometry.transform_boxes(input_boxes, maps), geometry.map_scale(maps)[:, None]
        scales = zoom * self.skeleton.scales(geometry.areas_of(boxes))
        target_scales = zoom * self.skeleton.scales(np.maximum(people.areas, 1))
        return {
            "keypoints": map_points(keypoints),
            "scores": exchange_sides(scores),
            "scales": exchange_sides(scales.astype(np.float32)),
            "others": map_points(others),
            "other_scores": exchange_sides(other_scores),
            "boxes": torch.from_numpy(input_boxes.astype(np.float32)),
            "accuracy": torch.from_numpy(inputs.accuracy),
            "target": map_points(people.keypoints),
            "labelled": exchange_sides(people.labelled),
            "annotated": exchange_sides(self._annotated[rows]),
            "target_scales": exchange_sides(target_scales.astype(np.float32)),
        }

    def _boxes(
        self, rows: np.ndarray, keypoints: np.ndarray, scores: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Draw the boxes (B, 4) to crop: the annotated ones, or for some people the extent of the input pose."""
        padding = rng.choice([0.0, geometry.POSE_BOX_PADDING])
        posed = geometry.pose_boxes(keypoints, scores > 0, padding)
        use_pose = (rng.random(len(rows)) < self.config.augmentation.pose_box) & (
            (scores > 0).sum(1) >= geometry.MIN_KEYPOINTS
        )
        return np.where(use_pose[:, None], posed, self.inputs.boxes[rows])

    def _crop(self, row: int, matrix: np.ndarray) -> np.ndarray:
        source, local = self._place[row]
        store = self.stores[source]
        return crop_image(store.images[int(store.people.image_ids[local])], matrix, self.config.model.input_size)


def _hide(crops: np.ndarray, maps: np.ndarray, regions: np.ndarray, rng: np.random.Generator) -> None:
    """Fill regions (B, 4) x0, y0, x1, y1 in image pixels with a random colour in crops (B, H, W, 3), in place."""
    x0, y0, x1, y1 = regions.T
    corners = np.stack([x0, y0, x1, y0, x1, y1, x0, y1], axis=1).reshape(-1, 4, 2)
    corners = np.rint(geometry.transform(corners, maps)).astype(np.int32)
    colours = rng.integers(0, 256, (len(crops), 3)).tolist()
    for i in np.flatnonzero((x1 > x0) & (y1 > y0)):
        cv2.fillConvexPoly(crops[i], corners[i], colours[i])


def training_loader(batches: Batches, start: int, workers: int) -> DataLoader[Batch]:
    """Load the batches of the current epoch from the ``start``-th on."""
    return DataLoader(
        batches,
        batch_size=None,
        sampler=range(start, len(batches)),
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        worker_init_fn=_single_threaded,
        pin_memory=torch.cuda.is_available(),
    )


def checked(loader: DataLoader[Batch]) -> Iterator[Batch]:
    """Iterate over batches; an InputError of a worker is raised here without the worker's traceback."""
    try:
        yield from loader
    except InputError as error:
        text = str(error)
        if "Original Traceback" in text:
            text = text.rstrip().splitlines()[-1].partition("InputError: ")[2]
        raise InputError(text) from None


def _single_threaded(_: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process handles Ctrl-C
    cv2.setNumThreads(0)
    torch.set_num_threads(1)

"""Make training batches: crops of people, and the poses that an estimator might have found for them."""

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

IMAGE_ID_BLOCK = 1 << 40  # keeps the image ids of different sources apart

Batch = dict[str, torch.Tensor]


class Batches(Dataset[Batch]):
    """Batches of ``trained_on``, (R,) rows, in a random order that is drawn once for each epoch.

    Attributes:
        share: the people of each batch whom this process trains on. Everything is drawn for the whole batch, so that
            the batches of all processes together are those of one.
    """

    share = slice(None)

    def __init__(self, trained_on: np.ndarray, seed: int, batch: int) -> None:
        self.trained_on, self.seed, self.batch, self.epoch = trained_on, seed, batch, 0
        self._order_of, self._order = -1, trained_on

    def __len__(self) -> int:
        return len(self.trained_on) // self.batch

    def rows(self, index: int) -> np.ndarray:
        """(batch,) rows of a batch of the current epoch."""
        if self.epoch != self._order_of:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(self.trained_on)
            self._order_of, self._order = self.epoch, order
        return self._order[index * self.batch : (index + 1) * self.batch]


class TrainingBatches(Batches):
    """Batch ``index`` of epoch ``epoch``: a pure function of the configuration's seed and those two numbers.

    Args:
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
        self._annotated = np.array(labelled)[self._place[:, 0]]  # kinds of keypoints that a source has at all
        self._appearance = Appearance(config.augmentation)

    def rows_of_epoch(self, held_out: bool = False) -> np.ndarray:
        """(R,) int64 rows of the people whom an epoch sees, as often as it does; if asked, as if none were held out."""
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
        crops, inputs, maps, flipped = self.look(rows, rng)
        batch = self.poses(rows, maps, inputs, rng, flipped)
        batch["crops"] = torch.from_numpy(crops).permute(0, 3, 1, 2)
        return {name: values[self.share] for name, values in batch.items()}

    def augmented(self, **changes: float) -> TrainingBatches:
        """The same people with another augmentation."""
        other = copy.copy(self)
        augmentation = self.config.augmentation.model_copy(update=changes)
        other.config = self.config.model_copy(update={"augmentation": augmentation})
        other._appearance = Appearance(augmentation)
        return other

    def look(self, rows: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, Inputs, np.ndarray, np.ndarray]:
        """Crops of the people at ``rows`` and the input poses that went with them.

        Returns:
            crops (B, height, width, 3) uint8, black outside the ``share``, input poses, maps (B, 2, 3) from original
            pixels to the frame, and (B,) bool, whether the map mirrors.
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
        mine = range(len(rows))[self.share]
        for i in mine:
            crops[i] = self._crop(rows[i], in_crop[i])
        if regions.any():
            _hide(crops, in_crop, regions, rng)
        return self._appearance(crops, rng, mine), inputs, maps, flipped

    def poses(
        self,
        rows: np.ndarray,
        maps: np.ndarray,
        inputs: Inputs,
        rng: np.random.Generator,
        flipped: np.ndarray,
    ) -> Batch:
        """All of a batch but the image, in pixels of the frame that ``maps`` (B, 2, 3) lead to.

        Where ``flipped`` (B,) the map mirrors the person.
        """
        people, keypoints, scores = self.people[rows], inputs.keypoints, inputs.scores
        others, other_scores = self.inputs.others(rows, keypoints, scores, rng)
        exchange = np.where(flipped[:, None], self.skeleton.flip, np.arange(len(self.skeleton)))

        def arrange(values: np.ndarray) -> torch.Tensor:
            index = exchange if values.ndim == 2 else exchange[:, None]
            return torch.from_numpy(np.take_along_axis(values, index, axis=-1))

        def place(points: np.ndarray) -> torch.Tensor:
            moved = geometry.transform(points, maps).astype(np.float32)
            index = exchange if points.ndim == 3 else exchange[:, None]
            return torch.from_numpy(np.take_along_axis(moved, index[..., None], axis=-2))

        told, boxes = self.inputs.told_boxes(rows, keypoints, scores, rng)
        told, zoom = geometry.transform_boxes(told, maps), geometry.map_scale(maps)[:, None]
        scales = zoom * self.skeleton.scales(geometry.areas_of(boxes))
        target_scales = zoom * self.skeleton.scales(np.maximum(people.areas, 1))
        return {
            "keypoints": place(keypoints),
            "scores": arrange(scores),
            "scales": arrange(scales.astype(np.float32)),
            "others": place(others),
            "other_scores": arrange(other_scores),
            "boxes": torch.from_numpy(told.astype(np.float32)),
            "accuracy": torch.from_numpy(inputs.accuracy),
            "target": place(people.keypoints),
            "labelled": arrange(people.labelled),
            "annotated": arrange(self._annotated[rows]),
            "target_scales": arrange(target_scales.astype(np.float32)),
        }

    def _boxes(
        self, rows: np.ndarray, keypoints: np.ndarray, scores: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """(B, 4) annotated boxes, or for some the extent of the input pose, as it would be without a box."""
        padding = rng.choice([0.0, geometry.POSE_BOX_PADDING])
        posed = geometry.pose_boxes(keypoints, scores > 0, padding)
        use_pose = (rng.random(len(rows)) < self.config.augmentation.pose_box) & ((scores > 0).sum(1) >= 3)
        return np.where(use_pose[:, None], posed, self.inputs.boxes[rows])

    def _crop(self, row: int, matrix: np.ndarray) -> np.ndarray:
        source, local = self._place[row]
        store = self.stores[source]
        return crop_image(store.images[int(store.people.image_ids[local])], matrix, self.config.model.input_size)


def _hide(crops: np.ndarray, maps: np.ndarray, regions: np.ndarray, rng: np.random.Generator) -> None:
    """Fill regions (B, 4) x0, y0, x1, y1 of original images with a colour each in crops (B, H, W, 3), in place."""
    x0, y0, x1, y1 = regions.T
    corners = np.stack([x0, y0, x1, y0, x1, y1, x0, y1], axis=1).reshape(-1, 4, 2)
    corners = np.rint(geometry.transform(corners, maps)).astype(np.int32)
    colours = rng.integers(0, 256, (len(crops), 3)).tolist()
    for i in np.flatnonzero((x1 > x0) & (y1 > y0)):
        cv2.fillConvexPoly(crops[i], corners[i], colours[i])


def training_loader(batches: Batches, start: int, workers: int) -> DataLoader[Batch]:
    """Batches of the current epoch, from the ``start``-th on."""
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
    """The batches; an InputError of a worker process comes out as one here, without that process's traceback."""
    try:
        yield from loader
    except InputError as error:
        text = str(error)
        if "Original Traceback" in text:
            text = text.rstrip().splitlines()[-1].partition("InputError: ")[2]
        raise InputError(text) from None


def _single_threaded(_: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the training process decides when to stop
    cv2.setNumThreads(0)
    torch.set_num_threads(1)

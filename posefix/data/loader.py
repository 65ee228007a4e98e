"""Training batches: people, their crops, and the poses somebody might have estimated for them."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from posefix import geometry
from posefix.config import Config
from posefix.data.augment import Appearance, cut_out, random_maps
from posefix.data.backdrops import random_backdrop
from posefix.data.crops import crop_image, input_amplitudes
from posefix.data.stores import PoseStore, Store, in_fold
from posefix.errors import InputError
from posefix.people import People, concatenate
from synth import Statistics, guess_legs, hidden_keypoints, leg_regions, neighbour_index, shorten_legs, synthesize

OFFSET_PEOPLE = 4096  # from whose input poses it is found how far off they are
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
        self._neighbours = neighbour_index(self.people)
        self.statistics = Statistics.load(config.synthesis.statistics, self.skeleton)
        nobody = np.zeros(1, int)
        self.statistics.probabilities(nobody, nobody, self.skeleton)  # or says which keypoint is not covered
        self._place = np.array([(i, row) for i, s in enumerate(stores) for row in range(len(s.people))])
        self._imaged = np.array([not isinstance(s, PoseStore) for s in stores])
        usable = self.people.labelled.any(1) & ~np.concatenate(self._held_out())
        self._shown = np.flatnonzero(usable & self._imaged[self._place[:, 0]])
        self._pools = [
            np.repeat(np.flatnonzero(usable & (self._place[:, 0] == i)), source.repeat)
            for i, source in enumerate(config.train)
        ]
        for i, (pool, source) in enumerate(zip(self._pools, config.train, strict=True)):
            if source.take is not None and source.take > len(pool):
                raise InputError(f"train.{i}.take is {source.take}, of {len(pool)} people (with repeats); lower it")
        self._observed = observed
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
        people = self.people[rows]
        keypoints, scores = self._inputs(rows, rng)
        keypoints, scores, regions = self._occlude_legs(people, keypoints, scores, rng)

        size = self.config.model.input_size
        boxes = self._boxes(people.boxes, people.keypoints, people.labelled, keypoints, scores, rng)
        maps, flipped = random_maps(boxes, size, self.config.model.box_padding, self.config.augmentation, rng)
        regions[~self._imaged[self._place[rows, 0]]] = 0  # would tell where the legs are that nothing shows
        crops = self._crops(rows, maps, rng)
        if regions.any():
            crops = self._hide_legs(crops, maps, regions, rng)
        crops = self._appearance(crops, rng)

        exchange = np.where(flipped[:, None], self.skeleton.flip, np.arange(len(self.skeleton)))

        def place(points: np.ndarray) -> torch.Tensor:
            moved = np.take_along_axis(geometry.transform(points, maps), exchange[..., None], axis=1)
            return torch.from_numpy(moved.astype(np.float32))

        def arrange(values: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(np.take_along_axis(values, exchange, axis=1))

        return {
            "crops": torch.from_numpy(crops).permute(0, 3, 1, 2),
            "keypoints": place(keypoints),
            "amplitudes": arrange(input_amplitudes(scores, self.config.model.amplitude)),
            "target": place(people.keypoints),
            "labelled": arrange(people.labelled),
        }

    def input_offsets(self) -> tuple[np.ndarray, np.ndarray]:
        """How far input keypoints, as drawn for training, are from the truth; of at most 4,096 people.

        Returns:
            Distances (P,) and tolerances s k_j (P,), in pixels of crops without augmentation.
        """
        rng = np.random.default_rng(self.config.seed)
        rows = self._order(rng)[:OFFSET_PEOPLE]
        people = self.people[rows]
        keypoints, scores = self._inputs(rows, rng)
        boxes = geometry.person_boxes(people.boxes, people.keypoints, people.labelled)
        zoom = geometry.map_scale(
            geometry.crop_matrices(boxes, self.config.model.input_size, self.config.model.box_padding)
        )
        distances = np.linalg.norm(keypoints - people.keypoints, axis=-1) * zoom[:, None]
        tolerances = (np.sqrt(people.areas) * zoom)[:, None] * 2 * self.skeleton.sigmas
        known = people.labelled & (scores > 0) & (people.areas > 0)[:, None]
        return distances[known], tolerances[known]

    def _inputs(self, rows: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        drawn = synthesize(
            self.people[rows],
            self._neighbours.gather(self.people, rows),
            self.statistics,
            rng,
            dropout=self.config.synthesis.dropout,
            clean=self.config.synthesis.clean,
        )
        keypoints, scores = drawn.keypoints.copy(), drawn.scores.copy()
        real = rng.random(len(rows)) < self.config.synthesis.observed
        which = rng.random(len(rows))
        for source, found in enumerate(self._observed):
            chosen = np.flatnonzero(real & (self._place[rows, 0] == source))
            if found is None or not len(chosen):
                continue
            people = self._place[rows[chosen], 1]
            result = (which[chosen] * len(found[0])).astype(int)
            there = (found[1][result, people] > 0).any(1)
            chosen, people, result = chosen[there], people[there], result[there]
            keypoints[chosen], scores[chosen] = found[0][result, people], found[1][result, people]
        return keypoints, scores

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
            theirs, _ = random_maps(boxes, size, self.config.model.box_padding, self.config.augmentation, rng)
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

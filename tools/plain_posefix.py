"""PoseFix as the paper describes it, person by person and joint by joint: the baseline of ``tools.benchmark``.

It computes the same results as ``posefix`` and ``synth``, and shares image reading, crop maps, albumentations, the
network's modules and the tables of probabilities with them.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from posefix.core import geometry
from posefix.core.people import People
from posefix.media.crops import crop_image
from posefix.models.decode import MIN_SCALE
from posefix.models.network import PoseFixNetwork
from posefix.training.data.augment import Appearance, random_maps
from posefix.training.data.loader import TrainingBatches
from synth import ErrorType, Neighbours, Statistics, classify, neighbours_of, synthesize
from synth.errors import FAR_KS, GOOD_KS, MIN_AREA, NEAR_KS, REACH
from synth.sampler import MISS_AT_OWN

TRIES = 500  # positions drawn per error before another type is tried
KS_BOUNDS = {  # inner and outer radius of each error's ring, as keypoint similarities
    ErrorType.GOOD: (1.0, GOOD_KS),
    ErrorType.JITTER: (GOOD_KS, NEAR_KS),
    ErrorType.INVERSION: (1.0, NEAR_KS),
    ErrorType.SWAP: (1.0, NEAR_KS),
    ErrorType.MISS: (NEAR_KS, FAR_KS),
}


def render(keypoints: np.ndarray, valid: np.ndarray, size: tuple[int, int], sigma: float) -> np.ndarray:
    """Render one Gaussian for each of K keypoints (K, 2) that is ``valid`` (K,): (K, height, width) float32."""
    x, y = np.meshgrid(np.arange(size[1], dtype=np.float32), np.arange(size[0], dtype=np.float32))
    maps = np.zeros((len(keypoints), *size), np.float32)
    for k, (x0, y0) in enumerate(keypoints):
        if valid[k]:
            maps[k] = np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / (2 * sigma**2))
    return maps


def network_input(
    network: PoseFixNetwork, crop: np.ndarray, keypoints: np.ndarray, valid: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Normalise a crop (H, W, 3) uint8 to (3, H, W) float32, and render its pose, (K, H, W)."""
    mean, std = network.mean.cpu().numpy()[0], network.std.cpu().numpy()[0]
    image = (crop.transpose(2, 0, 1).astype(np.float32) - mean) / std
    return image, render(keypoints, valid, network.config.input_size, network.config.sigma)


class PlainRefiner:
    """Refine as :class:`posefix.refine.refiner.Refiner` does in one pass with the flip test.

    Attributes:
        seconds: CPU time spent so far on each stage.
    """

    def __init__(self, network: PoseFixNetwork, batch: int = 16) -> None:
        self.network, self.batch, self.config = network.eval(), batch, network.config
        self.seconds: Counter[str] = Counter()

    def __call__(self, people: People, images: Mapping[int, np.ndarray]) -> np.ndarray:
        """Refine N people, grouped by image: (N, K, 2) pixels of the original images."""
        boxes = geometry.person_boxes(people.boxes, people.keypoints, people.labelled)
        refined = people.keypoints.astype(np.float64)
        image, last, pending = np.zeros(0), None, []
        for row, image_id in enumerate(people.image_ids.tolist()):
            if image_id != last:
                image, last = self._timed("reading", images.__getitem__, image_id), image_id
            matrix = geometry.crop_matrices(boxes[[row]], self.config.input_size, self.config.box_padding)[0]
            crop = self._timed("cropping", crop_image, image, matrix, self.config.input_size)
            pending.append((row, matrix, crop))
            if len(pending) == self.batch or row == len(people) - 1:
                self._refine_batch(people, boxes, pending, refined)
                pending = []
        return refined

    def _timed(self, stage: str, function: Any, *arguments: Any) -> Any:
        started = time.process_time()
        result = function(*arguments)
        self.seconds[stage] += time.process_time() - started
        return result

    def _refine_batch(self, people: People, boxes: np.ndarray, pending: list[Any], refined: np.ndarray) -> None:
        flip, width, inputs, flipped = people.skeleton.flip, self.config.input_size[1], [], []
        for row, matrix, crop in pending:
            pose = people.keypoints[row] @ matrix[:, :2].T + matrix[:, 2]
            valid = people.scores[row] > 0
            inputs.append(self._timed("rendering", network_input, self.network, crop, pose, valid))
            pose = np.stack([width - 1 - pose[flip, 0], pose[flip, 1]], axis=1)
            flipped.append(self._timed("rendering", network_input, self.network, crop[:, ::-1], pose, valid[flip]))
        posterior = self._timed("network", self._posterior, inputs)
        posterior = (posterior + self._timed("network", self._posterior, flipped)[:, flip, :, ::-1]) / 2
        for i, (row, matrix, _) in enumerate(pending):
            refined[row] = self._timed("the rest", self._decode, people, row, boxes[row], matrix, posterior[i])

    def _posterior(self, inputs: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
        with torch.inference_mode():
            stacked = torch.from_numpy(np.stack([np.concatenate(pair) for pair in inputs])).to(self.network.mean.device)
            logits = self.network.head(self.network.backbone(stacked)[-1])
            return torch.softmax(logits.flatten(2), dim=2).view(logits.shape).cpu().numpy()

    def _decode(
        self, people: People, row: int, box: np.ndarray, matrix: np.ndarray, posterior: np.ndarray
    ) -> np.ndarray:
        """Move each keypoint to the maximum of the expected similarity, if this exceeds the one at its input."""
        height, width = posterior.shape[1:]
        stride = np.array([self.config.input_size[1] - 1, self.config.input_size[0] - 1]) / [width - 1, height - 1]
        zoom = math.sqrt(abs(np.linalg.det(matrix[:, :2])))
        length = math.sqrt(geometry.BOX_AREA_TO_AREA * box[2] * box[3]) * zoom
        refined = people.keypoints[row].astype(np.float64)
        for k in range(len(refined)):
            scale = max(length * 2 * people.skeleton.sigmas[k], MIN_SCALE * stride.max())
            blur_y, blur_x = (
                np.exp(-0.5 * ((np.arange(n)[:, None] - np.arange(n)) * step / scale) ** 2)
                for n, step in ((height, stride[1]), (width, stride[0]))
            )
            similarity = blur_y @ posterior[k] @ blur_x
            y, x = np.unravel_index(similarity.argmax(), similarity.shape)
            if people.scores[row, k] > 0:
                u, v = (matrix[:, :2] @ refined[k] + matrix[:, 2]) / stride
                outside = not (0 <= u <= width - 1 and 0 <= v <= height - 1)
                if outside or similarity[y, x] - bilinear(similarity, u, v) <= self.config.keep_margin:
                    continue
            best = np.array([vertex(similarity[y], x), vertex(similarity[:, x], y)]) * stride
            refined[k] = np.linalg.inv(matrix[:, :2]) @ (best - matrix[:, 2])
        return refined


def bilinear(values: np.ndarray, x: float, y: float) -> float:
    """Interpolate between four neighbours."""
    column, row = min(int(x), values.shape[1] - 2), min(int(y), values.shape[0] - 2)
    a, b = x - column, y - row
    upper, lower = ((1 - a) * values[r, column] + a * values[r, column + 1] for r in (row, row + 1))
    return float((1 - b) * upper + b * lower)


def vertex(line: np.ndarray, best: int) -> float:
    """Return the position of the maximum of a line around its highest value, by a parabola through three logarithms."""
    middle = min(max(best, 1), len(line) - 2)
    left, centre, right = np.log(line[middle - 1 : middle + 2])
    curvature = left - 2 * centre + right
    offset = 0.5 * (left - right) / curvature if curvature < 0 else float(best - middle)
    return float(np.clip(np.clip(middle + offset, best - 0.5, best + 0.5), 0, len(line) - 1))


def synthesize_pose(
    truth: People, row: int, neighbours: Neighbours, statistics: Statistics, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw an erroneous pose of one person, joint by joint: (K, 2) pixels, and (K,) error types."""
    labelled, flip, others = truth.labelled[row], truth.skeleton.flip, range(neighbours.labelled.shape[1])
    overlaps = neighbours.overlaps[row : row + 1]
    table = statistics.probabilities(labelled[None].sum(1), overlaps, truth.skeleton)[0]
    pose, types = truth.keypoints[row].copy(), np.full(len(labelled), ErrorType.UNLABELLED)
    for k in np.flatnonzero(labelled):
        factor = 2 * (2 * truth.skeleton.sigmas[k]) ** 2
        own_area = max(float(truth.areas[row]), MIN_AREA)
        own = [(truth.keypoints[row, k], factor * own_area)]
        counterpart = [(truth.keypoints[row, flip[k]], factor * own_area)] if flip[k] != k and labelled[flip[k]] else []
        other_points = [
            (neighbours.keypoints[row, m, j], factor * max(float(neighbours.areas[row, m]), MIN_AREA))
            for m in others
            for j in dict.fromkeys((k, flip[k]))
            if neighbours.labelled[row, m, j]
        ]
        nearby = [c for c in other_points if np.hypot(*(c[0] - own[0][0])) <= REACH * math.sqrt(own_area)]
        anchors = {ErrorType.INVERSION: counterpart, ErrorType.SWAP: nearby, ErrorType.MISS: own + counterpart + nearby}
        weights = table[k].copy()
        while weights.sum() > 0:
            error = ErrorType(int(rng.choice(len(weights), p=weights / weights.sum())))
            position = draw_position(error, own, anchors.get(error, own), (counterpart, other_points), statistics, rng)
            if position is not None:
                pose[k], types[k] = position, error
                break
            weights[error] = 0
        else:
            types[k] = ErrorType.GOOD
    return pose, types


def draw_position(
    error: ErrorType, own: list[Any], anchors: list[Any], rest: Any, statistics: Statistics, rng: np.random.Generator
) -> np.ndarray | None:
    """Draw positions around an anchor until the diagnosis of one is the error type; None if none is found."""
    inner, outer = (math.sqrt(-math.log(ks)) for ks in KS_BOUNDS[error])
    for _ in range(TRIES if anchors else 0):
        choice = own if error == ErrorType.MISS and rng.random() < MISS_AT_OWN else anchors
        point, scale = choice[rng.integers(len(choice))]
        radius = math.sqrt(scale) * (inner + (outer - inner) * rng.random() ** statistics.powers()[error])
        angle = 2 * math.pi * rng.random()
        position = point + radius * np.array([math.cos(angle), math.sin(angle)])
        if diagnose(position, own, *rest) == error:
            return position
    return None


def diagnose(position: np.ndarray, own: list[Any], counterpart: list[Any], others: list[Any]) -> ErrorType:
    """Return the error type of a detected keypoint, by its most similar candidate, (position, 2 s^2 k^2) each."""
    own_ks, counterpart_ks, other_ks = (
        max((math.exp(-((position - point) ** 2).sum() / scale) for point, scale in group), default=0.0)
        for group in (own, counterpart, others)
    )
    best = max(own_ks, counterpart_ks, other_ks)
    if best < NEAR_KS:
        return ErrorType.MISS
    if own_ks == best:
        return ErrorType.GOOD if own_ks > GOOD_KS else ErrorType.JITTER
    return ErrorType.INVERSION if counterpart_ks == best else ErrorType.SWAP


def training_inputs(
    batches: TrainingBatches, network: PoseFixNetwork, rows: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Make the network's input for training people, one by one: (N, 3 + K, H, W) float32."""
    config, people, statistics = batches.config, batches.people, Statistics.load(batches.config.synthesis.statistics)
    appearance, neighbours, inputs = Appearance(config.augmentation), neighbours_of(batches.people), []
    images = batches.stores[0].images
    for row in rows:
        pose, _ = synthesize_pose(people, row, neighbours, statistics, rng)
        box = batches.inputs.boxes[[row]]
        maps, flipped = random_maps(box, config.model.input_size, config.model.box_padding, config.augmentation, rng)
        crop = crop_image(images[int(people.image_ids[row])], maps[0], config.model.input_size)
        crop = appearance(crop[None], rng, range(1))[0]
        order = people.skeleton.flip if flipped[0] else np.arange(len(pose))
        crop_pose = (pose @ maps[0, :, :2].T + maps[0, :, 2])[order]
        inputs.append(np.concatenate(network_input(network, crop, crop_pose, people.labelled[row][order])))
    return np.stack(inputs)


def compare_synthesis(truth: People, draws: int, rng: np.random.Generator) -> tuple[bool, float]:
    """Compare poses drawn here and by ``synth``.

    Returns:
        Whether ``synth`` diagnoses the types drawn here, and the largest difference of the types' frequencies.
    """
    statistics, neighbours, consistent = Statistics.load("posefix"), neighbours_of(truth), True
    counts = np.zeros((2, len(KS_BOUNDS)))
    for _ in range(draws):
        samples = [synthesize_pose(truth, row, neighbours, statistics, rng) for row in range(len(truth))]
        poses, types = (np.stack(array) for array in zip(*samples, strict=True))
        consistent &= bool((classify(poses, truth, neighbours)[0] == types).all())
        reference = synthesize(truth, neighbours, statistics, rng, impute=0.0).types
        for count, drawn_types in zip(counts, (types, reference), strict=True):
            count += np.bincount(drawn_types[drawn_types >= 0], minlength=len(count))
    shares = counts / counts.sum(1, keepdims=True)
    return consistent, float(np.abs(shares[0] - shares[1]).max())

"""Training people with their pixels: from a COCO folder, or from one packed file; and people without pixels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from safetensors import SafetensorError, safe_open

from posefix import formats
from posefix.core import geometry
from posefix.core import skeleton as skeletons
from posefix.core.errors import InputError
from posefix.core.people import FARTHEST, People
from posefix.core.skeleton import Skeleton
from posefix.evaluation.matching import match_people
from posefix.formats import coco
from posefix.media.images import ImageFolder, decode
from posefix.training.config import DataSource, Fold

CROWD = 1000  # people of one image: more are taken for people whose images are not known
IDENTITY = np.array([[1.0, 0, 0], [0, 1.0, 0]])


class Store(Protocol):
    """People with ground truth, and the pixels around each of them; ``image_ids`` are all images of the set."""

    people: People
    image_ids: np.ndarray

    def pixels(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """(H, W, 3) uint8 RGB around person ``row``, and the (2, 3) map from original pixels to its pixels."""
        ...


class FolderStore:
    """COCO annotations and a folder of images."""

    def __init__(self, annotations: Path, images: Path, skeleton: Skeleton) -> None:
        truth = coco.read_annotations(annotations, skeleton)
        self.people = truth.people
        self.image_ids = np.array(sorted(truth.images), np.int64)
        self.images = ImageFolder(images, truth.images)
        self.images.require(np.unique(self.people.image_ids))

    def pixels(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        return self.images[int(self.people.image_ids[row])], IDENTITY


class PackedStore:
    """One memory-mapped safetensors file of JPEG crops and arrays; ``tools/pack.py`` writes it."""

    def __init__(self, path: Path, skeleton: Skeleton) -> None:
        self._path = path
        try:
            with safe_open(path, framework="numpy") as packed:
                metadata = packed.metadata() or {}
                arrays = {name: packed.get_tensor(name) for name in packed.keys() if name != "jpegs"}  # noqa: SIM118
            own = skeletons.from_dict(json.loads(metadata["skeleton"]), str(path))
            self._offsets, self._maps = arrays.pop("offsets"), arrays.pop("maps")
            self.image_ids = arrays.pop("set_image_ids")
            self.people = People(own, **arrays).to_skeleton(skeleton)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}: not a packed training set ({type(error).__name__}); see tools/pack.py") from None
        self._jpegs = None

    def pixels(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        if self._jpegs is None:  # opened where it is used: a worker process has its own
            self._jpegs = safe_open(self._path, framework="numpy").get_slice("jpegs")
        start, stop = self._offsets[row]
        try:
            return decode(self._jpegs[int(start) : int(stop)].tobytes()), self._maps[row]
        except InputError as error:
            raise InputError(f"{self._path}: person {row}: {error}") from None

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_jpegs": None}


class PoseStore:
    """People without images, from an .npz file.

    It holds ``keypoints`` (N, 17, 3), x and y in pixels and COCO's visibility, of COCO's 17 keypoints; ``bbox`` (N, 4),
    xywh in pixels; and ``image_id`` (N,), by which people are each other's neighbours (all different where that is not
    known). Areas are taken to be the usual part of the box's.
    """

    def __init__(self, path: Path, skeleton: Skeleton) -> None:
        coco17 = skeletons.load("coco17")
        try:
            with np.load(path, allow_pickle=False) as file:
                keypoints, boxes, image_ids = (np.asarray(file[name]) for name in ("keypoints", "bbox", "image_id"))
            if any(array.dtype.kind not in "iuf" for array in (keypoints, boxes)):
                raise ValueError(f"keypoints and bbox of {keypoints.dtype} and {boxes.dtype}, expected numbers")
            keypoints, boxes = keypoints.astype(np.float64), boxes.astype(np.float64)
            if not (np.abs(keypoints) <= FARTHEST).all() or not (np.abs(boxes) <= FARTHEST).all():
                raise ValueError(f"coordinates beyond {FARTHEST:,.0f} px, or not finite")
            shapes = (len(keypoints), len(coco17), 3), (len(keypoints), 4), (len(keypoints),)
            if (keypoints.shape, boxes.shape, image_ids.shape) != shapes or image_ids.dtype.kind not in "iu":
                raise ValueError(f"arrays of {keypoints.shape}, {boxes.shape} and {image_ids.shape}")
            if not len(keypoints):
                raise ValueError("nobody is in it")
            if not np.isin(keypoints[..., 2], (0, 1, 2)).all():
                raise ValueError("visibilities other than 0, 1 and 2")
            if (most := np.unique(image_ids, return_counts=True)[1].max()) > CROWD:
                raise ValueError(f"{most} people of one image_id")
        except Exception as error:  # a damaged archive raises whatever its damage provokes
            raise InputError(
                f"{path}: not an .npz file with keypoints (N, 17, 3), bbox (N, 4) and image_id (N,) "
                f"({type(error).__name__}: {error!s:.100})"
            ) from None
        self.people = People(
            coco17,
            keypoints[..., :2],
            keypoints[..., 2],
            image_ids,
            boxes=boxes,
            areas=geometry.areas_of(boxes),
        ).to_skeleton(skeleton)
        self.image_ids = np.unique(self.people.image_ids)


def in_fold(image_ids: np.ndarray, set_ids: np.ndarray, fold: Fold) -> np.ndarray:
    """Bool mask of image ids (N,) that fall into a fold, by their rank among all ids of the set (I,)."""
    chosen = np.unique(set_ids)[fold.index % fold.of :: fold.of]
    return np.isin(image_ids, chosen)


def open_store(source: DataSource, skeleton: Skeleton) -> Store | PoseStore:
    """The store that a data source describes."""
    if source.packed is not None:
        return PackedStore(Path(source.packed), skeleton)
    if source.poses is not None:
        return PoseStore(Path(source.poses), skeleton)
    return FolderStore(Path(source.annotations), Path(source.images), skeleton)


def observed_poses(people: People, results: Sequence[Path]) -> tuple[np.ndarray, np.ndarray]:
    """What real estimators said of these people, matched by their boxes where they were given them, else by OKS.

    Args:
        people: N people with ground truth.
        results: R files in COCO's result format, on the same images.

    Returns:
        keypoints (R, N, K, 2) float32 and scores (R, N, K) float32; all scores 0 where nobody was matched.
    """
    keypoints = np.zeros((len(results), *people.keypoints.shape), np.float32)
    scores = np.zeros((len(results), *people.scores.shape), np.float32)
    for r, path in enumerate(results):
        found = formats.read(path, default=people.skeleton)
        matched = match_people(people, found)
        given = match_boxes(people, found)
        matched = np.where(given >= 0, given, matched)
        rows = np.flatnonzero(matched >= 0)
        keypoints[r, rows] = found.keypoints[matched[rows]]
        scores[r, rows] = found.scores[matched[rows]]
    return keypoints, scores


def match_boxes(people: People, found: People) -> np.ndarray:
    """(N,) int64 row in ``found`` whose box is that of each person, to a hair; -1 where there is none."""

    def keys(of: People) -> list[tuple[int, ...]]:
        return list(zip(of.image_ids.tolist(), *(np.round(of.boxes, 0).astype(np.int64).T.tolist()), strict=True))

    rows = {key: row for row, key in enumerate(keys(found))}
    return np.array([rows.get(key, -1) for key in keys(people)], np.int64)

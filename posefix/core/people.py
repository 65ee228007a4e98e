"""People: N poses of one skeleton as arrays, the data structure that all packages share."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from posefix.core import geometry
from posefix.core.errors import InputError
from posefix.core.skeleton import Skeleton

COLUMNS = ("keypoints", "scores", "image_ids", "boxes", "person_scores", "areas", "original_scores", "track_ids")
MAX_COORDINATE = 1e6  # px; larger coordinates are invalid
FRACTIONS = (-0.5, 1.5)  # coordinates all in this range are normalised: no pose is this small in pixels
MIN_OUTSIDE = 0.1  # share of people outside their images below which nothing is said
UNKNOWN_CONFIDENCE = 0.5  # assumed for keypoints without scores; 1 would mean that all are certain


class Records(Sequence[Any]):
    """Lazily parsed records; :class:`People` select among them without parsing."""

    @abstractmethod
    def take(self, rows: np.ndarray) -> Records:
        """Select the records at ``rows``, (R,) int64."""


@dataclass(eq=False)
class People:
    """N people of one skeleton with K keypoints, in pixels of their original images.

    Integer coordinates are pixel centres; x right, y down (COCO).

    Attributes:
        skeleton: definition of the K keypoints.
        keypoints: (N, K, 2) float32, x and y in pixels.
        scores: (N, K) float32: an estimator's confidences, or COCO's visibility flag (0 not annotated, 1 hidden,
            2 visible) in ground truth. In both, 0 means that there is no keypoint at these coordinates.
        image_ids: (N,) int64.
        boxes: (N, 4) float32 xywh in pixels; w or h of 0 or less means that the box is unknown.
        person_scores: (N,) float32.
        areas: (N,) float32, px^2, the s^2 of OKS; 0 where unknown.
        original_scores: (N,) float32, for people who were refined and rescored, their person score before; NaN for all
            others.
        track_ids: (N,) int64, the same for one person in all frames of a video; -1 where unknown.
        extra: N records with all other fields of the source, passed through unchanged.
        source: for people from a file, everything in it that belongs to no single person
            (:class:`posefix.formats.Source`).
    """

    skeleton: Skeleton
    keypoints: np.ndarray
    scores: np.ndarray
    image_ids: np.ndarray
    boxes: np.ndarray = None  # type: ignore[assignment]
    person_scores: np.ndarray = None  # type: ignore[assignment]
    areas: np.ndarray = None  # type: ignore[assignment]
    original_scores: np.ndarray = None  # type: ignore[assignment]
    track_ids: np.ndarray = None  # type: ignore[assignment]
    extra: Sequence[Any] = field(default_factory=list)
    source: Any = None

    def __post_init__(self) -> None:
        k = len(self.skeleton)
        keypoints = np.asarray(self.keypoints, np.float32)
        if keypoints.size % (2 * k) or keypoints.shape[2:] not in ((), (2,)):
            raise InputError(f"keypoints must be (N, {k}, 2) for {self.skeleton.name}, got {keypoints.shape}")
        self.keypoints = keypoints.reshape(-1, k, 2)
        n = len(self.keypoints)

        def column(name: str, dtype: type, *shape: int, unknown: float = 0) -> np.ndarray:
            values = getattr(self, name)
            if values is None:
                return np.full((n, *shape), unknown, dtype)
            array: np.ndarray = np.asarray(values, dtype=dtype)
            if array.size != n * math.prod(shape):
                raise InputError(f"{name} must be {(n, *shape)} for the keypoints of {n} people, got {array.shape}")
            return array.reshape(n, *shape)

        self.scores = column("scores", np.float32, k)
        self.image_ids = column("image_ids", np.int64)
        self.boxes = column("boxes", np.float32, 4)
        self.person_scores = column("person_scores", np.float32)
        self.areas = column("areas", np.float32)
        self.original_scores = column("original_scores", np.float32, unknown=np.nan)
        self.track_ids = column("track_ids", np.int64, unknown=-1)
        if not isinstance(self.extra, Records):
            self.extra = list(self.extra) if len(self.extra) else [{} for _ in range(n)]
        if len(self.extra) != n:
            raise ValueError(f"extra has {len(self.extra)} records for {n} people")

    def __len__(self) -> int:
        return len(self.keypoints)

    def __getitem__(self, index: Any) -> People:
        """Select people by slice, int array or bool mask, as a new People."""
        rows = np.atleast_1d(np.arange(len(self))[index])
        extra = self.extra.take(rows) if isinstance(self.extra, Records) else [self.extra[i] for i in rows]
        return replace(self, extra=extra, **{name: getattr(self, name)[rows] for name in COLUMNS})

    @classmethod
    def empty(cls, skeleton: Skeleton) -> People:
        """Create a People of nobody (N = 0)."""
        k = len(skeleton)
        return cls(skeleton, np.zeros((0, k, 2)), np.zeros((0, k)), np.zeros(0))

    @property
    def labelled(self) -> np.ndarray:
        """Mask (N, K) bool of keypoints with a score or visibility above 0."""
        return self.scores > 0

    @property
    def xyc(self) -> np.ndarray:
        """Keypoints with scores: (N, K, 3) float32 x, y, score."""
        return np.concatenate([self.keypoints, self.scores[..., None]], axis=-1)

    def with_keypoints(self, keypoints: np.ndarray, scores: np.ndarray | None = None) -> People:
        """Return the same people with other keypoints (N, K, 2) and, if given, scores (N, K)."""
        return replace(self, keypoints=keypoints, scores=self.scores if scores is None else scores)

    def to_skeleton(self, skeleton: Skeleton) -> People:
        """Convert to another skeleton; keypoints that this one lacks are at (0, 0) with score 0."""
        if skeleton == self.skeleton:
            return self
        source = skeleton.indices_from(self.skeleton)
        known = source >= 0
        keypoints = np.where(known[None, :, None], self.keypoints[:, source], 0)
        scores = np.where(known[None], self.scores[:, source], 0)
        return replace(self, skeleton=skeleton, keypoints=keypoints, scores=scores)


def require_shared(people: People, skeleton: Skeleton, what: str) -> None:
    """Raise InputError, with a message that starts with ``what``, if people share no keypoint with a skeleton."""
    if len(people) and (skeleton.indices_from(people.skeleton) < 0).all():
        raise InputError(f"{what} {skeleton.name} poses, which have no keypoint of {people.skeleton.name}")


def require_pixels(people: People) -> None:
    """Raise InputError unless coordinates and scores are finite, and coordinates in pixels: not huge, or fractions."""
    invalid = np.argwhere(~(np.isfinite(people.keypoints).all(-1) & np.isfinite(people.scores)))
    if len(invalid):
        person, keypoint = invalid[0].tolist()
        raise InputError(
            f"the {people.skeleton.keypoint_names[keypoint]} of person {person} is NaN or infinite: coordinates and "
            "scores must be finite; give a keypoint without estimate score 0 at (0, 0)"
        )
    if len(people) and np.abs(people.keypoints).max() > MAX_COORDINATE:
        raise InputError(f"keypoints must lie within +-{MAX_COORDINATE:,.0f} px of the image's corner")
    coordinates = people.keypoints[people.labelled]
    if coordinates.any() and coordinates.min() > FRACTIONS[0] and coordinates.max() < FRACTIONS[1]:
        raise InputError(
            f"all coordinates are between {coordinates.min():g} and {coordinates.max():g}, fractions of the image; "
            "multiply them by its width and height: keypoints must be in pixels"
        )


def count_outside(people: People, sizes: np.ndarray) -> int:
    """Count people whose pose has its middle outside their image, of size (N, 2) px, if they are many; else 0."""
    boxes = geometry.pose_boxes(people.keypoints, people.labelled)
    middles = np.where(geometry.known_boxes(boxes)[:, None], boxes[:, :2] + boxes[:, 2:] / 2, np.nan)
    count = int(((middles < 0) | (middles > sizes)).any(1).sum())
    return count if count > MIN_OUTSIDE * len(people) else 0  # estimators go on with people who leave the frame


def with_refined(people: People, refined: People, missing: bool = False) -> People:
    """Return people with the keypoints and scores of the same people refined in another skeleton.

    Keypoints that the other skeleton lacks stay as they are, as do those without an estimate unless ``missing``.
    """
    indices = people.skeleton.indices_from(refined.skeleton)
    shared = (indices >= 0)[None] & (people.labelled | missing)
    return replace(
        people,
        keypoints=np.where(shared[..., None], refined.keypoints[:, indices], people.keypoints),
        scores=np.where(shared, refined.scores[:, indices], people.scores),
        person_scores=refined.person_scores,
        original_scores=refined.original_scores,
    )


def concatenate(groups: Sequence[People]) -> People:
    """Concatenate people of one skeleton; raises ValueError when skeletons differ."""
    first = groups[0]
    if any(g.skeleton != first.skeleton for g in groups):
        raise ValueError("people of different skeletons cannot be concatenated; use People.to_skeleton first")
    columns = {name: np.concatenate([getattr(group, name) for group in groups]) for name in COLUMNS}
    return People(first.skeleton, **columns, extra=[record for group in groups for record in group.extra])

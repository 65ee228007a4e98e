"""Files of 3D poses against a reference, and how sure their differences are.

Differences have 95 % intervals by bootstrap over tracks, and within a track over blocks of successive frames, because
errors of neighbouring frames are alike (Künsch, Annals of Statistics 1989; blocks go on at the beginning of a track
where it ends: Politis and Romano, 1992). Nothing is aligned again for a resample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from posefix.core.errors import InputError
from posefix.evaluation.coco import Metrics
from posefix.evaluation.comparison import draw_multiplicities, with_intervals
from posefix.lifting.body import limb_lengths
from posefix.lifting.measures import MEASURES, bones, length_sums, measured, variations
from posefix.lifting.poses import MILLIMETRES, Poses3D, Track3D

UNITS = {  # of all measures, in the order of tables; docs/depth.md says what each is
    **dict.fromkeys(MEASURES, "mm"),
    "mpjve": "mm/frame",
    "pck": "%",
    "auc": "%",
    "root_error": "mm",
    "length_variation": "%",
    "missing": "%",
}
PER_FRAME = tuple(name for name in UNITS if name != "length_variation")
HIGHER_IS_BETTER = frozenset({"pck", "auc"})
BLOCK = 0.5  # s, of the frames that are drawn together; at most a quarter of the longest track


def compare(
    truth: Poses3D, found: Sequence[tuple[str, Poses3D]], resamples: int = 1000, *, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Measure files against a reference; of several, each against the first, too.

    Tracks belong together by their ids, or where there is one each; people without ids in photographs by image, if each
    has one; frames by number; keypoints by the names of the skeletons. Measured is what all files have; ``missing``
    says what a file lacks.

    Args:
        truth: the reference.
        found: the files, with the names they have in messages.
        resamples: how many sets of tracks and frames are drawn with ``rng`` for the intervals.

    Returns:
        For each file ``{"file", "measures"}``, and for all but the first ``"difference"``: of each measure, such as
        ``mpjpe``, the difference to the first file and its interval, ``mpjpe_low`` and ``mpjpe_high``. None where
        there is nothing to measure.

    Raises:
        InputError: naming the file that has no track, frame or keypoint of the reference, tracks of the same id, or
            photographs of several people without ids.
    """
    truth = replace(truth, tracks=tuple(track for track in truth.tracks if len(track)))
    files = [_placed(truth, poses, name) for name, poses in found]
    shared = [
        tuple(np.logical_and.reduce([_known(getattr(part, name)) for part in parts]) for name in ("keypoints", "root"))
        for parts in zip(*files, strict=True)
    ]
    sums = [
        [_Sums.of(truth, track, part, *known) for track, part, known in zip(truth.tracks, file, shared, strict=True)]
        for file in files
    ]
    lengths = [len(track) for track in truth.tracks]
    once = np.ones((len(lengths), 1), int)
    values = [_estimates([part.totals.sum(0, keepdims=True) for part in file], file, once) for file in sums]
    measures: list[Metrics] = [
        {name: float(v[0]) if np.isfinite(v[0]) else None for name, v in value.items()} for value in values
    ]
    compared: list[dict[str, Any]] = [
        {"file": name, "measures": own} for (name, _), own in zip(found, measures, strict=True)
    ]
    if len(found) > 1:
        block = max(1, min(round(BLOCK * truth.fps), max(lengths) // 4))
        starts = [rng.integers(length, size=(resamples, -(-length // block))) for length in lengths]
        weights = draw_multiplicities(len(lengths), resamples, rng)
        drawn = [
            _estimates([part.resampled(s, block) for part, s in zip(file, starts, strict=True)], file, weights)
            for file in sums
        ]
        for one, own, draws in zip(compared[1:], measures[1:], drawn[1:], strict=True):
            changes = {name: draws[name] - drawn[0][name] for name in UNITS}
            one["difference"] = with_intervals(measures[0], own, changes)
    return compared


@dataclass(frozen=True, eq=False)
class _Part:
    """Poses of a file in the T frames of a track of the reference; NaN where it has none.

    Attributes:
        keypoints: (T, K, 3) metres from the middle of the hips.
        root: (T, 3) metres from the camera.
        has: (K,) bool keypoints that its skeleton has.
    """

    keypoints: np.ndarray
    root: np.ndarray
    has: np.ndarray


@dataclass(frozen=True, eq=False)
class _Sums:
    """One track: what its measures are quotients of, frame by frame.

    Attributes:
        totals: (T, 2 M + 3 B) float64: M measures that have a value per frame, 0 where they have none, and whether they
            have one; and of B bones what :func:`posefix.lifting.measures.length_sums` gives.
        usual: (B,) float64 mean lengths of the bones, metres.
    """

    totals: np.ndarray
    usual: np.ndarray

    @classmethod
    def of(cls, poses: Poses3D, track: Track3D, part: _Part, known: np.ndarray, rooted: np.ndarray) -> _Sums:
        """Measure the keypoints ``known`` (T, K), and the roots ``rooted`` (T,), of a track of a reference."""
        truth, follows = track.keypoints.astype(np.float64), _follows(track)
        columns = {
            name: measure(part.keypoints, truth, known, *([follows] if name == "mpjve" else []))
            for name, measure in MEASURES.items()
        }
        columns["root_error"] = np.where(rooted, MILLIMETRES * np.linalg.norm(part.root - track.root, axis=-1), np.nan)
        wanted = np.isfinite(truth).all(-1) & part.has
        lacking = wanted & ~measured(part.keypoints, truth)
        with np.errstate(invalid="ignore"):
            columns["missing"] = 100 * lacking.sum(1) / wanted.sum(1)
        values = np.stack([columns[name] for name in PER_FRAME], axis=1)
        lengths = limb_lengths(np.where(known[..., None], part.keypoints, np.nan), bones(poses.skeleton))
        sums, usual = length_sums(lengths)
        return cls(np.hstack([np.nan_to_num(values), np.isfinite(values), sums]), usual)

    def resampled(self, starts: np.ndarray, block: int) -> np.ndarray:
        """(R, C) sums over the frames of blocks that begin at frames ``starts`` (R, blocks)."""
        wrapped = self.totals[np.arange(-1, len(self.totals) + block - 1) % len(self.totals)]
        wrapped[0] = 0
        wrapped = wrapped.cumsum(0)
        blocks = wrapped[block:] - wrapped[:-block]
        return np.stack([blocks[rows].sum(0) for rows in starts])


def _estimates(totals: Sequence[np.ndarray], parts: Sequence[_Sums], weights: np.ndarray) -> dict[str, np.ndarray]:
    """Each measure, (R,), from the sums (R, C) of each track, counted as often as ``weights`` (tracks, R) say."""
    m = len(PER_FRAME)
    together = sum(total * weight[:, None] for total, weight in zip(totals, weights, strict=True))
    varied = np.stack([variations(total[:, 2 * m :], part.usual) for total, part in zip(totals, parts, strict=True)])
    counts = weights * np.isfinite(varied)
    with np.errstate(invalid="ignore", divide="ignore"):
        quotients = together[:, :m] / together[:, m : 2 * m]
        variation = (np.nan_to_num(varied) * counts).sum(0) / counts.sum(0)
    estimates = dict(zip(PER_FRAME, quotients.T, strict=True)) | {"length_variation": variation}
    return {name: estimates[name] for name in UNITS}


def _placed(truth: Poses3D, poses: Poses3D, name: str) -> list[_Part]:
    """Poses of a file in the frames and keypoints of the reference, for each of its tracks."""
    order = truth.skeleton.indices_from(poses.skeleton)
    if (order < 0).all():
        raise InputError(
            f"{name}: skeleton {poses.skeleton.name} has no keypoint of {truth.skeleton.name}, the reference's"
        )
    if len(truth.tracks) == len(poses.tracks) == 1:
        tracks: list[Track3D | None] = [*poses.tracks]
    else:
        photographs = all(track.track_id < 0 and len(track) == 1 for track in (*truth.tracks, *poses.tracks))
        theirs, ours = (_by_key(*one, photographs) for one in ((poses, name), (truth, "the reference")))
        tracks = [theirs.get(key) for key in ours]
        if not any(tracks):
            what = "images are" if photographs else "tracks have the ids"
            raise InputError(f"{name}: its {what} {_listed(theirs)}, those of the reference {_listed(ours)}")
    parts = [_on_frames(ours, theirs, order) for ours, theirs in zip(truth.tracks, tracks, strict=True)]
    if not any(_known(part.keypoints).any() for part in parts):
        raise InputError(f"{name}: has no keypoint in any frame of the reference")
    return parts


def _on_frames(track: Track3D, found: Track3D | None, order: np.ndarray) -> _Part:
    shape = (len(track), len(order), 3)
    keypoints, root = np.full(shape, np.nan), np.full((len(track), 3), np.nan)
    if found is not None:
        shared = np.intersect1d(track.frames, found.frames, assume_unique=True, return_indices=True)
        ours, theirs = shared[1:]
        keypoints[ours] = np.where((order >= 0)[:, None], found.keypoints[theirs][:, order], np.nan)
        root[ours] = found.root[theirs]
    return _Part(keypoints, root, order >= 0)


def _known(points: np.ndarray) -> np.ndarray:
    known: np.ndarray = np.isfinite(points).all(-1)
    return known


def _follows(track: Track3D) -> np.ndarray:
    """(T,) bool frames that come one step after the row before, where every n-th frame of a video is there."""
    steps = np.diff(track.frames)
    return np.append(False, steps == steps.min(initial=np.iinfo(np.int64).max))


def _by_key(poses: Poses3D, name: str, photographs: bool) -> dict[int, Track3D]:
    """Tracks by their ids, or, of people without ids in photographs, by image."""
    tracks: dict[int, Track3D] = {}
    for track in poses.tracks:
        key = int(track.frames[0]) if photographs else track.track_id
        if key in tracks:
            what = (
                f"image {key} has several people without track ids"
                if photographs
                else "several tracks have the same id"
            )
            raise InputError(f"{name}: {what}, so that it is not known who is who")
        tracks[key] = track
    return tracks


def _listed(tracks: dict[int, Track3D]) -> str:
    return ", ".join(map(str, list(tracks)[:5])) + (", ..." if len(tracks) > 5 else "") if tracks else "(none)"

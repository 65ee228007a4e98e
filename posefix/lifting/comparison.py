"""Compare files of 3D poses with a reference, with confidence intervals for their differences.

The 95 % intervals come from a bootstrap over tracks and, within tracks, over circular blocks of successive frames,
whose errors are correlated (Künsch, Annals of Statistics 1989; Politis and Romano, 1992). Resamples are not realigned.
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

UNITS = {  # of all measures, in the order of tables; see docs/depth.md
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
BLOCK = 0.5  # s, length of the bootstrap's blocks; at most a quarter of the longest track


def compare(
    truth: Poses3D, predictions: Sequence[tuple[str, Poses3D]], resamples: int = 1000, *, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Measure files against a reference, and the others against the first file.

    Tracks are matched by id, or directly if there is only one each; people in photographs without ids by image; frames
    by number; keypoints by name. Measures cover what all files have; ``missing`` says what a file lacks.

    Args:
        truth: the reference.
        predictions: names, as used in messages, and poses of the files.
        resamples: number of bootstrap resamples.
        rng: source of randomness.

    Returns:
        For each file ``{"file", "measures"}``, and for all but the first ``"difference"``: for each measure, such as
        ``mpjpe``, the difference to the first file and its interval, ``mpjpe_low`` and ``mpjpe_high``. None where there
        is nothing to measure.

    Raises:
        InputError: a file has no track, frame or keypoint of the reference, or its tracks cannot be told apart.
    """
    truth = replace(truth, tracks=tuple(track for track in truth.tracks if len(track)))
    files = [_matched(truth, poses, name) for name, poses in predictions]
    common = [
        tuple(np.logical_and.reduce([_finite(getattr(part, name)) for part in parts]) for name in ("keypoints", "root"))
        for parts in zip(*files, strict=True)
    ]
    sums = [
        [_Sums.of(truth, track, part, *masks) for track, part, masks in zip(truth.tracks, file, common, strict=True)]
        for file in files
    ]
    lengths = [len(track) for track in truth.tracks]
    once = np.ones((len(lengths), 1), int)
    estimates = [_estimates([part.totals.sum(0, keepdims=True) for part in file], file, once) for file in sums]
    measures: list[Metrics] = [
        {name: float(v[0]) if np.isfinite(v[0]) else None for name, v in value.items()} for value in estimates
    ]
    compared: list[dict[str, Any]] = [
        {"file": name, "measures": metrics} for (name, _), metrics in zip(predictions, measures, strict=True)
    ]
    if len(predictions) > 1:
        block = max(1, min(round(BLOCK * truth.fps), max(lengths) // 4))
        starts = [rng.integers(length, size=(resamples, -(-length // block))) for length in lengths]
        weights = draw_multiplicities(len(lengths), resamples, rng)
        drawn = [
            _estimates([part.resampled(s, block) for part, s in zip(file, starts, strict=True)], file, weights)
            for file in sums
        ]
        for entry, metrics, draws in zip(compared[1:], measures[1:], drawn[1:], strict=True):
            changes = {name: draws[name] - drawn[0][name] for name in UNITS}
            entry["difference"] = with_intervals(measures[0], metrics, changes)
    return compared


@dataclass(frozen=True, eq=False)
class _Match:
    """Poses of a file in the T frames of a reference track; NaN where it has none.

    Attributes:
        keypoints: (T, K, 3) metres from the mid-hip.
        root: (T, 3) metres from the camera.
        has: (K,) bool keypoints of its skeleton.
    """

    keypoints: np.ndarray
    root: np.ndarray
    has: np.ndarray


@dataclass(frozen=True, eq=False)
class _Sums:
    """Sums over a track that its measures are computed from.

    Attributes:
        totals: (T, 2 M + 3 B) float64: values of M measures per frame, 0 where undefined; whether they are defined; and
            :func:`posefix.lifting.measures.length_sums` of B bones.
        means: (B,) float64 mean lengths of the bones, metres.
    """

    totals: np.ndarray
    means: np.ndarray

    @classmethod
    def of(cls, poses: Poses3D, track: Track3D, match: _Match, valid: np.ndarray, rooted: np.ndarray) -> _Sums:
        """Measure the keypoints ``valid`` (T, K) and the roots ``rooted`` (T,) of a reference track."""
        truth, follows = track.keypoints.astype(np.float64), _follows(track)
        columns = {
            name: measure(match.keypoints, truth, valid, *([follows] if name == "mpjve" else []))
            for name, measure in MEASURES.items()
        }
        columns["root_error"] = np.where(rooted, MILLIMETRES * np.linalg.norm(match.root - track.root, axis=-1), np.nan)
        expected = np.isfinite(truth).all(-1) & match.has
        missing = expected & ~measured(match.keypoints, truth)
        with np.errstate(invalid="ignore"):
            columns["missing"] = 100 * missing.sum(1) / expected.sum(1)
        values = np.stack([columns[name] for name in PER_FRAME], axis=1)
        lengths = limb_lengths(np.where(valid[..., None], match.keypoints, np.nan), bones(poses.skeleton))
        sums, means = length_sums(lengths)
        return cls(np.hstack([np.nan_to_num(values), np.isfinite(values), sums]), means)

    def resampled(self, starts: np.ndarray, block: int) -> np.ndarray:
        """Return (R, C) sums over blocks of frames that begin at ``starts`` (R, blocks)."""
        wrapped = self.totals[np.arange(-1, len(self.totals) + block - 1) % len(self.totals)]
        wrapped[0] = 0
        wrapped = wrapped.cumsum(0)
        blocks = wrapped[block:] - wrapped[:-block]
        return np.stack([blocks[rows].sum(0) for rows in starts])


def _estimates(totals: Sequence[np.ndarray], tracks: Sequence[_Sums], weights: np.ndarray) -> dict[str, np.ndarray]:
    """Return each measure (R,) from the sums (R, C) of each track, with multiplicities ``weights`` (tracks, R)."""
    m = len(PER_FRAME)
    merged = sum(total * weight[:, None] for total, weight in zip(totals, weights, strict=True))
    coeffs = np.stack([variations(total[:, 2 * m :], track.means) for total, track in zip(totals, tracks, strict=True)])
    counts = weights * np.isfinite(coeffs)
    with np.errstate(invalid="ignore", divide="ignore"):
        quotients = merged[:, :m] / merged[:, m : 2 * m]
        variation = (np.nan_to_num(coeffs) * counts).sum(0) / counts.sum(0)
    estimates = dict(zip(PER_FRAME, quotients.T, strict=True)) | {"length_variation": variation}
    return {name: estimates[name] for name in UNITS}


def _matched(truth: Poses3D, poses: Poses3D, name: str) -> list[_Match]:
    """Return the poses of a file in the frames and keypoints of each reference track."""
    order = truth.skeleton.indices_from(poses.skeleton)
    if (order < 0).all():
        raise InputError(
            f"{name}: skeleton {poses.skeleton.name} has no keypoint of {truth.skeleton.name}, the reference's"
        )
    if len(truth.tracks) == len(poses.tracks) == 1:
        tracks: list[Track3D | None] = [*poses.tracks]
    else:
        photographs = all(track.track_id < 0 and len(track) == 1 for track in (*truth.tracks, *poses.tracks))
        theirs, ours = (_by_key(*entry, photographs) for entry in ((poses, name), (truth, "the reference")))
        tracks = [theirs.get(key) for key in ours]
        if not any(tracks):
            what = "images are" if photographs else "tracks have the ids"
            raise InputError(f"{name}: its {what} {_shortened(theirs)}, those of the reference {_shortened(ours)}")
    matches = [_on_frames(ours, theirs, order) for ours, theirs in zip(truth.tracks, tracks, strict=True)]
    if not any(_finite(match.keypoints).any() for match in matches):
        raise InputError(f"{name}: has no keypoint in any frame of the reference")
    return matches


def _on_frames(track: Track3D, other: Track3D | None, order: np.ndarray) -> _Match:
    shape = (len(track), len(order), 3)
    keypoints, root = np.full(shape, np.nan), np.full((len(track), 3), np.nan)
    if other is not None:
        common = np.intersect1d(track.frames, other.frames, assume_unique=True, return_indices=True)
        ours, theirs = common[1:]
        keypoints[ours] = np.where((order >= 0)[:, None], other.keypoints[theirs][:, order], np.nan)
        root[ours] = other.root[theirs]
    return _Match(keypoints, root, order >= 0)


def _finite(points: np.ndarray) -> np.ndarray:
    finite: np.ndarray = np.isfinite(points).all(-1)
    return finite


def _follows(track: Track3D) -> np.ndarray:
    """Return (T,) bool: frames one step after the row before; a step is n if only every n-th frame exists."""
    steps = np.diff(track.frames)
    return np.append(False, steps == steps.min(initial=np.iinfo(np.int64).max))


def _by_key(poses: Poses3D, name: str, photographs: bool) -> dict[int, Track3D]:
    """Return tracks by id, or by image for people without ids in photographs."""
    tracks: dict[int, Track3D] = {}
    for track in poses.tracks:
        key = int(track.frames[0]) if photographs else track.track_id
        if key in tracks:
            what = (
                f"image {key} has several people without track ids"
                if photographs
                else "several tracks have the same id"
            )
            raise InputError(f"{name}: {what}, so people cannot be matched")
        tracks[key] = track
    return tracks


def _shortened(tracks: dict[int, Track3D]) -> str:
    return ", ".join(map(str, list(tracks)[:5])) + (", ..." if len(tracks) > 5 else "") if tracks else "(none)"

"""Filter keypoints over time: zero-phase filters for whole tracks, and the causal One-Euro filter.

Outliers (Hampel) and weak samples are interpolated first. Filters stop at cuts and respect uneven time stamps.
"""

from __future__ import annotations

import numpy as np

from posefix.core import geometry
from posefix.core.errors import InputError, require

METHODS = ("oneeuro", "savgol", "butterworth", "gaussian", "median")
CUTOFF = 6.0  # Hz: most of human movement is slower (Winter, Biomechanics and Motor Control of Human Movement)
HAMPEL_REACH = 3  # frames on each side
HAMPEL_DEVIATIONS = 3.0  # standard deviations from the median, estimated from the median absolute deviation
MIN_DEVIATION = 0.02  # lower bound of the standard deviation, in sizes of the person
WEAK_CONFIDENCE = 0.5  # times a keypoint's median confidence in the track; samples below are interpolated
NEVER = 2**40  # frames; longer than any gap
FILLED_CONFIDENCE = 0.5  # confidence of a filled keypoint, times its neighbours'
MAX_SPEED = 25.0  # sizes of the person per second; a faster movement of the whole pose is a cut
EVEN_TOLERANCE = 0.02  # tolerance of time stamps on an even grid, in frames
REST_CUTOFF, BETA = 0.25, 6.0  # One-Euro: minimum cutoff, times the cutoff; Hz per size of the person per second
PADDING = 15  # frames extrapolated at both ends
MAX_PAUSE = 1.0  # s; longer pauses split a track


def smooth(
    times: np.ndarray, keypoints: np.ndarray, method: str = "butterworth", *, cutoff: float = CUTOFF, fill: int = 0
) -> np.ndarray:
    """Filter a track over time.

    Args:
        times: (T,) seconds, ascending.
        keypoints: (T, K, 3) x, y in pixels and confidence; NaN or confidence 0 where there is no estimate.
        method: one of ``METHODS``. All but ``oneeuro`` are zero-phase.
        cutoff: Hz; faster movement counts as noise.
        fill: longest gap to fill, in frames; filled keypoints get half the confidence of their neighbours.

    Returns:
        (T, K, 3) float64; NaN, NaN, 0 where there is still no estimate.

    Raises:
        InputError: the method is unknown, or times do not ascend.
    """
    if method not in METHODS:
        raise InputError(f"unknown filter {method!r}: use one of {', '.join(METHODS)}")
    times, keypoints = np.asarray(times, np.float64), np.array(keypoints, np.float64)
    if (np.diff(times) <= 0).any():
        raise InputError("the times of a track's frames must ascend")
    valid = np.isfinite(keypoints).all(-1) & (keypoints[..., 2] > 0)
    keypoints[~valid] = (np.nan, np.nan, 0)
    for segment in segments(times, keypoints, valid):
        keypoints[segment] = _smoothed(times[segment], keypoints[segment], valid[segment], method, cutoff, fill)
    return keypoints


def _smoothed(
    times: np.ndarray, keypoints: np.ndarray, valid: np.ndarray, method: str, cutoff: float, fill: int
) -> np.ndarray:
    """Smooth a track without cuts, as :func:`smooth`; ``valid`` (T, K) bool marks the estimates."""
    confidences, size = keypoints[..., 2], person_size(keypoints[..., :2])
    trusted = valid & ~outliers(times, keypoints, valid, size)
    typical = median_of_known(confidences.T[..., None], trusted.T)[:, 0]
    trusted &= confidences >= WEAK_CONFIDENCE * typical
    dense = np.nan_to_num(interpolated(times, keypoints, trusted))
    filtered = _filtered(times, dense[..., :2], method, cutoff, size)
    output_valid = trusted.any(0) & (valid | (missing_run(valid) <= fill))
    new_confidences = np.where(valid, confidences, FILLED_CONFIDENCE * dense[..., 2])
    return np.where(output_valid[..., None], np.dstack([filtered, new_confidences]), keypoints)


def person_size(keypoints: np.ndarray) -> float:
    """Return the median over frames of sqrt(area) of the person in pixels, from ``keypoints`` (T, K, 2) with NaN.

    0 if no frame has more than one keypoint.
    """
    sizes = _sizes(keypoints)
    return float(np.median(sizes[sizes > 0])) if (sizes > 0).any() else 0.0


def sizes_so_far(keypoints: np.ndarray) -> np.ndarray:
    """Return (T,) sizes as :func:`person_size`, each the mean of the frames so far."""
    sizes = _sizes(keypoints)
    return np.asarray(sizes.cumsum() / np.maximum((sizes > 0).cumsum(), 1))


def _sizes(keypoints: np.ndarray) -> np.ndarray:
    """Return (T,) sqrt(area) in pixels from keypoints (T, K, 2) with NaN; 0 for a single keypoint."""
    valid = np.isfinite(keypoints).all(-1)
    boxes = geometry.pose_boxes(keypoints, valid)
    return np.where(valid.sum(1) > 1, np.sqrt(geometry.areas_of(boxes)), 0.0)


def outliers(times: np.ndarray, keypoints: np.ndarray, valid: np.ndarray, size: float) -> np.ndarray:
    """Find keypoints (T, K) far from the median of the frames around them (Hampel identifier).

    Args:
        times: (T,) seconds.
        keypoints: (T, K, >= 2) px.
        valid: (T, K) bool, keypoints with an estimate.
        size: of the person, px.
    """
    dense = interpolated(times, keypoints[..., :2], valid)
    padded = np.pad(dense, ((HAMPEL_REACH, HAMPEL_REACH), (0, 0), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * HAMPEL_REACH + 1, axis=0)
    medians = np.median(windows, axis=-1)
    deviations = 1.4826 * np.median(np.abs(windows - medians[..., None]), axis=-1)
    limit = HAMPEL_DEVIATIONS * np.maximum(deviations, MIN_DEVIATION * size)
    is_outlier: np.ndarray = valid & (np.abs(dense - medians) > limit).any(-1)
    return is_outlier


def segments(times: np.ndarray, keypoints: np.ndarray, valid: np.ndarray) -> list[slice]:
    """Split a track at pauses and at cuts, where the whole pose jumps for longer than an outlier.

    Takes the arguments of :func:`outliers`. A track without a size, of a single keypoint, has no segments.
    """
    size = person_size(np.where(valid[..., None], keypoints[..., :2], np.nan))
    if not size:
        return []
    trusted = valid & ~outliers(times, keypoints, valid, size)
    frames = np.flatnonzero(trusted.any(1))
    distances = np.linalg.norm(np.diff(keypoints[frames, :, :2], axis=0), axis=-1)
    jump = median_of_known(distances[..., None], trusted[frames][1:] & trusted[frames][:-1])[:, 0]
    elapsed = np.diff(times[frames])
    cuts = np.flatnonzero((jump > MAX_SPEED * size * elapsed) | (elapsed > MAX_PAUSE))
    starts, ends = np.append(0, frames[cuts + 1]), np.append(frames[cuts], len(times) - 1)
    return [slice(start, end + 1) for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]


def median_of_known(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return the median over K of values (N, K, D) where ``known`` (N, K) bool; (N, D), 0 where none is."""
    ordered = np.sort(np.where(known[..., None], values, np.inf), axis=1)
    middle = np.maximum(known.sum(1) - 1, 0) // 2
    median = np.take_along_axis(ordered, middle[:, None, None], axis=1)[:, 0]
    return np.where(known.any(axis=1, keepdims=True), median, 0.0)


def interpolated(times: np.ndarray, values: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Interpolate missing values linearly; repeat the first and the last at the ends.

    Args:
        times: (T,) ascending.
        values: (T, K, D).
        valid: (T, K) bool; by default where values are finite.

    Returns:
        (T, K, D) float64; keypoints that are never valid are unchanged.
    """
    valid = np.isfinite(values).all(-1) if valid is None else valid
    indices = np.arange(len(times))[:, None]
    before = np.maximum.accumulate(np.where(valid, indices, -1), axis=0)
    after = np.minimum.accumulate(np.where(valid, indices, len(times))[::-1], axis=0)[::-1]
    first, last = np.where(before < 0, after, before), np.where(after == len(times), before, after)
    first, last = np.where(valid.any(0), first, indices), np.where(valid.any(0), last, indices)
    span = np.where(last > first, times[last] - times[first], 1)
    weight = ((times[:, None] - times[first]) / span * (last > first))[..., None]
    start, end = (np.take_along_axis(np.asarray(values, np.float64), rows[..., None], axis=0) for rows in (first, last))
    blended: np.ndarray = (1 - weight) * start + weight * end
    return blended


def missing_run(valid: np.ndarray) -> np.ndarray:
    """Return (T, K) int64 length of the gap around each keypoint, frames: 0 if valid, over ``NEVER`` at the ends."""
    indices = np.arange(len(valid))[:, None]
    before = np.maximum.accumulate(np.where(valid, indices, -NEVER), axis=0)
    after = np.minimum.accumulate(np.where(valid, indices, len(valid) + NEVER)[::-1], axis=0)[::-1]
    return np.where(valid, 0, after - before - 1)


def _filtered(times: np.ndarray, xy: np.ndarray, method: str, cutoff: float, size: float) -> np.ndarray:
    """Filter positions (T, K, 2) without gaps; fewer than four frames are unchanged."""
    if len(times) < 4:
        return xy
    if method == "oneeuro":
        return one_euro(times, xy, np.full(len(times), size), cutoff)
    step, grid = even_grid(times, EVEN_TOLERANCE)
    if grid is None:
        return _on_grid(xy, method, cutoff * step)
    spline = require("scipy.interpolate", "video", "smoothing").make_interp_spline
    return np.asarray(spline(grid, _on_grid(spline(times, xy, k=3)(grid), method, cutoff * step), k=3)(times))


def even_grid(times: np.ndarray, tolerance: float) -> tuple[float, np.ndarray | None]:
    """Return the median step of times (T,), s, and evenly spaced times from the first to the last.

    The grid is None if the times are even themselves, within ``tolerance`` steps.
    """
    step = float(np.median(np.diff(times)))
    grid = np.linspace(times[0], times[-1], round((times[-1] - times[0]) / step) + 1)
    is_even = len(grid) == len(times) and np.abs(grid - times).max() < tolerance * step
    return step, None if is_even else grid


def _on_grid(xy: np.ndarray, method: str, cutoff: float) -> np.ndarray:
    """Filter equally spaced positions (T, K, 2) with zero phase; ``cutoff`` in cycles per frame."""
    signal = require("scipy.signal", "video", "smoothing")
    if cutoff >= 0.5:
        return xy
    reach = min(PADDING, len(xy) - 1)
    padded = np.pad(xy, ((reach, reach), (0, 0), (0, 0)), mode="reflect", reflect_type="odd")
    if method == "butterworth":
        filtered = signal.sosfiltfilt(signal.butter(2, 2 * cutoff, output="sos"), padded, axis=0, padtype=None)
    elif method == "savgol":
        half = max(2, round((3 / (2 * cutoff) + 4.6) / 3.2))  # for a parabola (Schafer, IEEE Signal Proc. Mag. 2011)
        filtered = signal.savgol_filter(padded, min(2 * half + 1, len(padded) - 1 + len(padded) % 2), 2, axis=0)
    elif method == "gaussian":
        sigma = np.sqrt(np.log(2)) / (2 * np.pi * cutoff)
        filtered = require("scipy.ndimage", "video", "smoothing").gaussian_filter1d(padded, sigma, axis=0)
    else:
        width = 2 * max(1, round(0.5 / cutoff / 2)) + 1
        filtered = require("scipy.ndimage", "video", "smoothing").median_filter(padded, (width, 1, 1))
    return np.asarray(filtered)[reach : reach + len(xy)]


def one_euro(times: np.ndarray, xy: np.ndarray, sizes: np.ndarray, cutoff: float = CUTOFF) -> np.ndarray:
    """Filter positions (T, K, 2) of people of sizes (T,) px with the One-Euro filter."""
    one_euro_filter = OneEuro(cutoff)
    return np.stack([one_euro_filter(time, frame, size) for time, frame, size in zip(times, xy, sizes, strict=True)])


class OneEuro:
    """The One-Euro filter (Casiez et al., CHI 2012): causal, with a cutoff (Hz) that rises with the speed.

    Keeps its state between calls, for each keypoint of each person.
    """

    def __init__(self, cutoff: float = CUTOFF) -> None:
        self._cutoff = REST_CUTOFF * cutoff
        self._time, self._last, self._speed = np.zeros(()), np.zeros(()), np.zeros(())

    def __call__(self, time: float, xy: np.ndarray, size: np.ndarray | float) -> np.ndarray:
        """Filter the next frame.

        Args:
            time: s, later than that of the frame before.
            xy: (..., K, 2) px; NaN where there is no estimate.
            size: (..., 1) or scalar, px, sqrt(area) of the person.

        Returns:
            (..., K, 2) float64; NaN where ``xy`` is.
        """
        if not self._last.shape:
            self._time, self._last = np.full(xy.shape, np.nan), np.full(xy.shape, np.nan)
            self._speed = np.zeros(xy.shape)
        valid = np.isfinite(xy)
        first = valid & np.isnan(self._last)
        elapsed = np.where(valid & ~first, time - self._time, 1.0)
        speed = np.where(valid & ~first, (xy - self._last) / elapsed, 0.0)
        weight = _new_weight(1.0, elapsed)
        self._speed = np.where(valid, (1 - weight) * self._speed + weight * speed, self._speed)
        relative_speed = np.linalg.norm(self._speed, axis=-1, keepdims=True) / np.asarray(size)[..., None]
        weight = _new_weight(self._cutoff + BETA * relative_speed, elapsed)
        self._last = np.where(first, xy, np.where(valid, (1 - weight) * self._last + weight * xy, self._last))
        self._time = np.where(valid, time, self._time)
        return np.where(valid, self._last, np.nan)


def _new_weight(cutoff: np.ndarray | float, elapsed: np.ndarray) -> np.ndarray:
    """Return the weight of a new sample in exponential smoothing."""
    weight: np.ndarray = 1 / (1 + 1 / (2 * np.pi * np.asarray(cutoff) * elapsed))
    return weight

"""Filters of keypoints over time: zero-phase ones for whole tracks, and the One-Euro filter, which is causal.

Outliers (Hampel) and samples of little confidence are replaced by interpolation before filtering; nothing is filtered
across a cut, and frames are where their time stamps say.
"""

from __future__ import annotations

import numpy as np

from posefix.core import geometry
from posefix.core.errors import InputError, require

METHODS = ("oneeuro", "savgol", "butterworth", "gaussian", "median")
CUTOFF = 6.0  # Hz: most of human movement is slower (Winter, Biomechanics and Motor Control of Human Movement)
HAMPEL_REACH = 3  # frames on each side whose median tells outliers
HAMPEL_DEVIATIONS = 3.0  # standard deviations from the median, estimated from the median deviation
LEAST_DEVIATION = 0.02  # of the person's size: nearer to the median nothing is an outlier
WEAK = 0.5  # times a keypoint's median confidence in a track: samples below say less than their neighbours
NEVER = 2**40  # frames; longer than any gap that is filled
FILLED_CONFIDENCE = 0.5  # times its neighbours' confidence, of a filled keypoint
FASTEST = 25.0  # sizes of the person a second: a pose that moves faster is beyond a cut
EVEN = 0.02  # of a frame: time stamps that differ by less from equal ones are equal
REST, BETA = 0.25, 6.0  # of One-Euro: times the cutoff at rest; Hz by which it rises for a speed of a size a second
PADDED = 15  # frames at both ends, on which the movement goes on
PAUSE = 1.0  # s: what is further apart is filtered by itself


def smooth(
    times: np.ndarray, keypoints: np.ndarray, method: str = "butterworth", *, cutoff: float = CUTOFF, fill: int = 0
) -> np.ndarray:
    """Filter a track over time.

    Args:
        times: (T,) seconds, ascending.
        keypoints: (T, K, 3) x, y in pixels and confidence; NaN or confidence 0 where there is no estimate.
        method: one of ``METHODS``. All are zero-phase but ``oneeuro``.
        cutoff: Hz, from which on movement is taken for noise.
        fill: keypoints that are missing in at most so many successive frames are filled, with half the confidence that
            those before and after have.

    Returns:
        (T, K, 3) float64; what is missing and not filled is NaN, NaN, 0.

    Raises:
        InputError: there is no such method, or times do not ascend.
    """
    if method not in METHODS:
        raise InputError(f"unknown filter {method!r}: use one of {', '.join(METHODS)}")
    times, keypoints = np.asarray(times, np.float64), np.array(keypoints, np.float64)
    if (np.diff(times) <= 0).any():
        raise InputError("the times of a track's frames must ascend")
    known = np.isfinite(keypoints).all(-1) & (keypoints[..., 2] > 0)
    keypoints[~known] = (np.nan, np.nan, 0)
    for part in segments(times, keypoints, known):
        keypoints[part] = _smoothed(times[part], keypoints[part], known[part], method, cutoff, fill)
    return keypoints


def _smoothed(
    times: np.ndarray, keypoints: np.ndarray, known: np.ndarray, method: str, cutoff: float, fill: int
) -> np.ndarray:
    """What :func:`smooth` returns, of a track without cuts; ``known`` (T, K) bool are the estimates."""
    confidences, size = keypoints[..., 2], person_size(keypoints[..., :2])
    trusted = known & ~outliers(times, keypoints, known, size)
    usual = median_of_known(confidences.T[..., None], trusted.T)[:, 0]
    trusted &= confidences >= WEAK * usual
    whole = np.nan_to_num(interpolated(times, keypoints, trusted))
    filtered = _filtered(times, whole[..., :2], method, cutoff, size)
    wanted = trusted.any(0) & (known | (missing_run(known) <= fill))
    new = np.where(known, confidences, FILLED_CONFIDENCE * whole[..., 2])
    return np.where(wanted[..., None], np.dstack([filtered, new]), keypoints)


def person_size(keypoints: np.ndarray) -> float:
    """The median over frames of the square root of the person's area, px; ``keypoints`` (T, K, 2) with NaN.

    0 if no frame has more than one keypoint.
    """
    sizes = _sizes(keypoints)
    return float(np.median(sizes[sizes > 0])) if (sizes > 0).any() else 0.0


def sizes_so_far(keypoints: np.ndarray) -> np.ndarray:
    """(T,) as :func:`person_size`, but the mean of the frames up to each alone."""
    sizes = _sizes(keypoints)
    return np.asarray(sizes.cumsum() / np.maximum((sizes > 0).cumsum(), 1))


def _sizes(keypoints: np.ndarray) -> np.ndarray:
    """(T,) square roots of the person's area, px, from (T, K, 2) with NaN; 0 of a lone keypoint."""
    known = np.isfinite(keypoints).all(-1)
    boxes = geometry.pose_boxes(keypoints, known)
    return np.where(known.sum(1) > 1, np.sqrt(geometry.areas_of(boxes)), 0.0)


def outliers(times: np.ndarray, keypoints: np.ndarray, known: np.ndarray, size: float) -> np.ndarray:
    """(T, K) bool: keypoints far from the median of the frames around them (Hampel identifier).

    Args:
        times: (T,) seconds.
        keypoints: (T, K, >= 2) px.
        known: (T, K) bool.
        size: of the person, px.
    """
    whole = interpolated(times, keypoints[..., :2], known)
    padded = np.pad(whole, ((HAMPEL_REACH, HAMPEL_REACH), (0, 0), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * HAMPEL_REACH + 1, axis=0)
    medians = np.median(windows, axis=-1)
    deviations = 1.4826 * np.median(np.abs(windows - medians[..., None]), axis=-1)
    limit = HAMPEL_DEVIATIONS * np.maximum(deviations, LEAST_DEVIATION * size)
    found: np.ndarray = known & (np.abs(whole - medians) > limit).any(-1)
    return found


def segments(times: np.ndarray, keypoints: np.ndarray, known: np.ndarray) -> list[slice]:
    """The parts of a track between cuts, where the whole pose jumps for longer than an outlier, and pauses.

    The arguments are as those of :func:`outliers`. Tracks of a lone keypoint, without a size, have none.
    """
    size = person_size(np.where(known[..., None], keypoints[..., :2], np.nan))
    if not size:
        return []
    trusted = known & ~outliers(times, keypoints, known, size)
    seen = np.flatnonzero(trusted.any(1))
    moved = np.linalg.norm(np.diff(keypoints[seen, :, :2], axis=0), axis=-1)
    jump = median_of_known(moved[..., None], trusted[seen][1:] & trusted[seen][:-1])[:, 0]
    elapsed = np.diff(times[seen])
    cuts = np.flatnonzero((jump > FASTEST * size * elapsed) | (elapsed > PAUSE))
    starts, ends = np.append(0, seen[cuts + 1]), np.append(seen[cuts], len(times) - 1)
    return [slice(start, end + 1) for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]


def median_of_known(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """(N, D) the median over K of values (N, K, D) where they are known (N, K) bool; 0 where none is."""
    ordered = np.sort(np.where(known[..., None], values, np.inf), axis=1)
    middle = np.maximum(known.sum(1) - 1, 0) // 2
    median = np.take_along_axis(ordered, middle[:, None, None], axis=1)[:, 0]
    return np.where(known.any(axis=1, keepdims=True), median, 0.0)


def interpolated(times: np.ndarray, values: np.ndarray, known: np.ndarray | None = None) -> np.ndarray:
    """Values with what is not known on straight lines between what is; before the first and after the last as these.

    Args:
        times: (T,) ascending.
        values: (T, K, D).
        known: (T, K) bool; what is finite, if not given.

    Returns:
        (T, K, D) float64; keypoints that are never known stay as they are.
    """
    known = np.isfinite(values).all(-1) if known is None else known
    places = np.arange(len(times))[:, None]
    before = np.maximum.accumulate(np.where(known, places, -1), axis=0)
    after = np.minimum.accumulate(np.where(known, places, len(times))[::-1], axis=0)[::-1]
    first, last = np.where(before < 0, after, before), np.where(after == len(times), before, after)
    first, last = np.where(known.any(0), first, places), np.where(known.any(0), last, places)
    span = np.where(last > first, times[last] - times[first], 1)
    share = ((times[:, None] - times[first]) / span * (last > first))[..., None]
    start, end = (np.take_along_axis(np.asarray(values, np.float64), rows[..., None], axis=0) for rows in (first, last))
    between: np.ndarray = (1 - share) * start + share * end
    return between


def missing_run(known: np.ndarray) -> np.ndarray:
    """(T, K) int64: of how many missing frames between known ones each is; 0 if known, over ``NEVER`` at the ends."""
    places = np.arange(len(known))[:, None]
    before = np.maximum.accumulate(np.where(known, places, -NEVER), axis=0)
    after = np.minimum.accumulate(np.where(known, places, len(known) + NEVER)[::-1], axis=0)[::-1]
    return np.where(known, 0, after - before - 1)


def _filtered(times: np.ndarray, xy: np.ndarray, method: str, cutoff: float, size: float) -> np.ndarray:
    """(T, K, 2) positions after a filter, without gaps before; those of very few frames are as they were."""
    if len(times) < 4:
        return xy
    if method == "oneeuro":
        return one_euro(times, xy, np.full(len(times), size), cutoff)
    step = float(np.median(np.diff(times)))
    grid = np.linspace(times[0], times[-1], round((times[-1] - times[0]) / step) + 1)
    even = len(grid) == len(times) and np.abs(grid - times).max() < EVEN * step
    spline = require("scipy.interpolate", "video", "smoothing").make_interp_spline
    filtered = _on_grid(xy if even else spline(times, xy, k=3)(grid), method, cutoff * step)
    return filtered if even else np.asarray(spline(grid, filtered, k=3)(times))


def _on_grid(xy: np.ndarray, method: str, cutoff: float) -> np.ndarray:
    """(T, K, 2) equally spaced positions after a zero-phase filter; ``cutoff`` in cycles a frame."""
    signal = require("scipy.signal", "video", "smoothing")
    if cutoff >= 0.5:
        return xy
    reach = min(PADDED, len(xy) - 1)
    padded = np.pad(xy, ((reach, reach), (0, 0), (0, 0)), mode="reflect", reflect_type="odd")  # goes on as it moves
    if method == "butterworth":
        filtered = signal.sosfiltfilt(signal.butter(2, 2 * cutoff, output="sos"), padded, axis=0, padtype=None)
    elif method == "savgol":
        half = max(2, round((3 / (2 * cutoff) + 4.6) / 3.2))  # for a parabola: Schafer, IEEE Signal Proc. Mag. 2011
        filtered = signal.savgol_filter(padded, min(2 * half + 1, len(padded) - 1 + len(padded) % 2), 2, axis=0)
    elif method == "gaussian":
        sigma = np.sqrt(np.log(2)) / (2 * np.pi * cutoff)
        filtered = require("scipy.ndimage", "video", "smoothing").gaussian_filter1d(padded, sigma, axis=0)
    else:
        width = 2 * max(1, round(0.5 / cutoff / 2)) + 1
        filtered = require("scipy.ndimage", "video", "smoothing").median_filter(padded, (width, 1, 1))
    return np.asarray(filtered)[reach : reach + len(xy)]


def one_euro(times: np.ndarray, xy: np.ndarray, sizes: np.ndarray, cutoff: float = CUTOFF) -> np.ndarray:
    """(T, K, 2) positions after the One-Euro filter, each from those before it alone; ``sizes`` (T,) as its own."""
    live = OneEuro(cutoff)
    return np.stack([live(time, frame, size) for time, frame, size in zip(times, xy, sizes, strict=True)])


class OneEuro:
    """The One-Euro filter (Casiez et al., CHI 2012): causal, the cutoff rises with the speed.

    Its state is carried from call to call, for each keypoint of each person. ``cutoff`` is in Hz.
    """

    def __init__(self, cutoff: float = CUTOFF) -> None:
        self._cutoff = REST * cutoff
        self._time, self._last, self._speed = np.zeros(()), np.zeros(()), np.zeros(())

    def __call__(self, time: float, xy: np.ndarray, size: np.ndarray | float) -> np.ndarray:
        """Filter the next frame.

        Args:
            time: s, later than that of the frame before.
            xy: (..., K, 2) px; NaN where there is no estimate.
            size: (..., 1) or scalar, px, the square root of the person's area.

        Returns:
            (..., K, 2) float64; NaN where ``xy`` is.
        """
        if not self._last.shape:
            self._time, self._last = np.full(xy.shape, np.nan), np.full(xy.shape, np.nan)
            self._speed = np.zeros(xy.shape)
        new = np.isfinite(xy)
        first = new & np.isnan(self._last)
        elapsed = np.where(new & ~first, time - self._time, 1.0)
        speed = np.where(new & ~first, (xy - self._last) / elapsed, 0.0)
        share = _share(1.0, elapsed)
        self._speed = np.where(new, (1 - share) * self._speed + share * speed, self._speed)
        pace = np.linalg.norm(self._speed, axis=-1, keepdims=True) / np.asarray(size)[..., None]
        share = _share(self._cutoff + BETA * pace, elapsed)
        self._last = np.where(first, xy, np.where(new, (1 - share) * self._last + share * xy, self._last))
        self._time = np.where(new, time, self._time)
        return np.where(new, self._last, np.nan)


def _share(cutoff: np.ndarray | float, elapsed: np.ndarray) -> np.ndarray:
    """The weight of a new sample in exponential smoothing."""
    share: np.ndarray = 1 / (1 + 1 / (2 * np.pi * np.asarray(cutoff) * elapsed))
    return share

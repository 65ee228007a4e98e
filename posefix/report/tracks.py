"""Write a page about a video: keypoints over time before and after, and the frames that changed most."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from scipy.signal import find_peaks

from posefix.core.errors import InputError
from posefix.core.files import write_atomically
from posefix.core.people import People
from posefix.media.images import ImageFolder
from posefix.media.video import DEFAULT_FPS, VideoFrames
from posefix.motion.linking import link
from posefix.motion.tracks import Track, frame_step, tracks_of
from posefix.report.depth import SideViews
from posefix.report.drawing import POSE, keypoint_sides, people_view, side_by_side
from posefix.report.pictures import embedded, render_page

KEYPOINTS = ("left_wrist", "right_wrist", "left_ankle", "right_ankle")  # the fastest
MAX_TRACKS = 8  # the longest
MAX_POINTS = 900  # per line; longer tracks are reduced to the frames that changed most in their neighbourhood
MAX_PICTURES = 3  # per track
MIN_CHANGE = 1.0  # px, mean over the keypoints of a pose
PANEL_HEIGHT = 260  # px
WIDTH, HEIGHT = 900, 80  # of a plot, in units of its SVG element


@dataclass(frozen=True)
class Plot:
    """One coordinate of one keypoint over time, as SVG paths; ``side`` as in :func:`keypoint_sides`."""

    name: str
    side: int
    top: float  # px, values at the plot's edges
    bottom: float
    before: str
    after: str


@dataclass
class ShownTrack:
    """Content of the page for a track; ``gaps`` is an SVG path of bands where the input has no result."""

    track: Track
    after: Track
    plots: list[Plot]
    gaps: str
    missing: int
    filled: int
    changed: np.ndarray  # frames to show pictures of
    pictures: list[tuple[int, str]] = field(default_factory=list)  # frame and base64 of a JPEG


def write_tracks(
    path: str | Path, frames: VideoFrames | ImageFolder, fps: float | None, before: People, after: People
) -> int:
    """Write an HTML page with plots of wrists and ankles over time, and pictures of the frames that changed most.

    Args:
        path: of the page.
        frames: the video, or images whose ids are frame numbers.
        fps: frames per second, None for 25.
        before: N people in these frames; those whose ``extra`` is None were filled in.
        after: the same N people, refined.

    Returns:
        The number of tracks on the page.

    Raises:
        InputError: the page cannot be written.
    """
    fps = fps or DEFAULT_FPS
    try:
        tracks = tracks_of(link(before), fps)
    except InputError:  # inconsistent track ids
        tracks = tracks_of(link(replace(before, track_ids=np.full(len(before), -1))), fps)
    filled = np.array([record is None for record in before.extra], bool)
    lines = [track for track in tracks if len(track) > 1]  # a single frame has no course to plot
    longest = sorted(lines, key=len, reverse=True)[:MAX_TRACKS]
    shown = [_shown_track(track, after, filled, round(fps / 2)) for track in longest]
    jobs = sorted((int(frame), i) for i, entry in enumerate(shown) for frame in entry.changed)
    views = SideViews(before.skeleton)
    for frame, i in jobs:  # in order, so that the video is decoded once
        with suppress(InputError):  # the video is shorter than its results
            entry, image = shown[i], frames[frame]
            row = int(np.searchsorted(entry.track.frames, frame))
            people = before[[entry.track.rows[row]]], after[[entry.track.rows[row]]]
            picture = side_by_side(image, *people, box=people_view(image, *people), height=PANEL_HEIGHT)
            picture = views.beside(picture, (entry.track, entry.after), row, image, PANEL_HEIGHT)
            entry.pictures.append((frame, embedded(picture)))
    page = {
        "name": (frames.path if isinstance(frames, VideoFrames) else frames.folder.resolve()).name,
        "tracks": shown,
        "total": len(tracks),
        "colors": POSE[:3],
    }
    write_atomically(path, render_page("tracks.html.j2", **page, width=WIDTH, height=HEIGHT))
    return len(shown)


def _shown_track(track: Track, after: People, filled: np.ndarray, spacing: int) -> ShownTrack:
    """Plot a track, and choose the frames that changed most, at least ``spacing`` frames from each other."""
    skeleton, has_result = after.skeleton, track.rows >= 0
    valid = has_result[:, None] & after.labelled[track.rows]
    refined = replace(track, keypoints=np.where(valid[..., None], after.xyc[track.rows], (np.nan, np.nan, 0)))
    new = refined.keypoints[..., :2]
    missing = ~has_result | filled[track.rows]
    old = np.where(missing[:, None, None], np.nan, track.keypoints[..., :2])
    distances = np.nan_to_num(np.linalg.norm(new - old, axis=-1))
    changes = distances.sum(1) / np.maximum((distances > 0).sum(1), 1)
    plotted = [span[changes[span].argmax()] for span in np.array_split(np.arange(len(track)), MAX_POINTS) if len(span)]
    names = [name for name in KEYPOINTS if name in skeleton.keypoint_names] or skeleton.keypoint_names[:4]
    x, sides = _plot_x(track.frames), keypoint_sides(skeleton)
    plots = []
    for name in names:
        k = skeleton.index(name)
        for axis in (0, 1):
            top, bottom = _range(np.concatenate([old[:, k, axis], new[:, k, axis]]))[:: 1 if axis else -1]
            points = [np.stack([x, (xy[:, k, axis] - top) / (bottom - top) * HEIGHT], 1)[plotted] for xy in (old, new)]
            plots.append(Plot(f"{name.replace('_', ' ')}, {'xy'[axis]}", sides[k], top, bottom, *map(_path, points)))
    ends = _plot_x(track.frames, frame_step(track.frames))
    gaps = "".join(f"M{x[i]:.1f} 0H{ends[i]:.1f}V{HEIGHT}H{x[i]:.1f}" for i in np.flatnonzero(missing))
    peaks, properties = find_peaks(np.pad(changes, 1), height=MIN_CHANGE, distance=max(spacing, 1))
    changed = track.frames[peaks[np.argsort(properties["peak_heights"])[-MAX_PICTURES:]] - 1]
    return ShownTrack(track, refined, plots, gaps, int(missing.sum()), int((missing & has_result).sum()), changed)


def _range(values: np.ndarray) -> tuple[float, float]:
    """Return the least and the greatest value of a plot; outliers may exceed it."""
    if not np.isfinite(values).any():
        return 0.0, 1.0
    low, high = np.nanpercentile(values, [0.5, 99.5])
    margin = 0.15 * max(high - low, 10)
    return float(low - margin), float(high + margin)


def _path(points: np.ndarray) -> str:
    """Return an SVG path through points (T, 2), broken at NaN."""
    drawn = np.isfinite(points[:, 1])
    pens = np.where(np.append(False, drawn[:-1]), "L", "M")[drawn].tolist()
    return "".join(f"{pen}{x:.1f} {y:.1f}" for pen, (x, y) in zip(pens, points[drawn], strict=True))


def _plot_x(frames: np.ndarray, shift: int = 0) -> np.ndarray:
    """Return the x coordinates of frames (T,) in a plot that spans all of them."""
    x: np.ndarray = (frames + shift - frames[0]) / max(frames[-1] - frames[0], 1) * WIDTH
    return x

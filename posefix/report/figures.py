"""The figures of the HTML report, drawn with matplotlib, as SVG elements."""

from __future__ import annotations

import io
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from posefix.evaluation.comparison import OksChange
from posefix.evaluation.diagnosis import Diagnosis
from posefix.report.overlay import POSE, keypoint_sides
from synth import ErrorType

COLORS = {
    ErrorType.GOOD: "#3f9c7a",
    ErrorType.JITTER: "#e8c15a",
    ErrorType.INVERSION: "#8d6cc0",
    ErrorType.SWAP: "#4a86c7",
    ErrorType.MISS: "#d0505c",
}
SAME, INK, FAINT = "#9aa4b0", "#2b3138", "#d8dde3"
LABELLED = 30  # keypoints; a body of more has no numbers at its joints
DOTS = 4000  # at most so many people are drawn; of more, every second, every third, ...
CHANGED = 0.005  # OKS; a smaller change counts as about the same
_STYLE: dict[Any, Any] = {
    "font.size": 10,
    "font.family": "DejaVu Sans",
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "posefix",
}


def body(before: Diagnosis, after: Diagnosis) -> Markup | None:
    """Draw a body with the share of wrong keypoints at each joint, before and after; None without a template."""
    points = before.truth.skeleton.template
    if points is None:
        return None
    figure, axes = _figure(9.2, 4.6, 2)
    worst = max(np.nanmax(_wrong(seen.by_keypoint())) for seen in (before, after))
    for panel, seen, title in ((axes[0], before, "before"), (axes[1], after, "after")):
        _draw_body(panel, seen, points, max(worst, 1), title)
    return _svg(figure)


def oks_scatter(change: OksChange) -> Markup | None:
    """Draw OKS after against OKS before, a dot for each person; None when no result is an annotated person's."""
    known = np.flatnonzero(np.isfinite(change.before) & np.isfinite(change.after))
    if not len(known):
        return None
    shown = known[:: -(-len(known) // DOTS)]
    figure, axes = _figure(5.0, 5.0)
    moved = change.after[shown] - change.before[shown]
    better, worse = moved > CHANGED, moved < -CHANGED
    colors = np.select([better, worse], [COLORS[ErrorType.GOOD], COLORS[ErrorType.MISS]], SAME)
    axes.scatter(change.before[shown], change.after[shown], s=9, c=colors, linewidths=0, alpha=0.75, rasterized=True)
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", xlabel="OKS before", ylabel="OKS after")
    return _svg(figure)


def _figure(width: float, height: float, columns: int = 1) -> tuple[Figure, Any]:
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, figure.subplots(1, columns)


def _svg(figure: Figure) -> Markup:
    """Return the SVG element without an XML declaration, as a page needs it."""
    buffer = io.StringIO()
    with matplotlib.rc_context(_STYLE):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None}, dpi=160)
    text = buffer.getvalue()
    return Markup(text[text.index("<svg") :])


def _wrong(counts: np.ndarray) -> np.ndarray:
    """Percent of keypoints that are not Good, of counts (..., 5); NaN where there are none."""
    total = counts.sum(-1)
    return np.where(total > 0, 100 * counts[..., 1:].sum(-1) / np.maximum(total, 1), np.nan)


def _draw_body(axes: Axes, seen: Diagnosis, points: np.ndarray, worst: float, title: str) -> None:
    skeleton, wrong = seen.truth.skeleton, _wrong(seen.by_keypoint())
    colormap = matplotlib.colormaps["RdYlGn_r"]
    axes.plot(*np.moveaxis(points[skeleton.limbs.T], -1, 0), color=FAINT, linewidth=7, solid_capstyle="round", zorder=1)
    known = np.isfinite(wrong)
    share = np.where(known, wrong, 0) / worst
    colors = np.where(known[:, None], colormap(share), matplotlib.colors.to_rgba(FAINT))
    axes.scatter(points[:, 0], points[:, 1], s=60 + 520 * share, c=colors, edgecolors="white", zorder=2)
    face = skeleton.group("face")
    middle = points[:, 0].mean()
    for k in np.flatnonzero(~face & known & (len(skeleton) <= LABELLED)):
        offset, align = (16, "left") if points[k, 0] >= middle else (-16, "right")
        axes.annotate(f"{wrong[k]:.0f} %", points[k], (offset, 0), textcoords="offset points", ha=align, va="center")
    if (face & known).any():
        above = middle, points[face, 1].min()
        text = f"face {_wrong(seen.counts(face)):.0f} %"
        axes.annotate(text, above, (0, 16), textcoords="offset points", ha="center")
    sides = keypoint_sides(skeleton)
    for side, name, color in ((1, "left", POSE.left), (2, "right", POSE.right)):
        if (sides == side).any():
            place = points[sides == side, 0].mean(), points[:, 1].max()
            axes.annotate(name, place, (0, -26), textcoords="offset points", ha="center", color=np.array(color) / 255)
    axes.set_title(f"{title}: % of keypoints wrong", fontsize=10)
    axes.set_aspect("equal")
    axes.margins(0.22, 0.1)
    axes.invert_yaxis()
    axes.axis("off")

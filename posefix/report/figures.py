"""The figures of the HTML report, drawn with matplotlib, as SVG to stand in the page itself."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from posefix.core.people import People
from posefix.core.skeleton import GROUPS
from posefix.evaluation.coco import Evaluation
from posefix.evaluation.comparison import OksChange
from posefix.evaluation.diagnosis import KINDS, Diagnosis
from posefix.evaluation.impact import Metrics
from posefix.evaluation.oks import keypoint_similarity
from synth import ErrorType

COLORS = {
    ErrorType.GOOD: "#3f9c7a",
    ErrorType.JITTER: "#e8c15a",
    ErrorType.INVERSION: "#8d6cc0",
    ErrorType.SWAP: "#4a86c7",
    ErrorType.MISS: "#d0505c",
}
BEFORE, AFTER, INK, FAINT = "#9aa4b0", "#1f6feb", "#2b3138", "#d8dde3"
RESAMPLES = 1000
LABELLED = 30  # keypoints; a body of more has no numbers written beside them
DOTS = 4000  # people shown one by one; of more a share is drawn
_STYLE = {
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


def error_bars(before: Diagnosis, after: Diagnosis) -> str:
    """Shares of the error types before and after, of all keypoints and of each body group, as stacked bars."""
    skeleton = before.truth.skeleton
    rows = [("all keypoints", None)]
    rows += [(name, skeleton.group(name)) for name in GROUPS if before.counts(skeleton.group(name)).any()]
    figure, axes = _figure(9.2, 0.85 * len(rows) + 0.7)
    places, labels = [], []
    for i, (name, mask) in enumerate(rows):
        for j, (which, seen) in enumerate((("before", before), ("after", after))):
            counts = seen.counts(mask)
            place = 2.6 * i + j
            places.append(place)
            labels.append(f"{name}, {which}")
            _stacked(axes, place, counts)
    axes.set_yticks(places, labels)
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("% of the annotated keypoints of people who were found")
    axes.legend(*_legend(axes), ncols=5, loc="lower center", bbox_to_anchor=(0.45, 1.0), frameon=False)
    return _svg(figure)


def body(before: Diagnosis, after: Diagnosis) -> str | None:
    """A body with the share of wrong keypoints at each joint, before and after; None where no body can be drawn."""
    points = _template(before.truth)
    if points is None:
        return None
    figure, axes = _figure(9.2, 4.6, 2)
    worst = max(np.nanmax(_wrong(seen.by_keypoint())) for seen in (before, after))
    for panel, seen, title in ((axes[0], before, "before"), (axes[1], after, "after")):
        _draw_body(panel, seen, points, max(worst, 1), title)
    return _svg(figure)


def keypoint_gains(before: Diagnosis, after: Diagnosis) -> str:
    """What each keypoint won in similarity to the truth, with the 95 % interval by bootstrap over images."""
    change = np.where(before.types >= 0, _similarity(after) - _similarity(before), np.nan)
    known = np.isfinite(change).any(0)
    names = [n.replace("_", " ") for n, k in zip(before.truth.skeleton.keypoint_names, known, strict=True) if k]
    mean, low, high = _bootstrap_over_images(change[:, known], before.truth.image_ids)
    figure, axes = _figure(9.2, 0.27 * len(names) + 0.8)
    colors = [COLORS[ErrorType.GOOD] if value >= 0 else COLORS[ErrorType.MISS] for value in mean]
    axes.barh(range(len(names)), mean, color=colors, height=0.62)
    if len(np.unique(before.truth.image_ids[before.found])) > 1:
        axes.hlines(range(len(names)), low, high, color=INK, linewidth=1.2)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel("gain in keypoint similarity, points of 100; the line is the 95 % interval")
    return _svg(figure)


def oks_scatter(change: OksChange) -> str | None:
    """OKS after against OKS before, a dot for each person; None when no result is an annotated person's."""
    known = np.flatnonzero(np.isfinite(change.before) & np.isfinite(change.after))
    if not len(known):
        return None
    shown = known[:: -(-len(known) // DOTS)]
    figure, axes = _figure(5.0, 5.0)
    moved = change.after[shown] - change.before[shown]
    colors = np.where(moved > 0.005, COLORS[ErrorType.GOOD], np.where(moved < -0.005, COLORS[ErrorType.MISS], BEFORE))
    axes.scatter(change.before[shown], change.after[shown], s=9, c=colors, linewidths=0, alpha=0.75, rasterized=True)
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_aspect("equal")
    axes.set_xlabel("OKS before")
    axes.set_ylabel("OKS after")
    return _svg(figure)


def precision_recall(before: Evaluation, after: Evaluation) -> str:
    """Precision against recall at OKS 0.5 and 0.75, before and after."""
    figure, panels = _figure(9.2, 3.6, 2, sharey=True)
    for axes, threshold in zip(panels, (0.5, 0.75), strict=True):
        for name, evaluation, color in (("before", before, BEFORE), ("after", after, AFTER)):
            params = evaluation.coco_eval.params
            at = int(np.argmin(np.abs(np.asarray(params.iouThrs) - threshold)))
            precision = evaluation.coco_eval.eval["precision"][at, :, 0, 0, -1]
            axes.plot(params.recThrs, np.where(precision <= 0, np.nan, precision), color=color, label=name, linewidth=2)
        axes.set_title(f"OKS {threshold:g}", fontsize=10, loc="left")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("recall")
    panels[0].set_ylabel("precision")
    panels[1].legend(frameon=False, loc="upper right")
    return _svg(figure)


def impact_bars(impact: Mapping[str, Metrics]) -> str | None:
    """What AP would win if one kind of error were gone; None when there is no AP."""
    base = impact["as it is"]["AP"]
    names = [name for name in impact if name != "as it is" and impact[name]["AP"] is not None]
    if base is None or not names:
        return None
    colors = {kind.name.lower(): COLORS[kind] for kind in KINDS}
    figure, axes = _figure(9.2, 0.36 * len(names) + 0.8)
    worth = [impact[name]["AP"] - base for name in names]
    axes.barh(range(len(names)), worth, color=[colors.get(name, BEFORE) for name in names], height=0.62)
    for i, value in enumerate(worth):
        axes.annotate(f"{value:+.1f}", (max(value, 0), i), (5, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel("AP that would be won")
    return _svg(figure)


def _figure(width: float, height: float, columns: int = 1, **options: Any) -> tuple[Figure, Any]:
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, figure.subplots(1, columns, **options)


def _svg(figure: Figure) -> str:
    """The SVG element alone, without the XML declaration that a page has no place for."""
    buffer = io.StringIO()
    with matplotlib.rc_context(_STYLE):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None}, dpi=160)
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _stacked(axes: Axes, place: float, counts: np.ndarray, label: bool = True) -> None:
    left, total = 0.0, max(int(counts.sum()), 1)
    for kind, count in zip(KINDS, counts, strict=True):
        share = 100 * count / total
        axes.barh(place, share, left=left, color=COLORS[kind], height=0.86, label=kind.name.capitalize())
        if label and share >= 4:
            dark = kind in (ErrorType.JITTER,)
            axes.text(left + share / 2, place, f"{share:.0f}", ha="center", va="center", color=INK if dark else "white")
        left += share


def _legend(axes: Axes) -> tuple[list, list]:
    handles, labels = axes.get_legend_handles_labels()
    first = {label: handle for handle, label in reversed(list(zip(handles, labels, strict=True)))}
    names = [kind.name.capitalize() for kind in KINDS]
    return [first[name] for name in names], names


def _wrong(counts: np.ndarray) -> np.ndarray:
    """Percent of keypoints that are not Good, of counts (..., 5); NaN where there are none."""
    total = counts.sum(-1)
    return np.where(total > 0, 100 * counts[..., 1:].sum(-1) / np.maximum(total, 1), np.nan)


def _template(truth: People) -> np.ndarray | None:
    """(K, 2) where to draw each keypoint: the skeleton's template, or the mean of the poses; None where unknown."""
    if truth.skeleton.template is not None:
        return np.asarray(truth.skeleton.template)
    labelled = truth.labelled & (truth.areas > 0)[:, None]
    if not labelled.any(0).all():
        return None
    shown = labelled[..., None]
    centre = (truth.keypoints * shown).sum(1, keepdims=True) / np.maximum(shown.sum(1, keepdims=True), 1)
    upright = (truth.keypoints - centre) / np.sqrt(np.maximum(truth.areas, 1))[:, None, None]
    return (upright * shown).sum(0) / shown.sum(0)


def _draw_body(axes: Axes, seen: Diagnosis, points: np.ndarray, worst: float, title: str) -> None:
    skeleton, wrong = seen.truth.skeleton, _wrong(seen.by_keypoint())
    colormap = matplotlib.colormaps["RdYlGn_r"]
    for i, j in skeleton.limbs:
        axes.plot(*points[[i, j]].T, color=FAINT, linewidth=7, solid_capstyle="round", zorder=1)
    known = np.isfinite(wrong)
    axes.scatter(*points[~known].T, s=60, c=FAINT, edgecolors="white", zorder=2)
    axes.scatter(
        *points[known].T,
        s=60 + 520 * wrong[known] / worst,
        c=colormap(wrong[known] / worst),
        edgecolors="white",
        zorder=2,
    )
    outward = np.sign(points[:, 0] - points[:, 0].mean())
    face = skeleton.group("face")
    named = np.flatnonzero(~face & known) if len(skeleton) <= LABELLED else []
    for k in named:
        side = 1 if outward[k] >= 0 else -1
        axes.annotate(
            f"{wrong[k]:.0f} %", points[k], (16 * side, 0), textcoords="offset points",
            ha="left" if side > 0 else "right", va="center",
        )  # fmt: skip
    if (face & known).any():
        top = points[face].min(0)[1]
        share = _wrong(seen.counts(face))
        axes.annotate(f"face {share:.0f} %", (points[:, 0].mean(), top), (0, 16),
                      textcoords="offset points", ha="center")  # fmt: skip
    axes.set_title(f"{title}: % of keypoints wrong", fontsize=10)
    axes.set_aspect("equal")
    axes.margins(0.22, 0.1)
    axes.invert_yaxis()
    axes.axis("off")


def _similarity(seen: Diagnosis) -> np.ndarray:
    """(T, K) keypoint similarity, times 100, of each person's result to its own truth; 0 where nobody was found."""
    values = np.zeros(seen.types.shape)
    rows = np.flatnonzero(seen.found)
    truth = seen.truth[rows]
    found = seen.results.keypoints[seen.matched[rows]]
    values[rows] = 100 * keypoint_similarity(found, truth.keypoints, truth.areas, truth.skeleton.sigmas)
    return values


def _bootstrap_over_images(values: np.ndarray, images: np.ndarray) -> Sequence[np.ndarray]:
    """Mean of the known values (T, K) by column, and the ends of its 95 % interval, each (K,)."""
    _, image = np.unique(images, return_inverse=True)
    count = image.max(initial=-1) + 1
    sums, counts = np.zeros((count, values.shape[1])), np.zeros((count, values.shape[1]))
    np.add.at(sums, image, np.nan_to_num(values))
    np.add.at(counts, image, np.isfinite(values))
    rng = np.random.default_rng(0)
    weights = rng.multinomial(count, np.full(count, 1 / count), RESAMPLES) if count else np.zeros((1, 0))
    resampled = (weights @ sums) / np.maximum(weights @ counts, 1)
    mean = sums.sum(0) / np.maximum(counts.sum(0), 1)
    return mean, *np.quantile(resampled, [0.025, 0.975], axis=0)

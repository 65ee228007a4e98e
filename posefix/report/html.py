"""Write one self-contained page about what refinement did."""

from __future__ import annotations

import base64
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, select_autoescape

from posefix.core.errors import InputError
from posefix.core.files import write_atomically
from posefix.core.people import People
from posefix.core.skeleton import GROUPS
from posefix.evaluation.comparison import OksChange, oks_change
from posefix.evaluation.diagnosis import KINDS, Diagnosis, diagnose, transitions
from posefix.evaluation.ground_truth import GroundTruth
from posefix.evaluation.impact import ap_impact
from posefix.report import figures
from posefix.report.overlay import ANNOTATED, POSE
from posefix.report.panels import people_view, side_by_side
from posefix.report.pictures import ImagesById, encode_jpeg, name_of_id
from synth import ErrorType

MOST_RESULTS = 100_000  # for what is left to win to be measured
FEW_IMAGES = 20  # of fewer, chance is not told from gain
PEOPLE_SHOWN = 6  # of the best and the worst
PANEL_HEIGHT = 300  # px
CHANGED = 0.005  # OKS; less is no change to look at
LIBRARIES = ("torch", "timm", "numpy", "pycocotools")

_LEGEND = [
    (name, "#{:02x}{:02x}{:02x}".format(*color))
    for name, color in (
        ("the person's left", POSE.left),
        ("the person's right", POSE.right),
        ("annotated pose", ANNOTATED.left),
    )
]
MEANINGS = {
    ErrorType.GOOD: "Right, as far as people who annotate agree among themselves.",
    ErrorType.JITTER: "Near the right place, but not on it.",
    ErrorType.INVERSION: "On the other side of the same body: a left knee where the right one is.",
    ErrorType.SWAP: "On another person's body.",
    ErrorType.MISS: "On no such body part at all.",
}


@dataclass(frozen=True)
class Subject:
    """What a report is about.

    Attributes:
        title: names the results, such as the file's name.
        truth: ground truth.
        before: N results.
        after: the same N results, refined, in the same order.
        metrics: what :func:`posefix.run.local.measure` returned.
        images: to cut people out of; None where they cannot be had one by one.
        facts: how it was made, such as checkpoint and command, shown as they are.
        names: file name of an image by its id.
    """

    title: str
    truth: GroundTruth
    before: People
    after: People
    metrics: Mapping[str, Any]
    images: ImagesById | None
    facts: Mapping[str, str]
    names: Callable[[int], str] = name_of_id


def write_report(path: str | Path, subject: Subject) -> None:
    """Write the page; everything in it is in the one file, and nothing is fetched when it is opened.

    Raises:
        InputError: when it cannot be written.
    """
    write_atomically(path, render(subject))


def render(subject: Subject) -> str:
    """The page as HTML."""
    before = diagnose(subject.truth, subject.before)
    after = before.with_results(subject.after)
    known = before.types >= 0
    truth = subject.truth.people
    change = oks_change(truth, subject.before, subject.after)
    nothing = _nothing(before)
    versions = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    page: dict[str, Any] = {
        "title": subject.title,
        "metrics": subject.metrics,
        "headline": _headline(subject.metrics) if nothing is None else None,
        "counts": _counts(before, after),
        "nothing": nothing,
        "pictures": subject.images is not None,
        "kinds": [(kind.name.capitalize(), figures.COLORS[kind], MEANINGS[kind]) for kind in KINDS],
        "facts": {**subject.facts, "versions": f"Python {platform.python_version()}, {versions}"},
        "known": bool(known.any()),
    }
    if known.any():
        page |= {
            "errors": _error_bars(before, after),
            "body": figures.body(before, after),
            "scatter": figures.oks_scatter(change),
            "impact": _impact(subject),
            "moves": _moves(transitions(before, after)),
            "people": _people(subject, truth, change),
            "legend": _LEGEND,
            "change": _summary(change),
        }
    environment = Environment(loader=PackageLoader("posefix.report"), autoescape=select_autoescape(["html", "j2"]))
    return environment.get_template("report.html.j2").render(page)


def _impact(subject: Subject) -> list[tuple[str, float]]:
    """AP that would be won if one kind of error were gone, by its name; nothing of so many results that measuring it
    would keep the reader waiting."""
    if len(subject.after) > MOST_RESULTS:
        return []
    impact = ap_impact(subject.truth, subject.after)
    base = impact["as it is"]["AP"]
    others = [(name, metrics["AP"]) for name, metrics in impact.items() if name != "as it is"]
    return [(name, ap - base) for name, ap in others if ap is not None and base is not None]


def _error_bars(before: Diagnosis, after: Diagnosis) -> list[tuple[str, list[tuple[str, float]]]]:
    """For all keypoints and each body group, before and after: a label, and color and percent of each error type."""
    skeleton = before.truth.skeleton
    groups = [("all keypoints", None), *((name, skeleton.group(name)) for name in GROUPS)]
    bars = []
    for name, mask in groups:
        for which, seen in (("before", before), ("after", after)):
            counts = seen.counts(mask)
            if counts.any():
                shares = 100 * counts / counts.sum()
                bars.append((f"{name}, {which}", list(zip(figures.COLORS.values(), shares.tolist(), strict=True))))
    return bars


def _headline(metrics: Mapping[str, Any]) -> dict[str, Any] | None:
    gain = metrics["gain"]
    if any(value is None for value in (gain["AP"], gain["AP_low"], gain["AP_high"])):
        return None
    sure = "better" if gain["AP_low"] > 0 else "worse" if gain["AP_high"] < 0 else "unsure"
    alone = metrics.get("without_rescoring", {}).get("AP")
    few = metrics["images"] < FEW_IMAGES
    return {
        "before": metrics["before"]["AP"],
        "after": metrics["after"]["AP"],
        **{key: gain[f"AP{suffix}"] + 0.0 for key, suffix in (("gain", ""), ("low", "_low"), ("high", "_high"))},
        "keypoints": None if alone is None else alone - metrics["before"]["AP"] + 0.0,
        "verdict": "few" if few else sure,
        "images": metrics["images"],
    }


def _counts(before: Diagnosis, after: Diagnosis) -> dict[str, Any]:
    known = before.types >= 0
    was_wrong, is_wrong = (known & (seen.types > ErrorType.GOOD) for seen in (before, after))
    was_right = known & ~was_wrong

    def share(part: np.ndarray, whole: np.ndarray) -> float:
        return float(100 * part.sum() / max(whole.sum(), 1))

    return {
        "people": len(before.truth),
        "found": int(before.found.sum()),
        "background": int(before.background.sum()),
        "unknown_images": before.unknown_images,
        "keypoints": int(known.sum()),
        "right_before": share(was_right, known),
        "right_after": share(known & ~is_wrong, known),
        "fixed": share(was_wrong & ~is_wrong, was_wrong),
        "broken": share(was_right & is_wrong, was_right),
    }


def _nothing(before: Diagnosis) -> str | None:
    """Why there is nothing to say about keypoints, or None when there is."""
    if not len(before.truth):
        return (
            "The annotations hold nobody of at least 32 x 32 pixels with annotated keypoints: nothing can be compared."
        )
    if not len(before.results):
        return "The results are an empty list: there is nothing to compare."
    if not before.found.any():
        return (
            f"None of the {len(before.results):,} results lies near one of the {len(before.truth):,} annotated people "
            "(OKS 0.1 or more). Do the image ids of both files mean the same images?"
        )
    return None


def _moves(moves: np.ndarray) -> dict[str, Any]:
    """The transition table: for each type before the counts after, with the share of the row that colours the cell."""
    shares = moves / np.maximum(moves.sum(1, keepdims=True), 1)
    names = [kind.name.capitalize() for kind in KINDS]
    rows = [
        {
            "name": name,
            "total": int(counts.sum()),
            "cells": [
                {"count": int(count), "share": 100 * float(s), "color": figures.COLORS[kind], "same": name == other}
                for count, s, kind, other in zip(counts, row, KINDS, names, strict=True)
            ],
        }
        for name, counts, row in zip(names, moves, shares, strict=True)
    ]
    return {"names": names, "rows": rows, "totals": moves.sum(0).tolist(), "all": int(moves.sum())}


def _summary(change: OksChange) -> dict[str, Any]:
    gains = (change.after - change.before)[np.isfinite(change.before) & np.isfinite(change.after)]
    return {
        "better": int((gains > CHANGED).sum()),
        "worse": int((gains < -CHANGED).sum()),
        "same": int((np.abs(gains) <= CHANGED).sum()),
    }


def _people(subject: Subject, truth: People, change: OksChange) -> list[dict[str, Any]]:
    """Crops of the people who gained and who lost most, the same as :func:`posefix.report.pictures.write_pictures`."""
    shown = []
    for name, rows in (("Gained most", change.best(PEOPLE_SHOWN)), ("Lost most", change.worst(PEOPLE_SHOWN))):
        pictures = [_crop(subject, truth, change, row) for row in rows.tolist()]
        shown.append({"name": name, "pictures": [picture for picture in pictures if picture is not None]})
    return [group for group in shown if group["pictures"]]


def _crop(subject: Subject, truth: People, change: OksChange, row: int) -> dict[str, Any] | None:
    people = subject.before[[row]], subject.after[[row]], truth[change.truth_rows[[row]]]
    image_id = int(subject.before.image_ids[row])
    if subject.images is None:
        return None
    try:
        image, name = subject.images[image_id], subject.names(image_id)
    except InputError:
        return None
    drawn = side_by_side(image, *people, box=people_view(*people), height=PANEL_HEIGHT)
    return {
        "data": base64.b64encode(encode_jpeg(drawn)).decode(),
        "before": float(change.before[row]),
        "after": float(change.after[row]),
        "image": name,
    }

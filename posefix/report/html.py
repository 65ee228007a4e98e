"""Write one self-contained page about what refinement did."""

from __future__ import annotations

import base64
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, select_autoescape

from posefix.core.files import write_atomically
from posefix.core.people import People
from posefix.core.skeleton import GROUPS
from posefix.evaluation.diagnosis import KINDS, Diagnosis, diagnose, transitions
from posefix.evaluation.error_report import ap_impact
from posefix.evaluation.ground_truth import GroundTruth
from posefix.evaluation.matching import OksChange, oks_change
from posefix.report.overlay import ANNOTATED, POSE, keypoint_sides
from posefix.report.pictures import NamedImages, changed_people, encode_jpeg
from synth import ErrorType

MOST_RESULTS = 100_000  # of more, what is left to win is not measured: it would take too long
FEW_IMAGES = 20  # of fewer, chance is not told from gain
PEOPLE_SHOWN = 6  # of the best and the worst
PANEL_HEIGHT = 300  # px
FIGURE_SIZE = 300  # of the body's height and of the sides of the diagram, in units of its SVG element
LABELLED = 30  # keypoints; a body of more has no numbers at its joints
DOTS = 4000  # at most so many people are drawn; of more, every second, every third, ...
CHANGED = 0.005  # OKS; a smaller change counts as about the same
LIBRARIES = ("torch", "timm", "numpy", "pycocotools")
LEGEND = {"the person's left": POSE.left, "the person's right": POSE.right, "annotated pose": ANNOTATED.left}
MEANINGS = {
    ErrorType.GOOD: ("#3f9c7a", "Right, as far as people who annotate agree among themselves."),
    ErrorType.JITTER: ("#e8c15a", "Near the right place, but not on it."),
    ErrorType.INVERSION: ("#8d6cc0", "On the other side of the same body: a left knee where the right one is."),
    ErrorType.SWAP: ("#4a86c7", "On another person's body."),
    ErrorType.MISS: ("#d0505c", "On no such body part at all."),
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
        images: to cut people out of; None for a video, whose frames cannot be read one by one.
        facts: how it was made, such as checkpoint and command, shown as they are.
    """

    title: str
    truth: GroundTruth
    before: People
    after: People
    metrics: Mapping[str, Any]
    images: NamedImages | None
    facts: Mapping[str, str]


def write_report(path: str | Path, subject: Subject) -> None:
    """Write the page; everything in it is in the one file, and nothing is fetched when it is opened.

    Raises:
        InputError: when it cannot be written.
    """
    write_atomically(path, render(subject))


def render(subject: Subject) -> str:
    """Return the page as HTML."""
    before = diagnose(subject.truth, subject.before)
    after = before.with_results(subject.after)
    moves = transitions(before, after)
    versions = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    page: dict[str, Any] = {
        "subject": subject,
        "metrics": subject.metrics,
        "few_images": FEW_IMAGES,
        "before": before,
        "moves": moves,
        "kinds": [(kind.name.capitalize(), *MEANINGS[kind]) for kind in KINDS],
        "facts": {**subject.facts, "versions": f"Python {platform.python_version()}, {versions}"},
    }
    if moves.any():
        change = oks_change(subject.truth.people, subject.before, subject.after)
        page |= {
            "diagnoses": {"before": before, "after": after},
            "groups": {"all keypoints": True, **{name: before.truth.skeleton.group(name) for name in GROUPS}},
            "body": _body(before, after),
            "size": FIGURE_SIZE,
            "dots": _dots(change),
            "gains": change.after - change.before,
            "least": CHANGED,
            "people": _people(subject, change),
            "legend": LEGEND,
            "impact": ap_impact(subject.truth, subject.after) if len(subject.after) <= MOST_RESULTS else {},
        }
    environment = Environment(loader=PackageLoader("posefix.report"), autoescape=select_autoescape(["html", "j2"]))
    return environment.get_template("report.html.j2").render(page)


def _body(before: Diagnosis, after: Diagnosis) -> dict[str, Any] | None:
    """Return what the figure of a body shows at each keypoint; None for a skeleton without a template."""
    skeleton = before.truth.skeleton
    if skeleton.template is None:
        return None
    low, high = skeleton.template.min(0), skeleton.template.max(0)
    points = (skeleton.template - [(low[0] + high[0]) / 2, low[1]]) * FIGURE_SIZE / (high[1] - low[1])
    counts = {"before": before.by_keypoint(), "after": after.by_keypoint()}
    wrong = {when: 100 * found[:, 1:].sum(1) / np.maximum(found.sum(1), 1) for when, found in counts.items()}
    return {
        "points": points.tolist(),
        "limbs": skeleton.limbs.tolist(),
        "names": skeleton.keypoint_names,
        "known": (counts["before"].sum(1) > 0).tolist(),
        "labelled": (~skeleton.group("face") & (len(skeleton) <= LABELLED)).tolist(),
        "wrong": {when: shares.tolist() for when, shares in wrong.items()},
        "worst": max(1.0, *(shares.max() for shares in wrong.values())),
        "sides": keypoint_sides(skeleton).tolist(),
    }


def _dots(change: OksChange) -> dict[str, str]:
    """Return an SVG path of a dot for each person at OKS before (x) and after (y), by what became of the person."""
    known = np.flatnonzero(np.isfinite(change.before) & np.isfinite(change.after))
    shown = known[:: -(-len(known) // DOTS) or 1]
    places = np.rint(FIGURE_SIZE * np.stack([change.before, 1 - change.after], axis=-1)[shown]).astype(int)
    moved = (change.after - change.before)[shown]
    kinds = {"same": np.abs(moved) <= CHANGED, "good": moved > CHANGED, "bad": moved < -CHANGED}
    return {name: "".join(f"M{x} {y}h0" for x, y in places[rows].tolist()) for name, rows in kinds.items()}


def _people(subject: Subject, change: OksChange) -> dict[str, list[dict[str, Any]]]:
    """Pictures of the people who gained and who lost most, as :func:`posefix.report.pictures.write_pictures` has."""
    shown: dict[str, list[dict[str, Any]]] = {"best": [], "worst": []}
    if subject.images is None:
        return shown
    people = subject.before, subject.after, subject.truth.people
    for entry, picture in changed_people(subject.images, *people, change, PEOPLE_SHOWN, PANEL_HEIGHT):
        if picture is not None:
            shown[entry["kind"]].append({**entry, "data": base64.b64encode(encode_jpeg(picture)).decode()})
    return shown

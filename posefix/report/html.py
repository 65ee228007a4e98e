"""Write one self-contained page about what refinement did."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from posefix.core.people import People
from posefix.evaluation.diagnosis import diagnose, transitions
from posefix.evaluation.error_report import ap_impact
from posefix.evaluation.ground_truth import GroundTruth
from posefix.evaluation.matching import OksChange, oks_change
from posefix.media.images import ImageFolder
from posefix.report.drawing import ANNOTATED, POSE, keypoint_sides
from posefix.report.pictures import changed_people, embedded, render_page

MOST_RESULTS = 100_000  # of more, what is left to win is not measured: it would take too long
PEOPLE_SHOWN = 6  # of the best and the worst
PANEL_HEIGHT = 300  # px
LIBRARIES = ("torch", "numpy", "pycocotools")


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
    images: ImageFolder | None
    facts: Mapping[str, str]


def render(subject: Subject) -> str:
    """Return the page as HTML; everything in it is in the one text, and nothing is fetched when it is opened."""
    before = diagnose(subject.truth, subject.before)
    after = before.with_results(subject.after)
    moves = transitions(before, after)
    versions = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    page: dict[str, Any] = {
        "subject": subject,
        "metrics": subject.metrics,
        "diagnoses": {"before": before, "after": after},
        "moves": moves,
        "facts": {**subject.facts, "versions": f"Python {platform.python_version()}, {versions}"},
        "pose": POSE,
        "annotated": ANNOTATED,
    }
    if moves.any():
        change = oks_change(subject.truth.people, subject.before, subject.after)
        page |= {
            "change": change,
            "sides": keypoint_sides(before.truth.skeleton).tolist(),
            "people": list(_people(subject, change)),
            "impact": ap_impact(subject.truth, subject.after) if len(subject.after) <= MOST_RESULTS else {},
        }
    return render_page("report.html.j2", **page)


def _people(subject: Subject, change: OksChange) -> Iterator[dict[str, Any]]:
    """Pictures of the people who gained and who lost most, as :func:`posefix.report.pictures.write_pictures` has."""
    if subject.images is not None:
        people = subject.before, subject.after, subject.truth.people
        for entry, picture in changed_people(subject.images, *people, change, PEOPLE_SHOWN, PANEL_HEIGHT):
            if picture is not None:
                yield {**entry, "data": embedded(picture)}

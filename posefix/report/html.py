"""Write one self-contained page about what refinement did."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from posefix.core.people import People
from posefix.evaluation.diagnosis import diagnose, transitions
from posefix.evaluation.error_report import ap_impact
from posefix.evaluation.ground_truth import GroundTruth
from posefix.evaluation.matching import oks_change
from posefix.media.images import ImageFolder
from posefix.report.drawing import ANNOTATED, POSE, keypoint_sides
from posefix.report.pictures import changed_people, embedded, render_page

MOST_RESULTS = 100_000  # of more, what is left to win is not measured: it would take too long
PEOPLE_SHOWN = 6  # of the best and the worst
PANEL_HEIGHT = 300  # px
LIBRARIES = ("torch", "numpy", "pycocotools")


def render(
    title: str,
    truth: GroundTruth,
    before: People,
    after: People,
    metrics: Mapping[str, Any],
    images: ImageFolder | None,
    facts: Mapping[str, str],
) -> str:
    """Return the page as HTML; everything in it is in the one text, and nothing is fetched when it is opened.

    Args:
        title: names the results, such as the file's name.
        truth: ground truth.
        before: N results.
        after: the same N results, refined, in the same order.
        metrics: what :func:`posefix.run.outcome.measure` returned.
        images: to cut people out of; None for a video, whose frames cannot be read one by one.
        facts: how it was made, such as checkpoint and command, shown as they are.
    """
    errors = diagnose(truth, before)
    later = errors.with_results(after)
    moves = transitions(errors, later)
    versions = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    page: dict[str, Any] = {
        "title": title,
        "metrics": metrics,
        "has_images": images is not None,
        "diagnoses": {"before": errors, "after": later},
        "moves": moves,
        "facts": {**facts, "versions": f"Python {platform.python_version()}, {versions}"},
        "pose": POSE,
        "annotated": ANNOTATED,
    }
    if moves.any():
        change = oks_change(truth.people, before, after)
        groups = before, after, truth.people
        drawn = [] if images is None else changed_people(images, *groups, change, PEOPLE_SHOWN, PANEL_HEIGHT)
        page |= {
            "change": change,
            "sides": keypoint_sides(truth.skeleton).tolist(),
            "people": [{**entry, "data": embedded(picture)} for entry, picture in drawn if picture is not None],
            "impact": ap_impact(truth, after) if len(after) <= MOST_RESULTS else {},
        }
    return render_page("report.html.j2", **page)

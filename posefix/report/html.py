"""Write a self-contained HTML report of what refinement did."""

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

MAX_RESULTS = 100_000  # the impact of errors on AP is not measured for more, which would take too long
PEOPLE_SHOWN = 6  # best and worst each
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
    """Return the report as self-contained HTML.

    Args:
        title: names the results, such as the file's name.
        truth: ground truth.
        before: N results.
        after: the same N results, refined, in the same order.
        metrics: as returned by :func:`posefix.run.outcome.measure`.
        images: the images; None for a video, whose frames cannot be read one by one.
        facts: how the results were made, such as checkpoint and command.
    """
    errors_before = diagnose(truth, before)
    errors_after = errors_before.with_results(after)
    kind_transitions = transitions(errors_before, errors_after)
    versions = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    page: dict[str, Any] = {
        "title": title,
        "metrics": metrics,
        "has_images": images is not None,
        "diagnoses": {"before": errors_before, "after": errors_after},
        "moves": kind_transitions,
        "facts": {**facts, "versions": f"Python {platform.python_version()}, {versions}"},
        "pose": POSE,
        "annotated": ANNOTATED,
    }
    if kind_transitions.any():
        change = oks_change(truth.people, before, after)
        groups = before, after, truth.people
        pictures = [] if images is None else changed_people(images, *groups, change, PEOPLE_SHOWN, PANEL_HEIGHT)
        page |= {
            "change": change,
            "sides": keypoint_sides(truth.skeleton).tolist(),
            "people": [{**entry, "data": embedded(picture)} for entry, picture in pictures if picture is not None],
            "impact": ap_impact(truth, after) if len(after) <= MAX_RESULTS else {},
        }
    return render_page("report.html.j2", **page)

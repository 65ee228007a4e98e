"""What AP would be if one kind of error were gone (Ronchi and Perona, ICCV 2017)."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from pycocotools.coco import COCO

from posefix.core.people import People
from posefix.evaluation.coco import evaluate
from posefix.evaluation.diagnosis import KINDS, Diagnosis, diagnose
from posefix.evaluation.ground_truth import load_ground_truth, quietly
from posefix.evaluation.oks import oks
from posefix.formats.coco import people_records
from synth import ErrorType

Metrics = dict[str, float | None]


def ap_impact(
    ground_truth: str | Path | COCO, results: People, image_ids: Iterable[int] | None = None
) -> dict[str, Metrics]:
    """The metrics as they are, and with each kind of error alone corrected.

    All people and results are looked at, also those too small or too many for a diagnosis, since AP counts them.
    Keypoint errors are moved to the truth; "scores" ranks the results by how good they are (see
    :func:`optimal_scores`); "background" drops results that are nobody's; "missed people" takes people whom no result
    was matched to out of the annotations.

    Args:
        ground_truth: COCO keypoint annotations, as a file or a COCO object.
        results: in the skeleton of the annotations.
        image_ids: the images to look at; all of the annotations by default.

    Returns:
        For ``as it is``, ``jitter``, ``inversion``, ``swap``, ``miss``, ``scores``, ``background`` and
        ``missed people`` the metrics of :func:`posefix.evaluation.coco.evaluate`.
    """
    wanted = None if image_ids is None else list(image_ids)
    truth = load_ground_truth(ground_truth, len(results.skeleton))
    diagnosis = diagnose(truth, results, wanted, min_area=0.0, max_detections=max(len(results), 1))

    def measured(people: People, annotations: COCO = truth) -> Metrics:
        return evaluate(annotations, people_records(people), wanted, results.skeleton.sigmas).metrics()

    impact = {"as it is": measured(results)}
    impact |= {kind.name.lower(): measured(diagnosis.corrected(kind)) for kind in KINDS if kind != ErrorType.GOOD}
    impact["scores"] = measured(replace(results, person_scores=optimal_scores(diagnosis)))
    impact["background"] = measured(results[~diagnosis.background])
    impact["missed people"] = measured(results, _without_missed(truth, diagnosis))
    return impact


def optimal_scores(diagnosis: Diagnosis) -> np.ndarray:
    """(N,) the scores that rank results best: OKS with the person matched, and below 0 for all that are nobody's.

    A second result of the same person is a false positive at any score, so it goes to the end as well.
    """
    truth, results = diagnosis.truth, diagnosis.results
    scores = np.full(len(results), -1.0)
    found = np.flatnonzero(diagnosis.found)
    people = truth[found]
    matched = diagnosis.matched[found]
    scores[matched] = oks(
        results.keypoints[matched], people.keypoints, people.labelled, people.areas, truth.skeleton.sigmas
    )
    return scores


def _without_missed(truth: COCO, diagnosis: Diagnosis) -> COCO:
    """The annotations with the people whom nothing was matched to marked as ignored."""
    missed = {record["id"] for record, found in zip(diagnosis.truth.extra, diagnosis.found, strict=True) if not found}
    dataset = copy.copy(truth.dataset)
    dataset["annotations"] = [
        {**a, "num_keypoints": 0} if a["id"] in missed else a for a in truth.dataset["annotations"]
    ]
    changed = COCO()
    changed.dataset = dataset
    with quietly():
        changed.createIndex()
    return changed

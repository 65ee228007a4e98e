"""Outcome of refining a file: metrics, pictures and a report."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from posefix.core.errors import counted
from posefix.core.files import write_atomically
from posefix.core.people import People, count_outside
from posefix.evaluation.coco import count_other_categories, evaluate
from posefix.evaluation.comparison import compare
from posefix.evaluation.ground_truth import uncovered
from posefix.media.video import DEFAULT_FPS, VideoFrames
from posefix.models.description import CERTAIN
from posefix.motion.measures import Clip, measure_clips
from posefix.refine.rescoring import was_rescored
from posefix.refine.settings import RefineSettings
from posefix.report.pictures import write_comparison, write_pictures
from posefix.run.local import Refined
from posefix.run.plan import Plan

BOOTSTRAP_SEED = 0
MAX_CONFIDENCE = 1.5  # heatmap peaks can exceed 1 a little; larger scores are no probabilities


def measure(plan: Plan, settings: RefineSettings, refined: Refined) -> dict[str, Any]:
    """Compute the content of ``metrics.json``; metrics of accuracy only with annotations.

    ``without_rescoring`` are the metrics of the refined keypoints with their original scores; ``video``, for videos,
    measures of motion before and after (:mod:`posefix.motion.measures`).
    """
    metrics: dict[str, Any] = {}
    work, before, after = refined.work, refined.work.before, refined.people
    if work.truth is not None:
        metrics = dict(compare(work.truth, before, after, rng=np.random.default_rng(BOOTSTRAP_SEED)))
        metrics["other_categories"] = count_other_categories(before, work.truth)
        metrics["unlisted_annotations"] = work.truth.unlisted_annotations
        annotated = np.unique(work.truth.people.image_ids)
        metrics["annotated_images"] = len(annotated)
        metrics["lacking_keypoints"] = int((before.skeleton.indices_from(work.people.skeleton) < 0).sum())
        metrics["measured_images"] = int(np.isin(annotated, before.image_ids).sum())
        metrics["uncovered"] = uncovered(before, work.truth)
        if settings.rescore:
            unscored = replace(after, person_scores=before.person_scores)
            metrics["without_rescoring"] = evaluate(work.truth, unscored).metrics()
        if (plan.video or plan.fps) and len(work.truth.people):
            rate = plan.fps or work.images.fps or DEFAULT_FPS
            sides = {"before": before, "after": after}
            metrics["video"] = {side: measure_clips([Clip(work.truth, people, rate)]) for side, people in sides.items()}
    fusion = refined.estimator_ap is not None
    known = (settings.estimator_ap or work.people.source.format.estimator_ap) is not None
    refined_before = int(was_rescored(before).sum())
    distance = np.linalg.norm(after.keypoints - before.keypoints, axis=-1)[before.labelled]
    return {
        **metrics,
        "people": len(after),
        "images": len(np.unique(after.image_ids)),
        "skipped": len(refined.problems),
        "moved_keypoints": float((distance > 0.5).mean()) if distance.size else 0.0,
        "median_move": float(np.median(distance)) if distance.size else 0.0,
        "seconds": round(refined.seconds, 3),
        "engine": refined.engine,
        "people_per_second": round(refined.count / refined.seconds, 2),
        "checkpoint": str(plan.checkpoint),
        "flip_test": settings.flip_test,
        "passes": settings.passes,
        "estimator_ap": refined.estimator_ap,
        "unknown_estimator": int(fusion and not known and work.truth is None and work.batches.people > 0),
        "rotated_images": 0 if isinstance(work.images, VideoFrames) else len(work.images.rotated),
        "not_finite": work.people.source.parsed.not_finite,
        "scores_beyond_one": int((before.scores > MAX_CONFIDENCE).any(1).sum()),
        "certain": _certain(before) if fusion and "scores" in work.people.source.format.holds else 0,
        "outside": count_outside(before, work.images.sizes(before.image_ids)),
        "contradicted_boxes": work.batches.contradicted_boxes,
        "estimated": 0 if work.time else int((~before.labelled.any(1) & after.labelled.any(1)).sum()),
        "filled": work.filled[0],
        "unfilled": work.filled[1],
        "refined_before": refined_before,
        "without_extent": len(before) - refined_before - work.batches.people,
        "rescored": int((after.person_scores != before.person_scores).sum()),
    }


def _certain(people: People) -> int:
    """Count people whose keypoints all have confidence 1, which the fusion head takes for certain."""
    confident = (people.scores >= CERTAIN) & (people.scores <= MAX_CONFIDENCE)
    return int(((confident | ~people.labelled).all(1) & people.labelled.any(1)).sum())


def draw(plan: Plan, refined: Refined) -> str:
    """Write before/after pictures, or a video with both poses, and a page of tracks; returns what was written.

    With annotations the pictures show the people whose OKS changed most, for better and for worse. A video is decoded
    again, since a frame's refined poses are known only after its batch.
    """
    folder, before, after, images = plan.visualize, refined.work.before, refined.people, refined.work.images
    video = isinstance(images, VideoFrames)
    name, fps = (images.path.stem, images.fps) if video else (images.folder.resolve().name, None)
    if video:
        inside = (before.image_ids >= 0) & (before.image_ids < images.length)
        before, after = (before, after) if inside.all() else (before[inside], after[inside])
        path = folder / f"{name}_before_after.mp4"
        drawn = f"{path}: {counted(write_comparison(path, images, before, after, fps), 'frame')}"
    else:
        written = write_pictures(folder, images, before, after, refined.work.truth and refined.work.truth.people)
        drawn = f"{folder}: {counted(sum('file' in entry for entry in written), 'picture')}"
    if not video and plan.fps is None:
        return drawn
    from posefix.report.tracks import write_tracks

    page = folder / f"{name}_tracks.html"
    return f"{drawn}\n{page}: {counted(write_tracks(page, images, plan.fps or fps, before, after), 'track')}"


def report(plan: Plan, refined: Refined, measured: dict[str, Any], command: str) -> None:
    """Write the HTML report into ``plan.report``; InputError when it cannot be written."""
    from posefix.report.html import render

    work = refined.work
    images = None if isinstance(work.images, VideoFrames) else work.images
    facts = {
        "results": str(plan.results),
        "annotations": str(plan.annotations),
        "images": str(plan.images or plan.video),
        "people": f"{measured['people']:,} in {measured['images']:,} images, {measured['skipped']:,} passed through",
        "checkpoint": str(plan.checkpoint) + (", flip test" if measured["flip_test"] else ""),
        "command": command,
        "interval": "paired bootstrap over images, 1,000 resamples",
    }
    page = render(plan.results.name, work.truth, work.before, refined.people, measured, images, facts)
    write_atomically(plan.report, page)

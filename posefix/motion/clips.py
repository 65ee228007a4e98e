"""Read annotated videos and the results of them: one file, or a folder with one for each video."""

from __future__ import annotations

import os
from pathlib import Path

from posefix.core.errors import InputError
from posefix.core.files import files_in, without_gz
from posefix.core.skeleton import Skeleton
from posefix.evaluation.ground_truth import GroundTruth, read_results
from posefix.motion.measures import Clip


def read_clips(
    annotations: Path, results: Path, skeleton: Skeleton, fps: float = 30.0, format: str = "auto"
) -> list[Clip]:
    """The clips of annotations and of results, by the names of the files.

    Args:
        annotations: COCO ground truth of a video, with frame numbers as image ids; or a folder of such files.
        results: of that video, or a folder that has results of every video, a file or a folder of the same name.
        skeleton: of the annotations.
        fps: frames a second of all videos.
        format: of the results.

    Raises:
        InputError: something cannot be read, or there are no results of a video.
    """
    if not annotations.is_dir():
        try:
            return [_clip(annotations, results, skeleton, fps, format)]
        except InputError as error:
            hint = " [give folders in both places, or files in both]" if results.is_dir() else ""
            raise InputError(f"{error}{hint}") from None
    names = {os.path.splitext(without_gz(name))[0]: name for name in files_in(annotations, ".json")}
    if not results.is_dir():
        raise InputError(f"{results}: is no folder, expected one with results of each video in {annotations}")
    found = {os.path.splitext(without_gz(name))[0]: name for name in sorted(os.listdir(results))}
    if missing := [name for name in names if name not in found]:
        raise InputError(
            f"{results}: has no results of {len(missing)} of the {len(names)} videos in {annotations}, the first: "
            f"{missing[0]}"
        )
    return [_clip(annotations / names[name], results / found[name], skeleton, fps, format) for name in names]


def _clip(annotations: Path, results: Path, skeleton: Skeleton, fps: float, format: str) -> Clip:
    truth = GroundTruth.read(annotations, skeleton)
    if not len(truth.people):
        raise InputError(f"{annotations}: has no person with keypoints")
    return Clip(truth, read_results(results, truth, format), fps)

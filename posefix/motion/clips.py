"""Read annotated videos and their results: one file each, or folders with one per video."""

from __future__ import annotations

import os
from pathlib import Path

from posefix.core.errors import InputError
from posefix.core.files import files_in, without_gz
from posefix.core.skeleton import Skeleton
from posefix.evaluation.ground_truth import GroundTruth, read_results
from posefix.formats import sniff
from posefix.motion.measures import Clip


def read_clips(
    annotations: Path, results: Path, skeleton: Skeleton, fps: float = 30.0, format: str = "auto"
) -> list[Clip]:
    """Read annotations and results, matched by file name.

    Args:
        annotations: COCO ground truth of a video, with frame numbers as image ids, or a folder of such files.
        results: results of that video, or a folder with a file or folder of the same name per video.
        skeleton: of the annotations.
        fps: frames per second of all videos.
        format: of the results.

    Raises:
        InputError: a file cannot be read, or a video has no results.
    """
    if not annotations.is_dir():
        try:
            return [_clip(annotations, results, skeleton, fps, format)]
        except InputError as error:
            of_many = results.is_dir() and sniff(results) is None
            hint = " [give folders in both places, or files in both]" if of_many else ""
            raise InputError(f"{error}{hint}") from None
    names = {os.path.splitext(without_gz(name))[0]: name for name in files_in(annotations, ".json")}
    if not results.is_dir():
        raise InputError(f"{results}: is not a folder, expected one with results of each video in {annotations}")
    result_names = {os.path.splitext(without_gz(name))[0]: name for name in sorted(os.listdir(results))}
    if missing := [name for name in names if name not in result_names]:
        raise InputError(
            f"{results}: has no results of {len(missing)} of the {len(names)} videos in {annotations}, the first: "
            f"{missing[0]}"
        )
    return [_clip(annotations / names[name], results / result_names[name], skeleton, fps, format) for name in names]


def _clip(annotations: Path, results: Path, skeleton: Skeleton, fps: float, format: str) -> Clip:
    truth = GroundTruth.read(annotations, skeleton)
    if not len(truth.people):
        raise InputError(f"{annotations}: has no person with keypoints")
    return Clip(truth, read_results(results, truth, format, frames=True), fps)

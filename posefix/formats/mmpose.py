"""MMPose's predictions: JSON with the instances of an image, or of each frame of a video.

``MMPoseInferencer`` writes ``NAME.json`` into its ``pred_out_dir`` for an image ``NAME.jpg``: a list of instances ::

    [{"keypoints": [[x, y], ...], "keypoint_scores": [0.9, ...], "bbox": [[x1, y1, x2, y2]], "bbox_score": 0.9}]

and for a video one file, a list of ``{"frame_id": 0, "instances": [...]}`` that counts the frames from 0. The demo
scripts write ``results_NAME.json`` with ``--save-predictions``: ``{"meta_info": {...}, "instance_info": [...]}``, with
the instances of an image or the frames of a video, which they count from 1. ``meta_info`` names the keypoints. A list
of lists of instances, as ``result["predictions"]`` is in Python, is of images in order.

Source: MMPose 1.3.2, mmpose/structures/utils.py (split_instances: the box is a list in a list),
mmpose/apis/inferencers/base_mmpose_inferencer.py (postprocess, _finalize_video_processing),
demo/topdown_demo_with_mmdet.py and demo/bottomup_demo.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from posefix.core.errors import InputError
from posefix.core.files import files_in, read_json, without_gz, write_atomically, write_folder
from posefix.core.skeleton import Skeleton, load, with_keypoint_count
from posefix.formats import coco
from posefix.formats import records as checks
from posefix.formats.parsed_file import Format, OnError, ParsedFile, PeopleBuilder, keep_equal, numbers
from posefix.formats.per_image import file_names, from_corners, is_image, looks_inside, to_corners
from posefix.formats.probe import FileProbe

SKELETONS = ("coco17", "halpe26", "coco_wholebody133", "mpii16", "crowdpose14", "halpe136")
DEMO_PREFIX = "results_"  # of the files that the demo scripts write
FIRST_FRAME, FIRST_FRAME_OF_DEMO = 0, 1


@dataclass(frozen=True)
class File:
    """A JSON file: its name in the folder (empty if it is no folder), the value in it, and what images that is of."""

    name: str
    value: Any
    keys: tuple[int | str, ...]


def read(path: Path, skeleton: Skeleton | None, on_error: OnError) -> ParsedFile:
    """Read a file, or a folder of files for one image each."""
    files, instances = [], []
    for name in files_in(path, ".json") if path.is_dir() else [""]:
        value = read_json(path / name if name else path)
        images = _images(path / name if name else path, value)
        files.append(File(name, value, tuple(key for key, _ in images)))
        instances += [listed for _, listed in images]
    _require_different_images(path, files)
    people = PeopleBuilder(path, skeleton or _named_skeleton(path, files), on_error, SKELETONS)
    keys = [key for file in files for key in file.keys]
    wheres = [_where(file, key) for file in files for key in file.keys]
    for place, (where, listed) in enumerate(zip(wheres, instances, strict=True)):
        for i, instance in enumerate(listed):
            _add(people, f"{where}instance {i}", place, instance)
    return people.parsed(keys, "index" if isinstance(keys[0], int) else "name", document=tuple(files))


def write(path: Path, content: ParsedFile) -> None:
    """Write the files that were read again, or a folder with a new file for each image."""
    lists = [[_written(content, person) for person in people] for people in content.people_of()]
    files = content.document
    if files is None or [key for file in files for key in file.keys] != list(content.images):
        names = file_names(path, content.images, ".json")
        files = tuple(File(name, [], (key,)) for name, key in zip(names, content.images, strict=True))
    new = iter(lists)
    texts = [json.dumps(_with_instances(file.value, new)) + "\n" for file in files]
    if len(files) == 1 and not files[0].name:
        write_atomically(path, texts[0])
    else:
        write_folder(path, zip((file.name for file in files), texts, strict=True))


def _images(path: Path, value: Any) -> list[tuple[int | str, list]]:
    """Name, or place in the video, of every image in the value of a file, and its instances."""
    name, listed, first = without_gz(path.name).removesuffix(".json"), value, FIRST_FRAME
    if isinstance(value, Mapping):
        name, listed, first = name.removeprefix(DEMO_PREFIX), value.get("instance_info"), FIRST_FRAME_OF_DEMO
    if not isinstance(listed, list):
        found = "has no list instance_info" if isinstance(value, Mapping) else f"holds {checks.describe(value)}"
        raise InputError(f"{path}: {found}, expected MMPose's predictions: a list of instances or of frames")
    if not is_image(listed):
        return list(enumerate(listed))
    if not _are_frames(listed):
        return [(name, listed)]
    for i, frame in enumerate(listed):
        if not isinstance(frame, Mapping) or not isinstance(frame.get("instances"), list):
            raise InputError(f"{path}: frame {i} of the list has no list of instances")
        if not checks.is_image_id(frame.get("frame_id")) or frame["frame_id"] < 0:
            raise InputError(f"{path}: frame {i} of the list has no frame_id of {first} or more")
    numbered = [int(frame["frame_id"]) for frame in listed]
    first = min(first, *numbered)
    return [(number - first, frame["instances"]) for number, frame in zip(numbered, listed, strict=True)]


def _with_instances(value: Any, new: Iterator[list]) -> Any:
    """The value of a file with the next lists of instances in the places of its own."""
    if isinstance(value, Mapping):
        return {**value, "instance_info": _with_instances(value["instance_info"], new)}
    if not is_image(value):
        return [next(new) for _ in value]
    if _are_frames(value):
        return [{**frame, "instances": next(new)} for frame in value]
    return next(new)


def _are_frames(listed: list) -> bool:
    return any(isinstance(value, Mapping) and "instances" in value for value in listed)


def _require_different_images(path: Path, files: list[File]) -> None:
    file_of: dict[int | str, str] = {}
    for file in files:
        if len(files) > 1 and isinstance(file.keys[0], int):
            raise InputError(f"{path}: {file.name} holds several images; give that file, not the folder with others")
        for key in file.keys:
            if key in file_of:
                what = f"frame {key} (from 0)" if isinstance(key, int) else f"image {key!r}, as {file_of[key]} is"
                raise InputError(f"{path}: {file.name or 'the file'} has a second list of instances for {what}")
            file_of[key] = file.name


def _named_skeleton(path: Path, files: list[File]) -> Skeleton | None:
    """The skeleton whose keypoints' names the first file with ``meta_info`` lists; None if none does."""
    for file in files:
        meta = file.value.get("meta_info") if isinstance(file.value, Mapping) else None
        by_id = meta.get("keypoint_id2name") if isinstance(meta, Mapping) else None
        if isinstance(by_id, Mapping) and by_id:
            names = tuple(by_id.values())
            for known in with_keypoint_count(len(names)):
                if load(known).keypoint_names == names:
                    return load(known)
            dataset = str(meta.get("dataset_name"))[:40]
            raise InputError(
                f"{path}: the {len(names)} keypoints that meta_info names, of the dataset {dataset!r}, are of no known "
                "skeleton; give one with --skeleton"
            )
    return None


def _where(file: File, key: int | str) -> str:
    name = f"{file.name}, " if file.name else ""
    return f"{name}frame {key} (from 0), " if isinstance(key, int) else name


def _add(people: PeopleBuilder, where: str, place: int, instance: Any) -> None:
    if not isinstance(instance, Mapping):
        what = f"is {checks.describe(instance)}, expected an object with keypoints and keypoint_scores"
        people.refuse(where, place, instance, what)
        return
    for key in ("keypoints", "keypoint_scores"):
        if key not in instance:
            people.refuse(where, place, instance, f"has no {key}")
            return
    try:
        points, scores = _arrays(instance)
    except ValueError as error:
        people.refuse(where, place, instance, str(error))
        return
    score = instance.get("bbox_score")
    score = score[0] if isinstance(score, list) and len(score) == 1 else score
    people.add(where, place, instance, points, scores, from_corners(instance.get("bbox")), score)


def _arrays(instance: Mapping) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates (K, 2), NaN where the score is 0 or there are none, and scores (K,); other shapes as they are."""
    points = numbers(instance["keypoints"], "keypoints")
    scores = numbers(instance["keypoint_scores"], "keypoint_scores")
    if points.shape == (*scores.shape, 2):
        points = np.where((np.isfinite(scores) & (scores != 0))[..., None], points, np.nan)
    return points, scores


def _written(content: ParsedFile, person: int) -> Any:
    instance, points, scores = content.records[person], content.keypoints[person], content.scores[person]
    person_score = content.person_scores[person]
    if content.has_no_estimate(person):
        return instance
    if instance is None:
        return {
            "keypoints": keep_equal(None, points, 3),
            "keypoint_scores": keep_equal(None, scores, 4),
            "bbox": [np.round(to_corners(content, person), 3).tolist()],
            "bbox_score": round(float(person_score), 6),
        }
    old, _ = _arrays(instance)
    keep = (scores == 0) & ~np.isfinite(old).all(1) if old.shape == points.shape else np.zeros(len(points), bool)
    written = {
        **instance,
        "keypoints": keep_equal(instance["keypoints"], points, 3, keep[:, None]),
        "keypoint_scores": keep_equal(instance["keypoint_scores"], scores, 4, keep),
    }
    own = instance.get("bbox_score")
    if own is not None or coco.ORIGINAL_SCORE in instance:
        written["bbox_score"] = keep_equal(own, np.full(np.shape(own), person_score), 6)
    return written


def _looks(probe: FileProbe) -> bool:
    if probe.is_folder:
        return looks_inside(probe, [name for name in probe.names if name.endswith(".json")], _looks)
    value = probe.json
    if isinstance(value, Mapping):
        return isinstance(value.get("instance_info"), list)
    if isinstance(value, list) and value:
        return _is_instance(value[0]) or _is_frame(value[0]) or _is_list_of_instances(value)
    start = probe.text.lstrip()[:1]  # of a long file there may be no whole element
    holder = {"[": '"instances"', "{": '"instance_info"'}.get(start)
    return holder is not None and holder in probe.text and '"keypoint_scores"' in probe.text


def _is_instance(value: Any) -> bool:
    return isinstance(value, Mapping) and {"keypoints", "keypoint_scores"} <= value.keys() and "image_id" not in value


def _is_frame(value: Any) -> bool:
    return isinstance(value, Mapping) and {"frame_id", "instances"} <= value.keys()


def _is_list_of_instances(value: list) -> bool:
    first = next((one for one in value if one != []), None)
    return isinstance(first, list) and _is_instance(first[0])


FORMAT = Format(
    name="mmpose",
    title="MMPose's predictions",
    skeletons=SKELETONS,
    kind="name",
    sniff=_looks,
    read=read,
    write=write,
    folder=True,
)

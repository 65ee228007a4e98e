"""Write a folder of before/after pictures: every image, or the people whom refinement helped and harmed most."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np

from posefix.core.errors import InputError
from posefix.core.files import make_folder, write_atomically
from posefix.core.people import People
from posefix.evaluation.comparison import oks_change
from posefix.media.opencv import cv2
from posefix.report.panels import people_view, scene_view, side_by_side

INDEX = "index.json"
_QUALITY = 92  # of the JPEGs


class ImagesById(Protocol):
    """Images that can be had by their ids, such as :class:`posefix.media.images.ImageFolder`."""

    def __getitem__(self, image_id: int, /) -> np.ndarray: ...


def name_of_id(image_id: int) -> str:
    """What COCO calls an image: ``000000000139.jpg``."""
    return f"{image_id:012d}.jpg"


def write_pictures(
    folder: str | Path,
    images: ImagesById,
    before: People,
    after: People,
    truth: People | None = None,
    count: int = 12,
    threshold: float = 0.0,
    names: Callable[[int], str] = name_of_id,
) -> list[dict[str, Any]]:
    """Write side-by-side pictures before and after refinement, and ``index.json`` saying what each shows.

    Without ground truth there is one picture for each image, named as the image: ``alice.jpg``. With it there is one
    for each of the people who lost most and who won most by OKS, the annotated pose drawn over both in green:
    ``worst_01_alice.jpg``.

    Args:
        folder: made if it is not there.
        images: (H, W, 3) uint8 RGB images by their ids; where one raises InputError the picture is left out and the
            index says so.
        before: N results.
        after: the same N results, refined, in the same order.
        truth: annotated people, those who count (:attr:`posefix.evaluation.diagnosis.Diagnosis.truth`).
        count: at most so many worst and so many best people.
        threshold: keypoints whose score is not above it are not drawn.
        names: file name of an image by its id; of images of one name, all but the first get their id added.

    Returns:
        The index: for each picture ``image_id``, ``image`` (its name), ``file`` or ``skipped`` (why), and for people
        also ``person`` (row in ``before``), ``kind``, ``oks_before`` and ``oks_after``.

    Raises:
        InputError: the folder or a file in it cannot be written.
    """
    folder = Path(folder)
    make_folder(folder)
    jobs = _image_jobs(before) if truth is None else _person_jobs(before, after, truth, count)
    index, taken = [], {INDEX}
    for entry, prefix, rows, truth_rows in jobs:
        try:
            image = images[entry["image_id"]]
            entry["image"] = names(entry["image_id"])
        except InputError as error:
            index.append(entry | {"skipped": str(error)})
            continue
        entry["file"] = _free_name(prefix, entry["image"], entry["image_id"], taken)
        left, right = before[rows], after[rows]
        if truth is None:
            title = f"{entry['image']}, {len(rows)} {'person' if len(rows) == 1 else 'people'}"
            box = scene_view(image, left, right)
            picture = side_by_side(image, left, right, title=title, box=box, threshold=threshold)
        else:
            person = truth[truth_rows]
            labels = f"before, OKS {entry['oks_before']:.2f}", f"after, OKS {entry['oks_after']:.2f}"
            box = people_view(left, right, person)
            picture = side_by_side(image, left, right, person, entry["image"], labels, box, threshold)
        write_atomically(folder / entry["file"], encode_jpeg(picture))
        index.append(entry)
    write_atomically(folder / INDEX, json.dumps(index, indent=1) + "\n")
    return index


def encode_jpeg(image: np.ndarray) -> bytes:
    """The bytes of a JPEG of an image (H, W, 3) uint8 RGB."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()


# What the index says, how the file's name begins, rows of the people and of the annotated people.
_Job = tuple[dict[str, Any], str, np.ndarray, np.ndarray]


def _image_jobs(before: People) -> Iterator[_Job]:
    order = np.argsort(before.image_ids, kind="stable")
    ids, starts = np.unique(before.image_ids[order], return_index=True)
    for image_id, rows in zip(ids.tolist(), np.split(order, starts[1:]), strict=True):
        yield {"image_id": image_id}, "", rows, rows[:0]


def _person_jobs(before: People, after: People, truth: People, count: int) -> Iterator[_Job]:
    change = oks_change(truth, before, after)
    for kind, rows in (("worst", change.worst(count)), ("best", change.best(count))):
        for rank, row in enumerate(rows.tolist(), start=1):
            entry = {
                "image_id": int(before.image_ids[row]),
                "kind": kind,
                "person": row,
                "oks_before": float(change.before[row]),
                "oks_after": float(change.after[row]),
            }
            yield entry, f"{kind}_{rank:02d}_", np.array([row]), change.truth_rows[[row]]


def _free_name(prefix: str, image: str, image_id: int, taken: set[str]) -> str:
    """A name for a picture of an image that no other picture has, whatever letters the file system tells apart."""
    stem = prefix + "_".join(PurePosixPath(image.replace("\\", "/")).with_suffix("").parts).strip("/")
    name = next(n for n in (f"{stem}.jpg", f"{stem}_{image_id}.jpg") if n.lower() not in taken)
    taken.add(name.lower())
    return name

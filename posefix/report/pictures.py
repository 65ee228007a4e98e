"""A folder of before/after pictures: every image, or the people whom refinement helped and harmed most."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from posefix.core.errors import InputError
from posefix.core.files import make_folder, write_atomically
from posefix.core.people import People
from posefix.evaluation.comparison import OksChange, oks_change
from posefix.media.opencv import cv2
from posefix.report.panels import person_view, side_by_side

INDEX = "index.json"
_QUALITY = 92  # of the JPEGs


class ImagesById(Protocol):
    """Images that can be had by their ids, such as :class:`posefix.media.images.ImageFolder`."""

    def __getitem__(self, image_id: int, /) -> np.ndarray: ...


def write_pictures(
    folder: str | Path,
    images: ImagesById,
    before: People,
    after: People,
    truth: People | None = None,
    count: int = 12,
    threshold: float = 0.0,
) -> list[dict[str, Any]]:
    """Write side-by-side pictures before and after refinement, and ``index.json`` saying what each shows.

    Without ground truth there is one picture for each image: ``000000000139.jpg``. With it there is one for each of
    the people who lost most and who won most by OKS, the annotated pose drawn over both in green:
    ``worst_01_000000000139.jpg``.

    Args:
        folder: made if it is not there.
        images: (H, W, 3) uint8 RGB images by their ids; where one raises InputError the picture is left out and the
            index says so.
        before: N results.
        after: the same N results, refined, in the same order.
        truth: annotated people.
        count: at most so many worst and so many best people.
        threshold: keypoints whose score is not above it are not drawn.

    Returns:
        The index: for each picture ``image_id``, ``file`` or ``skipped`` (why), and for people also ``person`` (row in
        ``before``), ``kind``, ``oks_before`` and ``oks_after``.

    Raises:
        InputError: the folder or a file in it cannot be written.
    """
    folder = Path(folder)
    make_folder(folder)
    if truth is None:
        jobs = _image_pictures(before, after, threshold)
    else:
        jobs = _person_pictures(before, after, truth, oks_change(truth, before, after), count, threshold)
    index = []
    for entry, draw in jobs:
        try:
            image = images[entry["image_id"]]
        except InputError as error:
            entry["skipped"] = str(error)
            del entry["file"]
        else:
            write_atomically(folder / entry["file"], encode_jpeg(draw(image)))
        index.append(entry)
    write_atomically(folder / INDEX, json.dumps(index, indent=1) + "\n")
    return index


def encode_jpeg(image: np.ndarray) -> bytes:
    """The bytes of a JPEG of an image (H, W, 3) uint8 RGB."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()


_Job = tuple[dict[str, Any], Callable[[np.ndarray], np.ndarray]]


def _image_pictures(before: People, after: People, threshold: float) -> Iterator[_Job]:
    order = np.argsort(before.image_ids, kind="stable")
    ids, starts = np.unique(before.image_ids[order], return_index=True)
    for image_id, rows in zip(ids.tolist(), np.split(order, starts[1:]), strict=True):
        pair = before[rows], after[rows]
        title = f"image {image_id}, {len(rows)} {'person' if len(rows) == 1 else 'people'}"
        yield (
            {"image_id": image_id, "file": f"{image_id:012d}.jpg"},
            lambda image, pair=pair, title=title: side_by_side(image, *pair, title=title, threshold=threshold),
        )


def _person_pictures(
    before: People, after: People, truth: People, change: OksChange, count: int, threshold: float
) -> Iterator[_Job]:
    for kind, rows in (("worst", change.worst(count)), ("best", change.best(count))):
        for rank, row in enumerate(rows.tolist(), start=1):
            shown = before[[row]], after[[row]], truth[change.truth_rows[[row]]]
            image_id = int(before.image_ids[row])
            values = float(change.before[row]), float(change.after[row])
            entry = {
                "image_id": image_id,
                "file": f"{kind}_{rank:02d}_{image_id:012d}.jpg",
                "kind": kind,
                "person": row,
                "oks_before": values[0],
                "oks_after": values[1],
            }
            title = f"image {image_id}, OKS {values[0]:.2f} -> {values[1]:.2f} (annotated: green)"
            box = person_view(*shown)
            yield (
                entry,
                lambda image, shown=shown, title=title, box=box: side_by_side(
                    image, *shown, title=title, box=box, threshold=threshold
                ),
            )

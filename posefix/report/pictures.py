"""Write before and after side by side: a picture of every image, or of those who changed most, or a video."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from posefix.core.errors import InputError, require
from posefix.core.files import make_folder, write_atomically
from posefix.core.people import People
from posefix.evaluation.matching import OksChange, oks_change
from posefix.media.images import ImageFolder
from posefix.media.opencv import cv2
from posefix.media.video import DEFAULT_FPS, write_video
from posefix.report.drawing import PANEL_HEIGHT, following_views, people_view, side_by_side

INDEX = "index.json"
TALLEST = 1.5  # times as high as others are the panels of upright videos, which are as wide then
REACH = 0.5  # s: the part of a video that is shown has room for where people are within so long before and after
_QUALITY = 92  # of the JPEGs

# What the index says of a picture, and the picture (H, W, 3) uint8 RGB, or None where the image cannot be read.
Drawn = tuple[dict[str, Any], np.ndarray | None]


def write_pictures(
    folder: str | Path, images: ImageFolder, before: People, after: People, truth: People | None = None, count: int = 12
) -> list[dict[str, Any]]:
    """Write side-by-side pictures before and after refinement, and ``index.json`` saying what each shows.

    Without ground truth there is one picture for each image, named as the image: ``alice.jpg``. With it there is one
    for each of the people who lost most and who won most by OKS: ``worst_01_alice.jpg``. Of images of one name, all but
    the first get their id added.

    Args:
        folder: made if it is not there.
        images: (H, W, 3) uint8 RGB images by their ids; where one raises InputError the picture is left out and the
            index says so.
        before: N results.
        after: the same N results, refined, in the same order.
        truth: annotated people, those who count (:attr:`posefix.evaluation.diagnosis.Diagnosis.truth`).
        count: at most so many worst and so many best people.

    Returns:
        The index: for each picture ``image_id``, ``image`` (its name), ``file`` or ``skipped`` (why), and for people
        also ``person`` (row in ``before``), ``kind``, ``oks_before`` and ``oks_after``.

    Raises:
        InputError: the folder or a file in it cannot be written.
    """
    folder = Path(folder)
    make_folder(folder)
    if truth is None:
        drawn = _whole_images(images, before, after)
    else:
        drawn = changed_people(images, before, after, truth, oks_change(truth, before, after), count)
    index, taken = [], {INDEX}
    for entry, picture in drawn:
        if picture is not None:
            entry["file"] = _free_name(entry, taken)
            write_atomically(folder / entry["file"], encode_jpeg(picture))
        index.append(entry)
    write_atomically(folder / INDEX, json.dumps(index, indent=1) + "\n")
    return index


def write_comparison(
    path: str | Path, frames: Iterable[tuple[int, np.ndarray]], before: People, after: People, fps: float | None = None
) -> int:
    """Write a video that shows each frame twice, with the poses before on the left and after on the right.

    Where people are small, the part of the frame around them is shown, enlarged, and follows them.

    Args:
        path: of the video to write, ending in ``.mp4``.
        frames: frame numbers and (H, W, 3) uint8 RGB frames of one size, in order.
        before: people of any of these frames; ``image_ids`` are frame numbers.
        after: the same.
        fps: frames a second.

    Returns:
        The number of frames written; with none there is no video.

    Raises:
        InputError: the file cannot be written.
    """
    ordered = [people[np.argsort(people.image_ids, kind="stable")] for people in (before, after)]

    def pictures() -> Iterator[np.ndarray]:
        views, height = None, PANEL_HEIGHT
        for i, (index, frame) in enumerate(frames):
            if i == 0:
                views = following_views(frame, before, after, reach=round(REACH * (fps or DEFAULT_FPS)))
                wide, high = frame.shape[1::-1] if views is None else views[0, 2:]
                height = round(PANEL_HEIGHT * np.clip(high / max(wide, 1), 1, TALLEST))
            box = None if views is None else views[min(index, len(views) - 1)]
            left, right = (p[slice(*np.searchsorted(p.image_ids, [index, index + 1]))] for p in ordered)
            yield side_by_side(frame, left, right, title=f"frame {index}", box=box, height=height)

    return write_video(path, fps, pictures())


def changed_people(
    images: ImageFolder,
    before: People,
    after: People,
    truth: People,
    change: OksChange,
    count: int,
    height: int = PANEL_HEIGHT,
) -> Iterator[Drawn]:
    """Draw the people who lost most and who won most by OKS, the annotated pose over both in green."""
    for kind, rows in (("worst", change.worst(count)), ("best", change.best(count))):
        for rank, row in enumerate(rows.tolist(), start=1):
            oks = {"oks_before": float(change.before[row]), "oks_after": float(change.after[row])}
            entry = {"image_id": int(before.image_ids[row]), "kind": kind, "person": row, **oks}
            labels = f"before, OKS {oks['oks_before']:.2f}", f"after, OKS {oks['oks_after']:.2f}"
            people = before[[row]], after[[row]], truth[change.truth_rows[[row]]]
            yield entry, _draw(images, entry, f"{kind}_{rank:02d}_", *people, labels=labels, height=height)


def encode_jpeg(image: np.ndarray) -> bytes:
    """Encode an image (H, W, 3) uint8 RGB as JPEG."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()


def embedded(image: np.ndarray) -> str:
    """Encode an image (H, W, 3) uint8 RGB as JPEG in base64, as pages hold it."""
    return base64.b64encode(encode_jpeg(image)).decode()


def render_page(template: str, **values: Any) -> str:
    """Fill in a template of this package; InputError if jinja2 is not installed."""
    jinja2 = require("jinja2", "report", "a page")
    loader, escape = jinja2.PackageLoader("posefix.report"), jinja2.select_autoescape(["html", "j2"])
    page: str = jinja2.Environment(loader=loader, autoescape=escape).get_template(template).render(values)
    return page


def _whole_images(images: ImageFolder, before: People, after: People) -> Iterator[Drawn]:
    for image_id in np.unique(before.image_ids).tolist():
        entry: dict[str, Any] = {"image_id": image_id}
        yield entry, _draw(images, entry, "", *(people[people.image_ids == image_id] for people in (before, after)))


def _draw(
    images: ImageFolder, entry: dict[str, Any], prefix: str, *people: People, **options: Any
) -> np.ndarray | None:
    """Draw people into the image of an entry, and note its name and that of the picture, or why there is none."""
    try:
        image, name = images[entry["image_id"]], images.name(entry["image_id"])
    except InputError as error:
        entry["skipped"] = str(error)
        return None
    parts = PurePosixPath(name.replace("\\", "/")).with_suffix("").parts
    entry |= {"image": name, "file": prefix + "_".join(parts).strip("/")}
    return side_by_side(image, *people, title=name, box=people_view(image, *people), **options)


def _free_name(entry: dict[str, Any], taken: set[str]) -> str:
    """A name that no other picture has, even where the file system does not tell small letters from capitals."""
    names = (f"{entry['file']}.jpg", f"{entry['file']}_{entry['image_id']}.jpg")
    name = next(name for name in names if name.lower() not in taken)
    taken.add(name.lower())
    return name

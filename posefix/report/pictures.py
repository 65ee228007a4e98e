"""Write before and after side by side: pictures of images or of the people who changed most, or a video."""

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
MAX_ENLARGEMENT = 1.5  # of the panel height, for upright videos
REACH = 0.5  # s: views of a video cover the people within this time before and after
_QUALITY = 92  # of the JPEGs

# Entry of the index, and picture (H, W, 3) uint8 RGB, or None if the image cannot be read.
Drawn = tuple[dict[str, Any], np.ndarray | None]


def write_pictures(
    folder: str | Path, images: ImageFolder, before: People, after: People, truth: People | None = None, count: int = 12
) -> list[dict[str, Any]]:
    """Write side-by-side pictures before and after refinement, and an ``index.json`` of what each shows.

    Without ground truth there is one picture per image, with the image's name: ``alice.jpg``. With ground truth there
    is one for each of the people with the largest loss and gain of OKS: ``worst_01_alice.jpg``. Images with the same
    name, except the first, get their id added.

    Args:
        folder: created if missing.
        images: (H, W, 3) uint8 RGB images by id; those that raise InputError are skipped, and the index says why.
        before: N results.
        after: the same N results, refined, in the same order.
        truth: annotated people who count (:attr:`posefix.evaluation.diagnosis.Diagnosis.truth`).
        count: number of worst and of best people, at most.

    Returns:
        The index: for each picture ``image_id``, ``image`` (its name), ``file`` or ``skipped`` (why), and for people
        also ``person`` (row in ``before``), ``kind``, ``oks_before`` and ``oks_after``.

    Raises:
        InputError: the folder or a file in it cannot be written.
    """
    folder = Path(folder)
    make_folder(folder)
    if truth is None:
        pictures = _whole_images(images, before, after)
    else:
        pictures = changed_people(images, before, after, truth, oks_change(truth, before, after), count)
    index, used_names = [], {INDEX}
    for entry, picture in pictures:
        if picture is not None:
            entry["file"] = _free_name(entry, used_names)
            write_atomically(folder / entry["file"], encode_jpeg(picture))
        index.append(entry)
    write_atomically(folder / INDEX, json.dumps(index, indent=1) + "\n")
    return index


def write_comparison(
    path: str | Path, frames: Iterable[tuple[int, np.ndarray]], before: People, after: People, fps: float | None = None
) -> int:
    """Write a video that shows each frame twice, with the poses before on the left and after on the right.

    If people are small, the view is enlarged and follows them.

    Args:
        path: of the video to write, ending in ``.mp4``.
        frames: frame numbers and (H, W, 3) uint8 RGB frames of one size, in order.
        before: people in any of these frames; ``image_ids`` are frame numbers.
        after: likewise.
        fps: frames per second.

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
                height = round(PANEL_HEIGHT * np.clip(high / max(wide, 1), 1, MAX_ENLARGEMENT))
            box = None if views is None else views[min(index, len(views) - 1)]
            left, right = (group[slice(*np.searchsorted(group.image_ids, [index, index + 1]))] for group in ordered)
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
    """Draw the people with the largest loss and gain of OKS, with the annotated pose in green."""
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
    """Encode an image (H, W, 3) uint8 RGB as JPEG in base64, for HTML pages."""
    return base64.b64encode(encode_jpeg(image)).decode()


def render_page(template: str, **values: Any) -> str:
    """Render a template of this package; raise InputError if jinja2 is not installed."""
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
    """Draw people into the image of an entry; add to the entry the names of image and picture, or why there is none."""
    try:
        image, name = images[entry["image_id"]], images.name(entry["image_id"])
    except InputError as error:
        entry["skipped"] = str(error)
        return None
    parts = PurePosixPath(name.replace("\\", "/")).with_suffix("").parts
    entry |= {"image": name, "file": prefix + "_".join(parts).strip("/")}
    return side_by_side(image, *people, title=name, box=people_view(image, *people), **options)


def _free_name(entry: dict[str, Any], used_names: set[str]) -> str:
    """Return an unused file name; case-insensitive, since some file systems are."""
    names = (f"{entry['file']}.jpg", f"{entry['file']}_{entry['image_id']}.jpg")
    name = next(name for name in names if name.lower() not in used_names)
    used_names.add(name.lower())
    return name

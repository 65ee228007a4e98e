"""Read files of any format to :class:`~posefix.core.people.People`, and write them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from posefix.core import geometry
from posefix.core.errors import InputError, UnknownSizeError
from posefix.core.people import MAX_COORDINATE, People, Records, require_shared
from posefix.core.skeleton import Skeleton, load
from posefix.formats import coco_files
from posefix.formats.coco import ImageRecord
from posefix.formats.images import ImageIndex, ids_of
from posefix.formats.parsed_file import Format, OnError, ParsedFile
from posefix.formats.registry import FORMATS, format_named, format_of, sniff
from posefix.formats.source import Source, absent

MAX_WIDTHS = 10  # image widths; a larger median coordinate must be pixels, not a fraction


def read(
    path: str | Path,
    format: str = "auto",
    *,
    skeleton: Skeleton | str | Path | None = None,
    default: Skeleton | None = None,
    images: ImageIndex | str | Path | Callable[[], ImageIndex] | None = None,
    on_error: OnError = "stop",
) -> People:
    """Read people from a file or folder of any format.

    Args:
        path: the file or folder, gzipped or not.
        format: a key of ``FORMATS``, or ``"auto"``.
        skeleton: skeleton of the keypoints, which overrides the file's; or the name of a shipped one, or a YAML file.
        default: skeleton if the format does not give it, as in COCO's results; None decides by the number of keypoints.
        images: the images that the file's names mean, or their folder, or a function that returns them. Without, image
            ids are the numbers in the names, or 0, 1, ...
        on_error: ``"stop"`` raises at an unusable person or file of a folder; ``"skip"`` keeps it without estimates and
            reports it in ``people.source.problems``.

    Returns:
        The people in the file's own skeleton and order, in pixels, with their records in ``extra``, and everything that
        :func:`write` needs to write the same file again in ``source``.

    Raises:
        InputError: the format is unknown or another one, a person cannot be used, or a name means no image or several.
    """
    if on_error not in ("stop", "skip"):
        raise InputError(f"on_error must be 'stop' or 'skip', got {on_error!r:.40}")
    path = Path(path)
    fmt = format_named(format_of(path, format))
    if isinstance(images, str | Path):
        images = ImageIndex.of_folder(Path(images))
    if isinstance(skeleton, str | Path):
        skeleton = load(skeleton)
    skeleton = default if skeleton is None and not fmt.tells_skeleton else skeleton
    try:
        parsed = fmt.read(path, skeleton, on_error)
        if callable(images):
            images = None if parsed.kind == "id" else images()
        return _people(path, fmt, parsed, images, on_error == "skip")
    except InputError as error:
        detected = None if format == "auto" or not os.path.exists(path) else sniff(path)
        if detected is None or detected == fmt.name:
            raise
        raise InputError(f"{error} [it looks like {FORMATS[detected].title}: --format {detected}]") from None


def write(people: People, path: str | Path, format: str | None = None) -> None:
    """Write people to a file or folder of a format, completely or not at all.

    In the format that they were read from, only changed values are replaced: keypoints, their scores and person scores.
    In another format, people without any estimate and keypoints that its skeleton lacks are left out, and keypoints
    that only its skeleton has get no estimate.

    Args:
        people: of any skeleton that shares keypoints with the format's.
        path: a file, or a folder for formats with one file per image. A name that ends in ``.gz`` is gzipped.
        format: a key of ``FORMATS``; None takes the format that the people were read from, or COCO results.

    Raises:
        InputError: ``people`` is not People, the path cannot be written, or the format needs unknown values such as
            the images' sizes.
        ValueError: keypoints or scores are not finite.
    """
    if not isinstance(people, People):
        raise InputError(f"people must be posefix.People, as posefix.read gives them, found {type(people).__name__}")
    fmt = format_named(format or (people.source.format.name if people.source else "coco"))
    if not all(np.isfinite(values).all() for values in (people.keypoints, people.scores, people.person_scores)):
        raise ValueError("keypoints and scores must be finite")
    fmt.write(Path(path), _content(people, fmt))


def _people(path: Path, fmt: Format, parsed: ParsedFile, images: ImageIndex | None, skip: bool) -> People:
    keys = list(parsed.images)
    if images is not None and parsed.kind != "id":
        single = fmt.any_file_name and parsed.document.store == "file"
        ids, numbered = images.match(keys, parsed.kind, fmt.first_frame, single, skip), images.numbered
    elif parsed.kind == "name":
        numbers, numbered = ids_of([str(key) for key in keys])
        ids = np.array(numbers, np.int64)
    else:
        ids, numbered = np.array(keys, np.int64), True
    records = _image_records(parsed, ids, images)
    keypoints, boxes = parsed.keypoints, parsed.boxes
    absent = {i for i in records if i < 0 and (parsed.kind != "id" or i == coco_files.NOWHERE)}
    _require_unit(path, fmt, np.abs(keypoints[parsed.scores > 0]))
    if fmt.relative:
        if skip:  # images of unknown size count as absent: their people are unchanged
            absent |= {i for i, r in records.items() if r.width <= 0 or r.height <= 0}
            records = {i: ImageRecord(r.file_name, 1, 1) if i in absent else r for i, r in records.items()}
        sizes = _sizes(path, fmt, records, ids[parsed.frames])
        keypoints, boxes = keypoints * sizes[:, None], boxes * np.tile(sizes, 2)
        distant = np.flatnonzero((np.abs(keypoints) > MAX_COORDINATE).any((1, 2)))
        if len(distant):
            name = keys[parsed.frames[distant[0]]]
            raise InputError(f"{path}: a keypoint of image {name!r} lies more than {MAX_COORDINATE:,.0f} pixels away")
    if absent and parsed.kind != "id":
        names = [keys[frame] for frame in parsed.frames.tolist() if int(ids[frame]) in absent]
        parsed.problems += [f"{path}: a person of image {key!r}, which is not there or cannot be read" for key in names]
    source = Source(
        fmt if parsed.holds is None else replace(fmt, holds=parsed.holds),
        parsed,
        records,
        frozenset(absent),
        synthetic_ids=not numbered,
        video=Path(images.what).stem if images is not None and images.video else None,
    )
    return People(
        parsed.skeleton,
        keypoints,
        parsed.scores,
        ids[parsed.frames],
        boxes=boxes,
        person_scores=parsed.person_scores,
        areas=geometry.areas_of(boxes),
        original_scores=parsed.original_scores,
        track_ids=parsed.track_ids,
        extra=parsed.records,
        source=source,
    )


def _require_unit(path: Path, fmt: Format, xy: np.ndarray) -> None:
    """Raise InputError if coordinates are pixels but should be fractions, or the other way round."""
    if fmt.relative and xy.size and np.median(xy) > MAX_WIDTHS:
        raise InputError(
            f"{path}: half of all coordinates are beyond {np.median(xy):.0f}, so they are pixels; {fmt.title} gives "
            "fractions of the image's width and height"
        )
    if fmt.pixels_by and xy.any() and (xy <= 1).all():
        raise InputError(
            f"{path}: all coordinates are within -1 and 1, so they are fractions of the image, expected pixels: "
            f"write it with {fmt.pixels_by}"
        )


def _image_records(parsed: ParsedFile, ids: np.ndarray, images: ImageIndex | None) -> dict[int, ImageRecord]:
    """Return the known name and size of each image: from the data set, else from the file itself."""
    file_records = parsed.listed or [ImageRecord(str(key) if parsed.kind == "name" else "") for key in parsed.images]
    records: dict[int, ImageRecord] = dict(zip(ids.tolist(), file_records, strict=True))
    if images is not None and (images.numbered or parsed.kind != "id"):
        for image_id, record in records.items():
            size = images.size(image_id) or (record.width, record.height)
            records[image_id] = ImageRecord(images.records.get(image_id, record).file_name, *size)
    return records


def _sizes(path: Path | str, fmt: Format, records: Mapping[int, ImageRecord], image_ids: np.ndarray) -> np.ndarray:
    """Return (N, 2) float64 width and height of each person's image."""
    for image_id in np.unique(image_ids).tolist():
        record = records.get(image_id, ImageRecord(""))
        if record.width <= 0 or record.height <= 0:
            raise UnknownSizeError(
                f"{path}: {fmt.title} gives coordinates as fractions of the image, and the size of "
                f"{record.file_name or f'image {image_id}'} is not known"
            )
    return np.array([(records[i].width, records[i].height) for i in image_ids.tolist()], np.float64).reshape(-1, 2)


def _content(people: People, fmt: Format) -> ParsedFile:
    """Convert people to the content of a file."""
    source: Source = people.source or Source(fmt, None, {})
    images, ids = source.images, set(people.image_ids.tolist())
    keys = source.keys
    old = source.parsed if source.format.name == fmt.name else None
    outside = np.flatnonzero(~np.isin(people.image_ids, list(keys))).tolist()
    if old is not None and fmt.takes_new == "anywhere" and all(people.extra[row] is None for row in outside):
        keys |= {i: _new_key(i, keys, fmt) for i in sorted(ids - keys.keys())}
    elif outside:
        old = None
    if old is None:
        people = fitted(people, fmt)
        people = people[writable(people)]
        ids = {*people.image_ids.tolist(), *(images.keys() - source.absent)}
        keys = {i: _key(i, images.get(i), fmt, source.video) for i in sorted(ids)}
    frame_of = {image_id: frame for frame, image_id in enumerate(keys)}
    dtype = np.float32 if isinstance(people.extra, Records) else np.float64  # saves memory for long files
    keypoints, boxes = people.keypoints.astype(dtype), people.boxes.astype(dtype)
    boxes = np.where(geometry.known_boxes(people.boxes)[:, None], boxes, 0.0)
    if fmt.relative:
        sizes = _sizes("what is to be written", fmt, images, people.image_ids)
        keypoints, boxes = keypoints / sizes[:, None], boxes / np.tile(sizes, 2)
    return ParsedFile(
        people.skeleton,
        keypoints,
        people.scores.astype(dtype),
        np.array([frame_of[i] for i in people.image_ids.tolist()], np.int64),
        list(keys.values()),
        fmt.kind if old is None else old.kind,
        boxes,
        people.person_scores.astype(np.float64),
        people.extra if old is not None else [None] * len(people),
        people.original_scores,
        people.track_ids,
        listed=[images.get(i, ImageRecord("")) for i in keys],
        document=None if old is None else old.document,
        new=old is None,
    )


def writable(people: People) -> np.ndarray:
    """Return (N,) bool: people with an estimate, in existing images, whom any format can hold."""
    return people.labelled.any(1) & ~absent(people)


def fitted(people: People, fmt: Format) -> People:
    """Convert people to a skeleton of a format; raise InputError if it shares no keypoint with theirs."""
    if people.skeleton.name in fmt.skeletons:
        return people
    skeleton = load(fmt.skeletons[0])
    require_shared(people, skeleton, f"{fmt.title} holds")
    return people.to_skeleton(skeleton)


def _new_key(image_id: int, keys: Mapping[int, int | str], fmt: Format) -> int | str:
    """Return a file's name for a frame that it lacks: another frame's name with the number replaced."""
    if fmt.kind == "id":
        return image_id
    stem, extension = os.path.splitext(str(next(iter(keys.values()), "")))
    prefix = stem.rstrip("0123456789")
    digits = len(stem) - len(prefix) if stem[len(prefix) :].startswith("0") else 0
    return f"{prefix}{image_id:0{digits}d}{extension}"


def _key(image_id: int, record: ImageRecord | None, fmt: Format, video: str | None) -> int | str:
    if fmt.kind == "id":
        return image_id
    if record and record.file_name:
        return record.file_name
    return f"{image_id:012d}" if video is None else f"{video}_{image_id + fmt.first_frame:012d}"

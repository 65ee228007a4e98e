"""Read files of any format to :class:`~posefix.core.people.People`, and write them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from posefix.core import geometry
from posefix.core.errors import InputError
from posefix.core.people import MAX_COORDINATE, People, Records, require_shared
from posefix.core.skeleton import Skeleton, load
from posefix.formats import coco_files
from posefix.formats.coco import ImageRecord
from posefix.formats.images import ImageIndex, ids_of
from posefix.formats.parsed_file import Format, OnError, ParsedFile
from posefix.formats.registry import FORMATS, format_named, format_of, sniff
from posefix.formats.source import Source

MOST_WIDTHS = 10  # of the image: fractions that mean a place in it are mostly within


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
    path = Path(path)
    one = format_named(format_of(path, format))
    if isinstance(images, str | Path):
        images = ImageIndex.of_folder(Path(images))
    if isinstance(skeleton, str | Path):
        skeleton = load(skeleton)
    skeleton = default if skeleton is None and not one.tells_skeleton else skeleton
    try:
        parsed = one.read(path, skeleton, on_error)
        if callable(images):
            images = None if parsed.kind == "id" else images()
        return _people(path, one, parsed, images, on_error == "skip")
    except InputError as error:
        looks = None if format == "auto" or not os.path.exists(path) else sniff(path)
        if looks is None or looks == one.name:
            raise
        raise InputError(f"{error} [it looks like {FORMATS[looks].title}: --format {looks}]") from None


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
    one = format_named(format or (people.source.format.name if people.source else "coco"))
    if not all(np.isfinite(v).all() for v in (people.keypoints, people.scores, people.person_scores)):
        raise ValueError("keypoints and scores must be finite")
    one.write(Path(path), _content(people, one))


def _people(path: Path, one: Format, parsed: ParsedFile, images: ImageIndex | None, skip: bool) -> People:
    keys = list(parsed.images)
    if images is not None and parsed.kind != "id":
        single = one.any_file_name and parsed.document.store == "file"
        ids, own_numbers = images.match(keys, parsed.kind, one.first_frame, single, skip), images.numbered
    elif parsed.kind == "name":
        numbers, own_numbers = ids_of([str(key) for key in keys])
        ids = np.array(numbers, np.int64)
    else:
        ids, own_numbers = np.array(keys, np.int64), True
    known = _image_records(parsed, ids, images)
    keypoints, boxes = parsed.keypoints, parsed.boxes
    absent = {i for i in known if i < 0 and (parsed.kind != "id" or i == coco_files.NOWHERE)}
    _require_unit(path, one, np.abs(keypoints[parsed.scores > 0]))
    if one.relative:
        if skip:  # an image whose size is not known is not there: its people come back as they are
            absent |= {i for i, r in known.items() if r.width <= 0 or r.height <= 0}
            known = {i: ImageRecord(r.file_name, 1, 1) if i in absent else r for i, r in known.items()}
        sizes = _sizes(path, one, known, ids[parsed.frames])
        keypoints, boxes = keypoints * sizes[:, None], boxes * np.tile(sizes, 2)
        far = np.flatnonzero((np.abs(keypoints) > MAX_COORDINATE).any((1, 2)))
        if len(far):
            name = keys[parsed.frames[far[0]]]
            raise InputError(f"{path}: a keypoint of image {name!r} lies more than {MAX_COORDINATE:,.0f} pixels away")
    if absent and parsed.kind != "id":
        names = [keys[frame] for frame in parsed.frames.tolist() if int(ids[frame]) in absent]
        parsed.problems += [f"{path}: a person of image {key!r}, which is not there or cannot be read" for key in names]
    source = Source(
        one if parsed.holds is None else replace(one, holds=parsed.holds),
        parsed,
        known,
        frozenset(absent),
        synthetic_ids=not own_numbers,
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


def _require_unit(path: Path, one: Format, found: np.ndarray) -> None:
    """Raise InputError if absolute coordinates are pixels that should be fractions, or the other way round."""
    if one.relative and found.size and np.median(found) > MOST_WIDTHS:
        raise InputError(
            f"{path}: half of all coordinates are beyond {np.median(found):.0f}, so they are pixels; {one.title} gives "
            "fractions of the image's width and height"
        )
    if one.pixels_by and found.any() and (found <= 1).all():
        raise InputError(
            f"{path}: all coordinates are within -1 and 1, so they are fractions of the image, expected pixels: "
            f"write it with {one.pixels_by}"
        )


def _image_records(parsed: ParsedFile, ids: np.ndarray, images: ImageIndex | None) -> dict[int, ImageRecord]:
    """What is known of each image: from the data set, else from the file itself."""
    listed = parsed.listed or [ImageRecord(str(key) if parsed.kind == "name" else "") for key in parsed.images]
    known: dict[int, ImageRecord] = dict(zip(ids.tolist(), listed, strict=True))
    if images is not None and (images.numbered or parsed.kind != "id"):
        for image_id, own in known.items():
            size = images.size(image_id) or (own.width, own.height)
            known[image_id] = ImageRecord(images.records.get(image_id, own).file_name, *size)
    return known


def _sizes(path: Path | str, one: Format, known: Mapping[int, ImageRecord], image_ids: np.ndarray) -> np.ndarray:
    """(N, 2) float64 width and height of each person's image."""
    for image_id in np.unique(image_ids).tolist():
        record = known.get(image_id, ImageRecord(""))
        if record.width <= 0 or record.height <= 0:
            raise InputError(
                f"{path}: {one.title} gives coordinates as fractions of the image, and the size of "
                f"{record.file_name or f'image {image_id}'} is not known; give the images or annotations"
            )
    return np.array([(known[i].width, known[i].height) for i in image_ids.tolist()], np.float64).reshape(-1, 2)


def _content(people: People, one: Format) -> ParsedFile:
    """People as the content of a file of a format."""
    source: Source = people.source or Source(one, None, {})
    images, ids = source.images, set(people.image_ids.tolist())
    keys = source.keys
    same = source.parsed if source.format.name == one.name else None
    elsewhere = np.flatnonzero(~np.isin(people.image_ids, list(keys))).tolist()
    if same is not None and one.takes_new == "anywhere" and all(people.extra[row] is None for row in elsewhere):
        keys |= {i: _new_key(i, keys, one) for i in sorted(ids - keys.keys())}
    elif elsewhere:
        same = None
    if same is None:
        people = fitted(people, one)
        people = people[writable(people)]
        ids = {*people.image_ids.tolist(), *(images.keys() - source.absent)}
        keys = {i: _key(i, images.get(i), one, source.video) for i in sorted(ids)}
    place_of = {image_id: place for place, image_id in enumerate(keys)}
    number = np.float32 if isinstance(people.extra, Records) else np.float64  # of a long file half the memory
    keypoints, boxes = people.keypoints.astype(number), people.boxes.astype(number)
    boxes = np.where(geometry.known_boxes(people.boxes)[:, None], boxes, 0.0)
    if one.relative:
        sizes = _sizes("what is to be written", one, images, people.image_ids)
        keypoints, boxes = keypoints / sizes[:, None], boxes / np.tile(sizes, 2)
    return ParsedFile(
        people.skeleton,
        keypoints,
        people.scores.astype(number),
        np.array([place_of[i] for i in people.image_ids.tolist()], np.int64),
        list(keys.values()),
        one.kind if same is None else same.kind,
        boxes,
        people.person_scores.astype(np.float64),
        people.extra if same is not None else [None] * len(people),
        people.original_scores,
        people.track_ids,
        listed=[images.get(i, ImageRecord("")) for i in keys],
        document=None if same is None else same.document,
        new=same is None,
    )


def writable(people: People) -> np.ndarray:
    """(N,) bool: people with an estimate, in images that are there, whom any format can hold."""
    absent = people.source.absent if people.source else ()
    return people.labelled.any(1) & ~np.isin(people.image_ids, list(absent))


def fitted(people: People, one: Format) -> People:
    """People in a skeleton that a format can hold; InputError if that has no keypoint of theirs."""
    if people.skeleton.name in one.skeletons:
        return people
    skeleton = load(one.skeletons[0])
    require_shared(people, skeleton, f"{one.title} holds")
    return people.to_skeleton(skeleton)


def _new_key(image_id: int, keys: Mapping[int, int | str], one: Format) -> int | str:
    """What a file calls a frame that it does not have: the name of another one with the number exchanged."""
    if one.kind == "id":
        return image_id
    stem, extension = os.path.splitext(str(next(iter(keys.values()), "")))
    prefix = stem.rstrip("0123456789")
    digits = len(stem) - len(prefix) if stem[len(prefix) :].startswith("0") else 0
    return f"{prefix}{image_id:0{digits}d}{extension}"


def _key(image_id: int, record: ImageRecord | None, one: Format, video: str | None) -> int | str:
    if one.kind == "id":
        return image_id
    if record and record.file_name:
        return record.file_name
    return f"{image_id:012d}" if video is None else f"{video}_{image_id + one.first_frame:012d}"

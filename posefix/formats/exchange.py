"""Between :class:`~posefix.core.people.People` and files of any format: image ids, pixels and skeletons."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from posefix.core import geometry
from posefix.core.errors import InputError
from posefix.core.people import FARTHEST, People, with_refined
from posefix.core.skeleton import Skeleton, load
from posefix.formats import coco, coco_files
from posefix.formats import records as checks
from posefix.formats.coco import ImageRecord
from posefix.formats.frames import Frames
from posefix.formats.images import ImageIndex, all_ids
from posefix.formats.long_json import Records
from posefix.formats.parsed_file import Format, ImageKind, OnError, ParsedFile
from posefix.formats.registry import FORMATS, format_named, format_of, sniff

_UNUSABLE = "posefix_unusable"  # holds, in ``People.extra``, a record that is no object


@dataclass(frozen=True)
class Source:
    """Where people come from, and what of it has to be written back beside them; ``People.source``.

    Attributes:
        format: name of the format.
        keys: image id to what the file calls the image, in its order, images without people too.
        kind: what those are.
        images: image id to name and size, as far as they are known.
        document: the rest of the file, the format's own.
        problems: one sentence for each person that could not be used.
        synthetic_ids: the image ids are mere places, since names do not end in numbers of their own.
        video: name of the video, without extension, that the images are frames of.
        absent: ids of images that are not there; the coordinates of their people mean nothing elsewhere.
    """

    format: str
    keys: Mapping[int, int | str]
    kind: ImageKind
    images: Mapping[int, ImageRecord]
    document: Any
    problems: tuple[str, ...] = ()
    synthetic_ids: bool = False
    video: str | None = None
    absent: frozenset[int] = frozenset()


def read(
    path: str | Path,
    format: str = "auto",
    *,
    skeleton: Skeleton | None = None,
    images: ImageIndex | str | Path | None = None,
    on_error: OnError = "stop",
) -> People:
    """Read people from a file or folder of any format.

    Args:
        path: the file or folder; gzipped files are read as they are.
        format: a key of ``FORMATS``, or ``"auto"``.
        skeleton: what the keypoints are, where the format does not say.
        images: the images that the file's names mean, or their folder. Without, image ids are made up where the file
            has none: the numbers in the names, or 0, 1, ...
        on_error: whether an unusable person or file of a folder ends the reading, or is kept without estimates and told
            of in ``people.source.problems``.

    Returns:
        The people in the file's own skeleton and order, in pixels; their records in ``extra``, and in ``source`` what
        :func:`write` needs to write the same file again.

    Raises:
        InputError: the path is of no known or of another format, a person in it cannot be used, or names mean no
            image, or several.
    """
    path = Path(path)
    one = format_named(format_of(path, format))
    if isinstance(images, str | Path):
        images = ImageIndex.of_folder(Path(images))
    try:
        return _people(path, one, one.read(path, skeleton, on_error), images, on_error == "skip")
    except InputError as error:
        looks = None if format == "auto" or not os.path.exists(path) else sniff(path)
        if looks is None or looks == one.name:
            raise
        raise InputError(f"{error} [it looks like {FORMATS[looks].title}: --format {looks}]") from None


def write(people: People, path: str | Path, format: str | None = None) -> None:
    """Write people to a file or folder of a format, whole or not at all.

    In the format that they were read from, only what changed is written anew: keypoints, their scores and the people's
    scores. In another, people without any estimate and keypoints that its skeleton lacks are left out, and keypoints
    that only it has are without estimate.

    Args:
        people: of any skeleton that the format's has keypoints in common with.
        path: to write to; a folder for formats that are one. A name that ends in ``.gz`` is gzipped.
        format: a key of ``FORMATS``; the one that the people were read from if not given, or COCO's results.

    Raises:
        InputError: the path cannot be written, or the format needs what is not known, such as the images' sizes.
        ValueError: keypoints or scores are not finite.
    """
    source = people.source if isinstance(people.source, Source) else None
    one = format_named(format or (source.format if source else "coco"))
    if not all(np.isfinite(v).all() for v in (people.keypoints, people.scores, people.person_scores)):
        raise ValueError("keypoints and scores must be finite")
    content, path = _content(people, source, one), Path(path)
    one.write(path, content)


def read_results(
    path: str | Path,
    format: str,
    skeleton: Skeleton,
    images: Callable[[], ImageIndex | None],
    on_error: OnError = "stop",
    own_skeleton: Skeleton | None = None,
) -> tuple[coco.CocoResults, Own | None]:
    """Read a file of any format as COCO results in a skeleton.

    Args:
        path: the file or folder.
        format: a key of ``FORMATS``, or ``"auto"``.
        skeleton: of the results.
        images: gives the images that the file's names mean; called only if the file has names.
        on_error: as for :func:`read`.
        own_skeleton: what the file's keypoints are, where the format does not say.

    Returns:
        The results, of people who have an estimate of any keypoint of the skeleton; and, unless the file is of COCO's
        results format, all of its people as :func:`read` gives them.

    Raises:
        InputError: as :func:`read` does; or the file's skeleton shares no keypoint with the one asked for.
    """
    name = format_of(path, format)
    if format_named(name).read is coco_files.read_results and own_skeleton is None:
        return coco.read_results(path, skeleton, on_error), None
    own = read(path, name, skeleton=own_skeleton, images=images(), on_error=on_error)
    if len(own) and (skeleton.indices_from(own.skeleton) < 0).all():
        raise InputError(f"{path}: poses of {own.skeleton.name} have no keypoint in common with {skeleton.name}")
    people = own.to_skeleton(skeleton)
    rows = np.flatnonzero(people.labelled.any(1))
    people = people[rows]
    records = coco.people_records(people)
    return coco.CocoResults(people, records, np.arange(len(rows)), list(own.source.problems)), Own(own, rows)


def read_again(people: People, path: Path) -> People:
    """People with the keypoints and scores that a file has which :func:`write` wrote of them in their own format."""
    one = format_named(people.source.format)
    content = one.read(path, people.skeleton, "skip")
    keypoints = content.keypoints
    if content.relative:
        records = [people.source.images[i] for i in people.image_ids.tolist()]
        keypoints = keypoints * np.array([(r.width, r.height) for r in records]).reshape(-1, 1, 2)
    return replace(people, keypoints=keypoints, scores=content.scores, person_scores=content.person_scores)


@dataclass(frozen=True, eq=False)
class Own:
    """People as their file has them, and which of them have an estimate.

    Attributes:
        people: N people in the skeleton of the file.
        rows: (R,) int64 those with an estimate.
    """

    people: People
    rows: np.ndarray

    def with_refined(self, refined: People) -> People:
        """All N people, those at ``rows`` as :func:`with_refined` has them."""
        new = with_refined(self.people[self.rows], refined)
        names = ("keypoints", "scores", "person_scores", "original_scores")
        people = {name: getattr(self.people, name).copy() for name in names}
        for name, values in people.items():
            values[self.rows] = getattr(new, name)
        return replace(self.people, **people)


def _people(path: Path, one: Format, content: ParsedFile, images: ImageIndex | None, skip: bool) -> People:
    keys = list(content.images)
    if images is None or content.kind == "id":
        found, own_numbers = all_ids(keys, content.kind)
        ids = np.array(found, np.int64)
    else:
        any_file_name = one.any_file_name and isinstance(content.document, Frames) and content.document.store == "file"
        ids = images.match(keys, content.kind, one.first_frame, any_file_name, skip)
        own_numbers = images.numbered
    known = _records(content, ids, images)
    keypoints, boxes = content.keypoints, content.boxes
    absent = {i for i in ids.tolist() if i < 0}
    if content.relative:
        if skip:  # an image whose size is not known is not there: its people come back as they are
            absent |= {i for i, r in known.items() if r.width <= 0 or r.height <= 0}
            known = {i: ImageRecord(r.file_name, 1, 1) if i in absent else r for i, r in known.items()}
        sizes = _sizes(path, one, known, ids[content.frames])
        keypoints, boxes = keypoints * sizes[:, None], boxes * np.tile(sizes, 2)
        far = np.flatnonzero((np.abs(keypoints) > FARTHEST).any((1, 2)))
        if len(far):
            name = keys[content.frames[far[0]]]
            raise InputError(f"{path}: a keypoint of image {name!r} lies more than {FARTHEST:,.0f} pixels away")
    source = Source(
        one.name,
        dict(zip(ids.tolist(), keys, strict=True)),
        content.kind,
        known,
        content.document,
        tuple(content.problems),
        synthetic_ids=not own_numbers,
        absent=frozenset(absent),
        video=Path(images.what).stem if images is not None and images.is_video else None,
    )
    records: Any = content.records
    if not isinstance(records, Records) or content.problems:  # else they are left in their file
        records = [record if isinstance(record, Mapping) else {_UNUSABLE: record} for record in records]
    return People(
        content.skeleton,
        keypoints,
        content.scores,
        ids[content.frames],
        boxes=boxes,
        person_scores=content.person_scores,
        areas=geometry.areas_of(boxes),
        original_scores=checks.original_scores(records),
        extra=records,
        source=source,
    )


def _records(content: ParsedFile, ids: np.ndarray, images: ImageIndex | None) -> dict[int, ImageRecord]:
    """What is known of each image: from the data set, else from the file itself."""
    known = {}
    for place, image_id in enumerate(ids.tolist()):
        name = content.names[place] if content.names else ""
        name = str(content.images[place]) if content.kind == "name" else name
        width, height = (0, 0) if content.sizes is None else content.sizes[place].tolist()
        if images is not None and (images.numbered or content.kind != "id"):
            name = images.records[image_id].file_name if image_id in images.records else name
            width, height = images.size(image_id) or (width, height)
        known[image_id] = ImageRecord(name, int(width), int(height))
    return known


def _sizes(path: Path | str, one: Format, known: Mapping[int, ImageRecord], image_ids: np.ndarray) -> np.ndarray:
    """(N, 2) float64 width and height of each person's image."""
    for image_id in np.unique(image_ids).tolist():
        record = known.get(image_id)
        if record is None or record.width <= 0 or record.height <= 0:
            name = record.file_name if record and record.file_name else f"image {image_id}"
            raise InputError(
                f"{path}: {one.title} gives coordinates as fractions of the image, and the size of {name} is not "
                "known; give the images or annotations"
            )
    return np.array([(known[i].width, known[i].height) for i in image_ids.tolist()], np.float64).reshape(-1, 2)


def _content(people: People, source: Source | None, one: Format) -> ParsedFile:
    """People as the content of a file of a format."""
    same = source is not None and source.format == one.name
    if not same:
        people = fitted(people, one)
        people = people[writable(people)]
    images = source.images if source else {}
    present = np.unique(people.image_ids).tolist()
    if same and set(present) <= source.keys.keys():
        keys: dict[int, int | str] = dict(source.keys)
    else:
        everything = sorted({*present, *(source.keys.keys() - source.absent if source else ())})
        video = source.video if source else None
        keys = {image_id: _key(image_id, place, images, one, video) for place, image_id in enumerate(everything)}
    place_of = {image_id: place for place, image_id in enumerate(keys)}
    keypoints, boxes = people.keypoints.astype(np.float64), people.boxes.astype(np.float64)
    boxes = np.where(geometry.known_boxes(people.boxes)[:, None], boxes, 0.0)
    if one.relative:
        sizes = _sizes("what is to be written", one, images, people.image_ids)
        keypoints, boxes = keypoints / sizes[:, None], boxes / np.tile(sizes, 2)
    return ParsedFile(
        people.skeleton,
        keypoints,
        people.scores.astype(np.float64),
        np.array([place_of[i] for i in people.image_ids.tolist()], np.int64),
        list(keys.values()),
        source.kind if same else one.kind,
        boxes,
        people.person_scores.astype(np.float64),
        _own_records(people) if same else [None] * len(people),
        relative=one.relative,
        sizes=np.array([_size(images.get(i)) for i in keys], np.int64).reshape(-1, 2),
        names=[images[i].file_name if i in images else "" for i in keys],
        document=source.document if same else None,
        new=not same,
    )


def writable(people: People) -> np.ndarray:
    """(N,) bool: people with an estimate, in images that are there, whom any format can hold."""
    absent = people.source.absent if isinstance(people.source, Source) else ()
    return people.labelled.any(1) & ~np.isin(people.image_ids, list(absent))


def fitted(people: People, one: Format) -> People:
    """People in a skeleton that a format can hold: their own if it can.

    Raises:
        InputError: the format's has no keypoint of theirs.
    """
    if people.skeleton.name in one.skeletons:
        return people
    skeleton = load(one.skeletons[0])
    if (skeleton.indices_from(people.skeleton) < 0).all():
        raise InputError(f"{one.title} holds {skeleton.name} poses, which have no keypoint of {people.skeleton.name}")
    return people.to_skeleton(skeleton)


def _key(image_id: int, place: int, images: Mapping[int, ImageRecord], one: Format, video: str | None) -> int | str:
    if one.kind == "id":
        return image_id
    record = images.get(image_id)
    if record and record.file_name:
        return record.file_name
    return f"{image_id:012d}" if video is None else f"{video}_{image_id + one.first_frame:012d}"


def _own_records(people: People) -> Sequence:
    known = np.isfinite(people.original_scores)
    if isinstance(people.extra, Records) and not known.any():
        return people.extra
    records = [record.get(_UNUSABLE, record) for record in people.extra]
    for row in np.flatnonzero(known & ~np.isfinite(checks.original_scores(records))).tolist():
        if isinstance(records[row], Mapping):
            records[row] = {**records[row], checks.ORIGINAL_SCORE: float(people.original_scores[row])}
    return records


def _size(record: ImageRecord | None) -> tuple[int, int]:
    return (record.width, record.height) if record else (0, 0)

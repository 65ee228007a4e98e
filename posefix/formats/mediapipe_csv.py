"""MediaPipe Pose in CSV: landmarks as fractions of the image, in either of the layouts in which people write them.

- *wide*, a line for each image or frame, with columns for x, y and mostly z and visibility of each of the 33 landmarks.
  These have a landmark's name or number and the axis in their title, in either order: ``NOSE_x``, ``left_knee_y``,
  ``x0`` ... ``v32``, ``x1`` ... ``v33``, ``landmark_0_x``, ``lmk0_vis``. In files of the holistic solution, with 501
  numbered landmarks, the first 33 are the body's.
- *long*, a line for each landmark, with the columns ``landmark`` (also ``landmark_id``, ``landmark_name``, ...; a
  number from 0 to 32 or 1 to 33, or a name), ``x``, ``y`` and mostly ``z`` and ``visibility``.

The column ``frame`` (``frame_number``, ...) or ``image`` (``image_path``, ``file_name``, ...) says which image a line
is of; without any, each line of a wide file is the next frame. Lines of one frame are several people; in a long file a
column ``person`` tells them apart, or a landmark that comes again. A landmark with empty cells has no estimate, a line
with none is an image without people. Visibility is the score, 1 where there is none.

What comes from elsewhere is written wide: ``image``, then ``NOSE_x``, ``NOSE_y``, ``NOSE_z`` (0), ``NOSE_visibility``
and so on.

Sources: names and order are those of mediapipe's tasks/python/vision/pose_landmarker.py (PoseLandmark). MediaPipe
itself writes no such files; the titles are those of public scripts that do, such as liyunwei-3558/Try_mediapipe
(generate_csv.py), lingaa005/mediapipe (test3.py) and SarunWeerakul/SWE4913-video-gait (src/pose_extract.py).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from posefix.core.errors import InputError
from posefix.core.files import write_atomically
from posefix.core.skeleton import Skeleton, load
from posefix.formats.images import EXTENSIONS
from posefix.formats.mediapipe import DECIMALS, SKELETONS, require_fractions
from posefix.formats.names import places, plain
from posefix.formats.parsed_file import Format, ImageKind, OnError, ParsedFile, PeopleBuilder
from posefix.formats.probe import FileProbe
from posefix.formats.tables import Table, new_table, number, parsed, plain_text, read_table, rewritten

K = 33
WITH_FACE = K + 468  # numbered landmarks of the holistic solution's body and face
_AXES = {"x": 0, "y": 1, "v": 2, "vis": 2, "visibility": 2, "score": 2, "confidence": 2}
_AXIS = "|".join(sorted(_AXES, key=len, reverse=True))  # visibility before v
_AXIS_LAST = re.compile(rf"(.+?)[ _.-]*({_AXIS})", re.IGNORECASE)
_AXIS_FIRST = re.compile(rf"({_AXIS})[ _.-]*(.+)", re.IGNORECASE)
_NUMBERED = re.compile(r"(?:(?:pose|landmarks?|lmks?|lms?|kpts?|kps?|keypoints?|points?|joints?|p)_?){0,2}([0-9]{1,3})")
_FRAME_NUMBER = re.compile(r"([0-9]{1,15})(?:\.0*)?")
_FRAMES = {"frame", *(f"frame{rest}" for rest in ("id", "idx", "index", "number", "no", "num"))}
_IMAGES = {"image", "img", "file", "filename", "filepath", "path"}
_IMAGES |= {f"{what}{rest}" for what in ("image", "img") for rest in ("name", "path", "file", "id")}
_LANDMARKS = {"landmark", "keypoint", "joint", "bodypart"}
_NUMBERS = ("id", "idx", "index", "number")
_LANDMARKS |= {f"{what}{rest}" for what in ("landmark", "keypoint") for rest in (*_NUMBERS, "name")}
_PEOPLE = {f"{what}{rest}" for what in ("person", "pose", "subject") for rest in (*_NUMBERS, "")}


@dataclass(frozen=True)
class _Layout:
    """Which columns hold what; -1 where there is none.

    Attributes:
        columns: (33, 3) int64 of x, y and visibility of each landmark; in a long file the same for all.
        landmark: of a landmark's number or name, in a long file.
        person: of what tells people apart, in a long file.
        frame: of frames' numbers.
        image: of images' names.
        width: of a line.
    """

    columns: np.ndarray
    landmark: int
    person: int
    frame: int
    image: int
    width: int


@dataclass(frozen=True)
class _Document:
    """A file with what its columns are, and the lines that people are in."""

    table: Table
    layout: _Layout
    lines: frozenset[int]


def read(path: Path, skeleton: Skeleton | None, on_error: OnError) -> ParsedFile:
    """Read the people in a file, one for each line or 33 lines."""
    table = read_table(path)
    layout = _layout([plain_text(cell) for cell in table.rows[0]])
    if layout is None:
        raise InputError(
            f"{path}: its first line names no columns of MediaPipe's landmarks; expected x and y of each, such as "
            "nose_x and nose_y, or of 33 by number, such as x0 and y0, or else the columns landmark, x and y"
        )
    lines = [line for line in range(1, len(table.rows)) if any(cell.strip() for cell in table.rows[line])]
    keys, kind = _keys(table, layout, lines)
    landmarks = _landmark_of_lines(path, table, layout, lines) if layout.landmark >= 0 else None
    images = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    people, taken = PeopleBuilder(path, skeleton, on_error, SKELETONS), set()
    for key, own in _people(table, layout, lines, keys, landmarks):
        where = f"line {min(line for line in own if line >= 0) + 1}"
        record = {"lines": own}
        try:
            values = _values(table, layout, own)
        except ValueError as error:
            people.refuse(where, images[key], record, str(error))
            taken.update(own)
            continue
        known = np.isfinite(values[:, :2]).all(1)
        if known.any():
            scores = np.where(np.isnan(values[:, 2]), known, values[:, 2])
            people.add(where, images[key], record, np.where(scores[:, None] == 0, np.nan, values[:, :2]), scores)
            taken.update(own)
    document = _Document(table, layout, frozenset(taken))
    found = people.parsed(list(images), kind, SKELETONS[0], relative=True, document=document)
    require_fractions(path, found)
    return found


def write(path: Path, content: ParsedFile) -> None:
    """Write a file again, or a new one; numbers with 6 decimals."""
    document = content.document
    own = all(isinstance(record, Mapping) and "lines" in record for record in content.records)
    if not isinstance(document, _Document) or not own:
        write_atomically(path, _new(content).text())
        return
    rows, columns = [list(row) for row in document.table.rows], document.layout.columns
    present: set[int] = set()
    for person, record in enumerate(content.records):
        present.update(record["lines"])
        if content.has_no_estimate(person):
            continue
        lines = np.repeat(np.array(record["lines"])[:, None], 3, axis=1)
        there = (lines >= 0) & (columns >= 0)
        cells = [rows[line][column] for line, column in zip(lines[there], columns[there], strict=True)]
        scores = content.scores[person]
        values = np.column_stack([content.keypoints[person], scores])
        keep = np.repeat((scores == 0)[:, None], 3, axis=1)
        unsaid = np.isnan([number(cell) for cell in cells])
        keep[there] |= unsaid & (np.nonzero(there)[1] == 2) & (values[there] == 1)
        new = rewritten(cells, values[there], DECIMALS, keep[there])
        for line, column, cell in zip(lines[there], columns[there], new, strict=True):
            rows[line][column] = cell
    kept = [line for line in range(len(rows)) if line not in document.lines or line in present]
    table = document.table
    text = Table([rows[k] for k in kept], [table.ends[k] for k in kept], table.delimiter, table.mark).text()
    write_atomically(path, text)


def _layout(titles: Sequence[str]) -> _Layout | None:
    """What the columns with these titles hold; None if no landmarks."""
    simple = [plain(title).replace("_", "") for title in titles]

    def first(names: set[str]) -> int:
        return next((place for place, title in enumerate(simple) if title in names), -1)

    marks = {"frame": first(_FRAMES), "image": first(_IMAGES), "width": len(titles)}
    columns = _wide_columns(titles)
    if columns is not None:
        return _Layout(columns, landmark=-1, person=-1, **marks)
    x, y, landmark = first({"x"}), first({"y"}), first(_LANDMARKS)
    if min(x, y, landmark) < 0:
        return None
    row = [x, y, first({name for name, axis in _AXES.items() if axis == 2})]
    return _Layout(np.tile(row, (K, 1)), landmark, first(_PEOPLE), **marks)


def _wide_columns(titles: Sequence[str]) -> np.ndarray | None:
    columns, numbered = np.full((K, 3), -1, np.int64), []
    by_name = _landmark_places()
    for place, title in enumerate(titles):
        forms = [(m[1], m[2]) for m in [_AXIS_LAST.fullmatch(title[:100])] if m]
        forms += [(m[2], m[1]) for m in [_AXIS_FIRST.fullmatch(title[:100])] if m]
        for what, axis_name in forms:
            name, axis = plain(what), _AXES[axis_name.lower()]
            if found := _NUMBERED.fullmatch(name):
                numbered.append((int(found[1]), axis, place))
                break
            landmark = by_name.get(name, by_name.get(name.removeprefix("pose_")))
            if landmark is not None:
                if columns[landmark, axis] < 0:
                    columns[landmark, axis] = place
                break
    different = sorted({number for number, axis, _ in numbered if axis < 2})
    if len(different) in (K, WITH_FACE) and different[0] in (0, 1) and different[-1] - different[0] < len(different):
        columns[:] = -1
        for value, axis, place in reversed(numbered):
            if 0 <= value - different[0] < K:
                columns[value - different[0], axis] = place
    return columns if (columns[:, :2] >= 0).all(1).any() else None


def _landmark_places() -> dict[str, int]:
    return places(load(SKELETONS[0]))


def _keys(table: Table, layout: _Layout, lines: Sequence[int]) -> tuple[list[int | str], ImageKind]:
    """Which image each line is of: by its name if that is one of an image, else by its number."""
    names = _texts(table, layout.image, lines)
    if layout.image >= 0 and names and (layout.frame < 0 or os.path.splitext(names[0])[1].lower() in EXTENSIONS):
        return list(names), "name"
    if layout.frame >= 0:
        texts = _texts(table, layout.frame, lines)
        numbers = [_FRAME_NUMBER.fullmatch(text) for text in texts]
        return ([int(m[1]) for m in numbers if m], "index") if all(numbers) else (list(texts), "name")
    if layout.landmark >= 0:
        return [0] * len(lines), "index"
    return list(range(len(lines))), "index"


def _texts(table: Table, column: int, lines: Sequence[int]) -> list[str]:
    """What the cells of a column say."""
    rows = [table.rows[line] for line in lines]
    return [plain_text(row[column]) if 0 <= column < len(row) else "" for row in rows]


def _landmark_of_lines(path: Path, table: Table, layout: _Layout, lines: Sequence[int]) -> list[int]:
    """The landmark that each line is of; -1 for one of none."""
    by_name = _landmark_places()
    texts = _texts(table, layout.landmark, lines)
    numbers = [_FRAME_NUMBER.fullmatch(text) for text in texts]
    values = [int(m[1]) for m in numbers if m]
    offset = 1 if K in values and 0 not in values else 0
    found = []
    for line, text, match in zip(lines, texts, numbers, strict=True):
        landmark = int(match[1]) - offset if match else by_name.get(plain(text), -1 if not text else None)
        if landmark is None or landmark >= K:
            raise InputError(
                f"{path}: line {line + 1} has {text[:40]!r} as its landmark, expected a name or number of one of the "
                f"{K} of MediaPipe Pose"
            )
        found.append(landmark)
    return found


def _people(
    table: Table, layout: _Layout, lines: Sequence[int], keys: Sequence[int | str], landmarks: Sequence[int] | None
) -> list[tuple[int | str, list[int]]]:
    """The image of each person, and the lines of their 33 landmarks; -1 where there is none."""
    if landmarks is None:
        return [(key, [line] * K) for line, key in zip(lines, keys, strict=True)]
    open_people: dict[tuple, list[int]] = {}
    found = []
    for line, key, landmark in zip(lines, keys, landmarks, strict=True):
        if landmark < 0:
            continue
        row = table.rows[line]
        person = (key, plain_text(row[layout.person]) if 0 <= layout.person < len(row) else "")
        if person not in open_people or open_people[person][landmark] >= 0:
            open_people[person] = [-1] * K
            found.append((key, open_people[person]))
        open_people[person][landmark] = line
    return found


def _values(table: Table, layout: _Layout, own: Sequence[int]) -> np.ndarray:
    """(33, 3) x, y and visibility; NaN where there is none. ValueError with the rest of a sentence."""
    values = np.full((K, 3), np.nan)
    for landmark, line in enumerate(own):
        row = table.rows[line] if line >= 0 else ()
        if line >= 0 and len(row) != layout.width:
            raise ValueError(f"has {len(row)} cells, expected the {layout.width} of the first line")
        for axis, column in enumerate(layout.columns[landmark].tolist()):
            if line >= 0 and column >= 0:
                try:
                    values[landmark, axis] = number(row[column])
                except ValueError:
                    raise ValueError(f"has {row[column][:40]!r} in column {column + 1}, expected a number") from None
    return values


def _new(content: ParsedFile) -> Table:
    names = [
        "_".join(reversed(name.upper().split("_"))) if "mouth" in name else name.upper()
        for name in content.skeleton.keypoint_names
    ]
    title = "frame" if content.kind == "index" else "image"
    rows = [[title, *(f"{name}_{axis}" for name in names for axis in ("x", "y", "z", "visibility"))]]
    for key, people in zip(content.images, content.people_of(), strict=True):
        for person in people:
            scores = content.scores[person]
            points = np.round(content.keypoints[person], DECIMALS).tolist()
            cells = [
                [repr(x), repr(y), "0.0", repr(score)] if score > 0 else [""] * 4
                for (x, y), score in zip(points, np.round(scores, DECIMALS).tolist(), strict=True)
            ]
            rows.append([str(key), *(cell for four in cells for cell in four)])
        if not people:
            rows.append([str(key), *[""] * (4 * len(names))])
    return new_table(rows)


def _looks_like_mediapipe(probe: FileProbe) -> bool:
    start = probe.text.lstrip()
    if probe.is_folder or start[:1] in ("", "{", "["):
        return False
    table = parsed(start[: 1 << 16])
    titles = [plain_text(cell) for cell in table.rows[0]]
    layout = _layout(titles)
    if layout is None:
        return False
    if layout.landmark < 0:
        # Names that COCO has as well can be of any estimator.
        own = load(SKELETONS[0]).indices_from(load("coco17")) < 0
        return bool((layout.columns[own, :2] >= 0).all(1).any())
    return "landmark" in plain(titles[layout.landmark]) or "visibility" in titles


MEDIAPIPE_CSV = Format(
    name="mediapipe-csv",
    title="MediaPipe Pose in CSV",
    skeletons=SKELETONS,
    kind="name",
    sniff=_looks_like_mediapipe,
    read=read,
    write=write,
    relative=True,
    holds=frozenset({"scores", "empty"}),
)

"""DeepLabCut's CSV: a row for each frame or image, with columns for x, y and likelihood of each body part.

Three header rows name the columns: ``scorer``, ``bodyparts`` and ``coords``. With several animals ``individuals`` comes
second, and each individual is a person of every row in which it has coordinates. A row starts with the number of its
frame or the path of its image; labeled data have the path in three cells: ``labeled-data``, the video, the file.
Labeled data have no likelihood: their score is 1. Empty cells mean that there is no estimate. There are no boxes and no
scores of individuals.

Body parts are defined by each project: a skeleton has to be given, unless they are exactly those of a shipped one. They
are found by name, however it is spelled; columns of others, such as those of the individual ``single``, are handed
through. Cells that do not change keep their text. DeepLabCut's HDF5 holds the same table and is not read.

Sources: deeplabcut 3.0.2, pose_estimation_pytorch/apis/videos.py (create_df_from_prediction), utils/conversioncode.py
(convertcsv2h5), refine_training_dataset/stitch.py, pose_estimation_3d/triangulation.py.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from posefix.core import resources
from posefix.core.errors import InputError
from posefix.core.files import read_bytes, write_atomically
from posefix.core.skeleton import Skeleton, load
from posefix.formats.names import places, plain
from posefix.formats.parsed_file import Format, ImageKind, OnError, ParsedFile, PeopleBuilder, keep_equal
from posefix.formats.probe import FileProbe

COORDS = ("x", "y", "likelihood")
SINGLE = "single"  # the individual that holds body parts of no animal
HDF5 = b"\x89HDF\r\n\x1a\n"
_LEVELS = ("scorer", "individuals", "bodyparts", "coords")
_FRAME_NUMBER = re.compile(r"[0-9]{1,15}")
_NOTHING = {"", "nan", "none", "null", "na", "n/a", "<na>"}


@dataclass(frozen=True)
class Table:
    """A CSV file as text.

    Attributes:
        rows: the cells of each line as they stand there, with quotes and spaces.
        ends: how each line ends.
        delimiter: between cells.
        columns: (I, K, 3) int64 of x, y and likelihood of each individual's keypoints; -1 where there is no column.
        people: lines and individuals that are people.
    """

    rows: Sequence[Sequence[str]]
    ends: Sequence[str]
    delimiter: str
    columns: np.ndarray
    people: frozenset[tuple[int, int]]


def read(path: Path, skeleton: Skeleton | None, on_error: OnError) -> ParsedFile:
    """Read the people in a file."""
    rows, ends, delimiter = _read_cells(path)
    levels = [_plain(row[0]).lower() for row in rows[: len(_LEVELS)]]
    header = levels.index("coords") + 1 if "coords" in levels else 0
    if levels[:header] not in (list(_LEVELS), [level for level in _LEVELS if level != "individuals"]):
        raise InputError(
            f"{path}: does not start as DeepLabCut's CSV does, with rows called scorer, (individuals,) bodyparts and "
            "coords"
        )
    width = len(rows[header - 1])
    if any(len(row) != width for row in rows[:header]):
        raise InputError(f"{path}: its header rows are not of the same length")
    index = next((i for i, cell in enumerate(rows[header - 1]) if i and _plain(cell)), width)
    titles = list(zip(*([_plain(cell) for cell in row[index:]] for row in rows[:header]), strict=True))
    skeleton, individuals, columns = _columns(path, titles, skeleton)
    columns = np.where(columns >= 0, columns + index, -1)
    lines = [line for line in range(header, len(rows)) if any(cell.strip() for cell in rows[line])]
    keys = ["/".join(_plain(cell) for cell in rows[line][:index]) for line in lines]
    numbered = all(_FRAME_NUMBER.fullmatch(key) for key in keys)
    images: dict[int | str, int] = {
        key: place for place, key in enumerate(dict.fromkeys(map(int, keys) if numbered else keys))
    }
    people, taken = PeopleBuilder(path, skeleton, on_error), set()
    for line, key in zip(lines, keys, strict=True):
        for individual, name in enumerate(individuals):
            where = f"line {line + 1}, individual {name!r}" if len(individuals) > 1 else f"line {line + 1}"
            place = images[int(key) if numbered else key]
            if _add(people, where, place, rows[line], {"line": line, "individual": individual}, columns, width):
                taken.add((line, individual))
    table = Table(rows, ends, delimiter, columns, frozenset(taken))
    likelihoods = frozenset({"scores"}) if (columns[..., 2] >= 0).any() else frozenset()  # labeled data have none
    kind: ImageKind = "index" if numbered else "name"
    return people.parsed(list(images), kind, document=table, holds=likelihoods | {"empty"})


def write(path: Path, parsed: ParsedFile) -> None:
    """Write a file again, or a new one: coordinates with 3 decimals and likelihoods with 6."""
    table = parsed.document
    own = all(isinstance(r, Mapping) and {"line", "individual"} <= r.keys() for r in parsed.records)
    if not isinstance(table, Table) or not own:
        write_atomically(path, _new(parsed))
        return
    rows, gone = list(table.rows), set(table.people)
    for person, record in enumerate(parsed.records):
        line, individual = record["line"], record["individual"]
        gone.discard((line, individual))
        if not parsed.has_no_estimate(person):
            rows[line] = _with_numbers(rows[line], table.columns[individual], parsed, person)
    for line, individual in gone:
        empty = set(table.columns[individual].ravel().tolist())
        rows[line] = ["" if column in empty else cell for column, cell in enumerate(rows[line])]
    lines = (table.delimiter.join(row) + end for row, end in zip(rows, table.ends, strict=True))
    write_atomically(path, "".join(lines))


def _read_cells(path: Path) -> tuple[list[list[str]], list[str], str]:
    """The cells of each line, how it ends, and the delimiter: the one that the first line has most of."""
    content = read_bytes(path)
    if content.startswith(HDF5):
        raise InputError(
            f"{path}: is HDF5; save it as CSV (deeplabcut.analyze_videos_converth5_to_csv(folder), or "
            "save_as_csv=True in analyze_videos) and give that"
        )
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a UTF-8 text file (byte {error.start}), expected CSV") from None
    if not text.strip(" \t\r\n\x00\ufeff"):
        raise InputError(f"{path}: is empty, expected CSV")
    lines = text.splitlines(keepends=True)
    bodies = [line.rstrip("\r\n") for line in lines]
    delimiter = max(",;\t", key=bodies[0].count)
    unquoted = re.compile(delimiter + r'(?=(?:[^"]*"[^"]*")*[^"]*$)')  # a delimiter before an even number of quotes
    rows = [unquoted.split(body) if '"' in body else body.split(delimiter) for body in bodies]
    return rows, [line[len(body) :] for line, body in zip(lines, bodies, strict=True)], delimiter


def _columns(
    path: Path, titles: Sequence[Sequence[str]], skeleton: Skeleton | None
) -> tuple[Skeleton, list[str], np.ndarray]:
    """The skeleton, the individuals' names, and (I, K, 3) which column holds what; -1 where there is none.

    ``titles`` are of each column (scorer, body part, coordinate) or (scorer, individual, body part, coordinate).
    """
    coords = {title[-1] for title in titles}
    if not {"x", "y"} <= coords or "z" in coords:
        what = "3D coordinates" if "z" in coords else f"columns {', '.join(sorted(coords))[:80]}"
        raise InputError(f"{path}: has {what}, expected x, y and likelihood of each body part in pixels")
    parts = ", ".join(part[:30] for part in list(dict.fromkeys(title[-2] for title in titles))[:6])
    skeleton = skeleton or _shipped_skeleton(titles)
    if skeleton is None:
        raise InputError(
            f"{path}: has the body parts {parts}, which are not those of a shipped skeleton; describe them in a "
            "skeleton file and give it with --skeleton"
        )
    order = {**places(skeleton), **{name: place for place, name in enumerate(skeleton.keypoint_names)}}
    found: dict[tuple[str, ...], np.ndarray] = {}
    for column, (*owner, part, coord) in enumerate(titles):
        keypoint = order.get(part, order.get(plain(part)))
        if keypoint is not None and coord in COORDS:
            columns = found.setdefault(tuple(owner), np.full((len(skeleton), 3), -1, np.int64))
            if columns[keypoint, COORDS.index(coord)] < 0:
                columns[keypoint, COORDS.index(coord)] = column
    found = {owner: columns for owner, columns in found.items() if (columns[:, :2] >= 0).all(1).any()}
    if not found:
        raise InputError(
            f"{path}: has the body parts {parts}, none of which is a keypoint of {skeleton.name} "
            f"({', '.join(skeleton.keypoint_names[:3])}, ...)"
        )
    return skeleton, [owner[-1] for owner in found], np.stack(list(found.values()))


def _shipped_skeleton(titles: Sequence[Sequence[str]]) -> Skeleton | None:
    everything = {plain(title[-2]) for title in titles}
    of_animals = {plain(title[-2]) for title in titles if len(title) < 4 or title[1] != SINGLE}
    names = resources.available("skeletons")
    return next((load(name) for name in names if set(places(load(name))) in (everything, of_animals)), None)


def _add(
    people: PeopleBuilder,
    where: str,
    place: int,
    cells: Sequence[str],
    record: dict[str, Any],
    columns: np.ndarray,
    width: int,
) -> bool:
    """Take an individual of a row; False if it has no coordinates there."""
    try:
        if len(cells) != width:
            raise ValueError(f"has {len(cells)} cells, expected the {width} of the header")
        values = _numbers(cells, columns[record["individual"]])
    except ValueError as error:
        people.refuse(where, place, record, str(error))
        return True
    if not np.isfinite(values[:, :2]).all(1).any():
        return False
    scores = np.where(np.isnan(values[:, 2]), 1.0, values[:, 2])
    people.add(where, place, record, np.where(scores[:, None] == 0, np.nan, values[:, :2]), scores)
    return True


def _numbers(cells: Sequence[str], columns: np.ndarray) -> np.ndarray:
    """(K, 3) x, y and likelihood; NaN where there is none. ValueError with the rest of a sentence."""
    return np.array([[_number(cells[c]) if c >= 0 else np.nan for c in row] for row in columns.tolist()])


def _number(cell: str) -> float:
    text = _plain(cell)
    if text.lower() in _NOTHING:
        return float("nan")
    try:
        if "_" not in text:  # Python takes 1_0 for a number
            return float(text)
    except ValueError:
        pass
    raise ValueError(f"has {cell[:40]!r} in a cell, expected a number")


def _plain(cell: str) -> str:
    """What a cell says, without spaces, quotes and byte order mark around it."""
    cell = cell.removeprefix("\ufeff").strip()
    return cell[1:-1].replace('""', '"').strip() if len(cell) > 1 and cell[0] == cell[-1] == '"' else cell


def _with_numbers(cells: Sequence[str], columns: np.ndarray, parsed: ParsedFile, person: int) -> list[str]:
    """The cells of a row with the numbers of a person; as they were where they say the same."""
    points, scores = parsed.keypoints[person], parsed.scores[person]
    old, keep = _numbers(cells, columns), scores == 0
    unsaid = np.isnan(old[:, 2]) & (scores == 1)
    xy = keep_equal(old[:, :2].tolist(), points, 3, keep[:, None])
    new = np.column_stack([xy, keep_equal(old[:, 2].tolist(), scores, 6, keep | unsaid)]).astype(np.float64)
    changed = (columns >= 0) & ~((new == old) | (np.isnan(new) & np.isnan(old)))
    written = list(cells)
    for column, value in zip(columns[changed].tolist(), new[changed].tolist(), strict=True):
        written[column] = repr(value)
    return written


def _new(parsed: ParsedFile) -> str:
    groups = parsed.people_of()
    several = max([1, *map(len, groups)])
    parts = [(part, coord) for part in parsed.skeleton.keypoint_names for coord in COORDS]
    owners = [f"individual{i + 1}" for i in range(several)]
    rows = [
        ["scorer", *["PoseFix"] * (several * len(parts))],
        ["individuals", *(owner for owner in owners for _ in parts)],
        ["bodyparts", *([part for part, _ in parts] * several)],
        ["coords", *([coord for _, coord in parts] * several)],
    ]
    if several == 1:
        del rows[1]
    for key, people in zip(parsed.images, groups, strict=True):
        cells = [cell for person in people for cell in _new_cells(parsed, person)]
        rows.append([str(key), *cells, *[""] * (len(rows[0]) - 1 - len(cells))])
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _new_cells(parsed: ParsedFile, person: int) -> list[str]:
    points, scores = np.round(parsed.keypoints[person], 3), np.round(parsed.scores[person], 6)
    triples = np.column_stack([points, scores]).tolist()
    return ["" if triple[2] <= 0 else repr(value) for triple in triples for value in triple]


def _looks_like_deeplabcut(probe: FileProbe) -> bool:
    if probe.head.startswith(HDF5):  # refused in a sentence that says how to make CSV of it
        return True
    starts = [re.sub(r"\W.*", "", line.lstrip('"')) for line in probe.text.splitlines()[: len(_LEVELS)]]
    return starts[:1] == ["scorer"] and {"bodyparts", "coords"} <= set(starts)


DEEPLABCUT = Format(
    name="deeplabcut",
    title="DeepLabCut's CSV",
    skeletons=("coco17",),
    kind="name",
    sniff=_looks_like_deeplabcut,
    read=read,
    write=write,
    holds=frozenset({"scores", "empty"}),
)

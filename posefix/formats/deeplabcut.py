"""DeepLabCut's CSV: a row for each frame or image, with columns for x, y and likelihood of each body part.

Header rows name the columns: ``scorer``, with several animals ``individuals``, ``bodyparts`` and ``coords``. Each
individual is a person of every row in which it has coordinates. A row starts with the number of its frame or the path
of its image, which labeled data have in three cells; these have no likelihood: their score is 1. Body parts are found
by name, however it is spelled. Other columns are handed through, and cells that do not change keep their text.

Sources: deeplabcut 3.0.2, pose_estimation_pytorch/apis/videos.py (create_df_from_prediction), utils/conversioncode.py.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

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
_LEVELS = ["scorer", "individuals", "bodyparts", "coords"]
_FRAME_NUMBER = re.compile(r"[0-9]{1,15}")


@dataclass(frozen=True)
class Table:
    """A CSV file as text.

    Attributes:
        rows: the cells of each line as they stand there.
        newline: between lines.
        columns: (I, K, 3) int64 of x, y and likelihood of each individual's keypoints; -1 where there is no column.
        people: lines and individuals that are people.
    """

    rows: Sequence[Sequence[str]]
    newline: str
    columns: np.ndarray
    people: frozenset[tuple[int, int]]


def read(path: Path, skeleton: Skeleton | None, on_error: OnError) -> ParsedFile:
    """Read the people in a file."""
    rows, newline = _read_cells(path)
    header = _header_length(path, rows)
    width = len(rows[header - 1])
    index = next((i for i, cell in enumerate(rows[header - 1]) if i and _plain(cell)), width)
    titles = list(zip(*(map(_plain, row[index:]) for row in rows[:header]), strict=True))
    skeleton, individuals, columns = _columns(path, titles, skeleton)
    columns = np.where(columns >= 0, columns + index, -1)
    lines = [line for line in range(header, len(rows)) if any(map(_plain, rows[line]))]
    keys: list[int | str] = ["/".join(_plain(cell) for cell in rows[line][:index]) for line in lines]
    kind: ImageKind = "index" if all(_FRAME_NUMBER.fullmatch(str(key)) for key in keys) else "name"
    if kind == "index":
        keys = [int(key) for key in keys]
    frames = {key: frame for frame, key in enumerate(dict.fromkeys(keys))}
    people, taken = PeopleBuilder(path, skeleton, on_error), set()
    for line, key in zip(lines, keys, strict=True):
        for individual, name in enumerate(individuals):
            where = f"line {line + 1}, individual {name!r}" if len(individuals) > 1 else f"line {line + 1}"
            record = {"line": line, "individual": individual}
            try:
                values = _numbers(rows[line], columns[individual], width)
            except ValueError as error:
                people.refuse(where, frames[key], record, str(error))
            else:
                if not np.isfinite(values[:, :2]).all(1).any():
                    continue
                scores = np.where(np.isnan(values[:, 2]), 1.0, values[:, 2])
                points = np.where(scores[:, None] == 0, np.nan, values[:, :2])
                people.add(where, frames[key], record, points, scores)
            taken.add((line, individual))
    holds = {"empty", "scores"} if (columns[..., 2] >= 0).any() else {"empty"}  # labeled data have no likelihood
    table = Table(rows, newline, columns, frozenset(taken))
    return people.parsed(list(frames), kind, document=table, holds=frozenset(holds))


def write(path: Path, parsed: ParsedFile) -> None:
    """Write a file again, or a new one: coordinates with 3 decimals and likelihoods with 6."""
    table = parsed.document
    if table is None:
        write_atomically(path, _new(path, parsed))
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
    write_atomically(path, table.newline.join(",".join(row) for row in rows))


def _read_cells(path: Path) -> tuple[list[list[str]], str]:
    """The cells of each line, and what ends the lines."""
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
    if not _plain(text):
        raise InputError(f"{path}: is empty, expected CSV")
    newline = "\r\n" if "\r\n" in text else "\n"
    return [line.split(",") for line in text.split(newline)], newline


def _header_length(path: Path, rows: Sequence[Sequence[str]]) -> int:
    levels = [_plain(row[0]).lower() for row in rows[: len(_LEVELS)]]
    header = levels.index("coords") + 1 if "coords" in levels else 0
    if levels[:header] not in (_LEVELS, [level for level in _LEVELS if level != "individuals"]):
        raise InputError(
            f"{path}: does not start as DeepLabCut's CSV does, with rows called scorer, (individuals,) bodyparts and "
            "coords"
        )
    if len({len(row) for row in rows[:header]}) > 1:
        raise InputError(f"{path}: its header rows are not of the same length")
    return header


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
    skeleton = skeleton or _shipped_skeleton(titles)
    spelled = {name: place for place, name in enumerate(skeleton.keypoint_names)} if skeleton else {}
    order = {**places(skeleton), **spelled} if skeleton else {}
    owners = list(dict.fromkeys(title[:-2] for title in titles))
    columns = np.full((len(owners), len(skeleton or ()), 3), -1, np.int64)
    for column, (*owner, part, coord) in enumerate(titles):
        keypoint = order.get(part, order.get(plain(part)))
        if coord in COORDS and keypoint is not None:
            columns[owners.index(tuple(owner)), keypoint, COORDS.index(coord)] = column
    known = np.flatnonzero((columns[..., :2] >= 0).all(2).any(1))
    if skeleton is None or not len(known):
        parts = ", ".join(part[:30] for part in list(dict.fromkeys(title[-2] for title in titles))[:6])
        if skeleton:
            names = ", ".join(skeleton.keypoint_names[:3])
            raise InputError(
                f"{path}: has the body parts {parts}, none of which is a keypoint of {skeleton.name} ({names}, ...)"
            )
        raise InputError(
            f"{path}: has the body parts {parts}, which are not those of a shipped skeleton; describe them in a "
            "skeleton file and give it with --skeleton"
        )
    return skeleton, [owners[i][-1] for i in known.tolist()], columns[known]


def _shipped_skeleton(titles: Sequence[Sequence[str]]) -> Skeleton | None:
    everything = {plain(title[-2]) for title in titles}
    of_animals = {plain(title[-2]) for title in titles if len(title) < 4 or title[1] != SINGLE}
    names = resources.available("skeletons")
    return next((load(name) for name in names if set(places(load(name))) in (everything, of_animals)), None)


def _numbers(cells: Sequence[str], columns: np.ndarray, width: int) -> np.ndarray:
    """(K, 3) x, y and likelihood; NaN where there is none. ValueError with the rest of a sentence."""
    if len(cells) != width:
        raise ValueError(f"has {len(cells)} cells, expected the {width} of the header")
    return np.array([[_number(cells[c]) if c >= 0 else np.nan for c in row] for row in columns.tolist()])


def _number(cell: str) -> float:
    try:
        return float(_plain(cell) or "nan")
    except ValueError:
        raise ValueError(f"has {cell[:40]!r} in a cell, expected a number") from None


def _plain(cell: str) -> str:
    """A cell without the spaces and the byte order mark around it."""
    return cell.strip("\ufeff \t\r\n\0")


def _with_numbers(cells: Sequence[str], columns: np.ndarray, parsed: ParsedFile, person: int) -> list[str]:
    """The cells of a row with the numbers of a person; as they were where they say the same."""
    points, scores = parsed.keypoints[person], parsed.scores[person]
    old, keep = _numbers(cells, columns, len(cells)), scores == 0
    unsaid = np.isnan(old[:, 2]) & (scores == 1)
    xy = keep_equal(old[:, :2].tolist(), points, 3, keep[:, None])
    new = np.column_stack([xy, keep_equal(old[:, 2].tolist(), scores, 6, keep | unsaid)]).astype(np.float64)
    changed = (columns >= 0) & ~((new == old) | (np.isnan(new) & np.isnan(old)))
    written = list(cells)
    for column, value in zip(columns[changed].tolist(), new[changed].tolist(), strict=True):
        written[column] = repr(value)
    return written


def _new(path: Path, parsed: ParsedFile) -> str:
    if (name := next((key for key in map(str, parsed.images) if "," in key), None)) is not None:
        raise InputError(f"{path}: the image name {name!r} has a comma, and cannot be written to DeepLabCut's CSV")
    groups = parsed.people_of()
    owners = [f"individual{i + 1}" for i in range(max([1, *map(len, groups)]))]
    titles = [(owner, part, coord) for owner in owners for part in parsed.skeleton.keypoint_names for coord in COORDS]
    rows = [[name, *values] for name, values in zip(_LEVELS[1:], zip(*titles, strict=True), strict=True)]
    rows = [["scorer", *["PoseFix"] * len(titles)], *(rows if len(owners) > 1 else rows[1:])]
    for key, people in zip(parsed.images, groups, strict=True):
        cells = [cell for person in people for cell in _new_cells(parsed, person)]
        rows.append([str(key), *cells, *[""] * (len(titles) - len(cells))])
    return "".join(",".join(row) + "\n" for row in rows)


def _new_cells(parsed: ParsedFile, person: int) -> list[str]:
    points, scores = np.round(parsed.keypoints[person], 3), np.round(parsed.scores[person], 6)
    triples = np.column_stack([points, scores]).tolist()
    return ["" if triple[2] <= 0 else repr(value) for triple in triples for value in triple]


def _looks_like_deeplabcut(probe: FileProbe) -> bool:
    if probe.head.startswith(HDF5):  # refused in a sentence that says how to make CSV of it
        return True
    starts = [re.sub(r"\W.*", "", line) for line in probe.text.splitlines()[: len(_LEVELS)]]
    return starts[:1] == ["scorer"] and {"bodyparts", "coords"} <= set(starts)


FORMAT = Format(
    name="deeplabcut",
    title="DeepLabCut's CSV",
    skeletons=("coco17",),
    kind="name",
    sniff=_looks_like_deeplabcut,
    read=read,
    write=write,
    holds=frozenset({"scores", "empty"}),
)

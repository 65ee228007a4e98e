"""DeepLabCut's CSV: a row for each frame or image, with columns for x, y and likelihood of each body part.

Header rows name the columns: ``scorer``, with several animals ``individuals``, ``bodyparts`` and ``coords``. Each
individual is a person of every row in which it has coordinates. A row starts with the number of its frame or the path
of its image. Body parts are found by name, however it is spelled. Other columns are handed through, and cells that do
not change keep their text.

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
from posefix.core.files import as_text, read_bytes, write_atomically
from posefix.core.skeleton import Skeleton, load
from posefix.formats.names import places, plain
from posefix.formats.parsed_file import Format, OnError, ParsedFile, PeopleBuilder, keep_equal
from posefix.formats.probe import FileProbe

COORDS = ("x", "y", "likelihood")
HDF5 = b"\x89HDF\r\n\x1a\n"
_LEVELS = ["scorer", "individuals", "bodyparts", "coords"]
_FRAME_NUMBER = re.compile(r"[0-9]{1,15}")


@dataclass(frozen=True)
class Table:
    """A CSV file as text.

    Attributes:
        rows: the cells of each line as they stand there.
        newline: between lines.
        columns: (I, K, 3) int64 of x, y and likelihood of each individual's keypoints; -1 where there is none.
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
    skeleton, individuals, columns = _columns(path, rows[:header], skeleton)
    lines = [line for line in range(header, len(rows)) if any(map(str.strip, rows[line]))]
    keys: list[int | str] = [rows[line][0].strip() for line in lines]
    numbered = all(_FRAME_NUMBER.fullmatch(str(key)) for key in keys)
    keys = [int(key) for key in keys] if numbered else keys
    frames = {key: frame for frame, key in enumerate(dict.fromkeys(keys))}
    people, taken = PeopleBuilder(path, skeleton, on_error), set()
    for line, key in zip(lines, keys, strict=True):
        for individual, name in enumerate(individuals):
            where = f"line {line + 1}, individual {name!r}" if len(individuals) > 1 else f"line {line + 1}"
            record = {"line": line, "individual": individual}
            try:
                if len(rows[line]) != len(rows[0]):
                    raise ValueError(f"has {len(rows[line])} cells, expected the {len(rows[0])} of the header")
                values = _numbers(rows[line], columns[individual])
            except ValueError as error:
                people.refuse(where, frames[key], record, str(error))
            else:
                if not np.isfinite(values[:, :2]).all(1).any():
                    continue
                points = np.where(values[:, 2:] == 0, np.nan, values[:, :2])
                people.add(where, frames[key], record, np.column_stack([points, values[:, 2]]))
            taken.add((line, individual))
    table = Table(rows, newline, columns, frozenset(taken))
    return people.parsed(list(frames), "index" if numbered else "name", document=table)


def write(path: Path, parsed: ParsedFile) -> None:
    """Write a file again, or a new one: coordinates with 3 decimals and likelihoods with 6."""
    table = parsed.document
    if table is None:
        write_atomically(path, _new(path, parsed))
        return
    rows, gone = [list(row) for row in table.rows], set(table.people)
    for person, record in enumerate(parsed.records):
        line, individual = record["line"], record["individual"]
        gone.discard((line, individual))
        if not parsed.has_no_estimate(person):
            _put(rows[line], table.columns[individual], parsed, person)
    for line, individual in gone:
        for column in table.columns[individual][table.columns[individual] >= 0].tolist():
            rows[line][column] = ""
    write_atomically(path, table.newline.join(",".join(row) for row in rows))


def _read_cells(path: Path) -> tuple[list[list[str]], str]:
    """The cells of each line, and what ends the lines."""
    content = read_bytes(path)
    if content.startswith(HDF5):
        raise InputError(
            f"{path}: is HDF5; save it as CSV (deeplabcut.analyze_videos_converth5_to_csv(folder), or "
            "save_as_csv=True in analyze_videos) and give that"
        )
    text = as_text(path, content, "CSV")
    newline = "\r\n" if "\r\n" in text else "\n"
    return [line.split(",") for line in text.split(newline)], newline


def _header_length(path: Path, rows: Sequence[Sequence[str]]) -> int:
    levels = [row[0].strip() for row in rows[: len(_LEVELS)]]
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
    path: Path, header: Sequence[Sequence[str]], skeleton: Skeleton | None
) -> tuple[Skeleton, list[str], np.ndarray]:
    """The skeleton, the individuals' names, and (I, K, 3) which column holds what; -1 where there is none."""
    titles = list(zip(*([cell.strip() for cell in row] for row in header), strict=True))[1:]
    coords = {title[-1] for title in titles}
    if not coords >= set(COORDS):
        found = ", ".join(sorted(coords))[:80]
        raise InputError(f"{path}: has columns {found}, expected x, y and likelihood of each body part in pixels")
    parts = {plain(title[-2]): title[-2] for title in titles}
    skeletons = [skeleton] if skeleton else map(load, resources.available("skeletons"))
    skeleton = next((one for one in skeletons if skeleton or set(places(one)) <= parts.keys()), None)
    order = places(skeleton) if skeleton else {}
    owners = list(dict.fromkeys(title[:-2] for title in titles))
    columns = np.full((len(owners), len(order), 3), -1, np.int64)
    for column, (*owner, part, coord) in enumerate(titles, start=1):
        if coord in COORDS and plain(part) in order:
            columns[owners.index(tuple(owner)), order[plain(part)], COORDS.index(coord)] = column
    columns[(columns < 0).any(2)] = -1
    known = np.flatnonzero((columns >= 0).any((1, 2)))
    if skeleton is None or not len(known):
        raise InputError(
            f"{path}: has the body parts {', '.join(part[:30] for part in list(parts.values())[:6])}, which are not "
            f"those of {skeleton.name if skeleton else 'a shipped skeleton'}; describe them in a skeleton file and "
            "give it with --skeleton"
        )
    return skeleton, [owners[i][-1] for i in known.tolist()], columns[known]


def _numbers(cells: Sequence[str], columns: np.ndarray) -> np.ndarray:
    """(K, 3) x, y and likelihood; NaN where there is none. ValueError with the rest of a sentence."""

    def number(cell: str) -> float:
        try:
            return float(cell.strip() or "nan")
        except ValueError:
            raise ValueError(f"has {cell[:40]!r} in a cell, expected a number") from None

    return np.array([[number(cells[c]) if c >= 0 else np.nan for c in row] for row in columns.tolist()])


def _put(cells: list[str], columns: np.ndarray, parsed: ParsedFile, person: int) -> None:
    """Put the numbers of a person that changed into the cells of a row."""
    points, scores = parsed.keypoints[person], parsed.scores[person]
    old, keep = _numbers(cells, columns), scores == 0
    xy = keep_equal(old[:, :2].tolist(), points, 3, keep[:, None])
    new = np.column_stack([xy, keep_equal(old[:, 2].tolist(), scores, 6, keep)]).astype(np.float64)
    changed = (columns >= 0) & (new != old) & np.isfinite(new)
    for column, value in zip(columns[changed].tolist(), new[changed].tolist(), strict=True):
        cells[column] = repr(value)


def _new(path: Path, parsed: ParsedFile) -> str:
    if (name := next((key for key in map(str, parsed.images) if "," in key), None)) is not None:
        raise InputError(f"{path}: the image name {name!r} has a comma, and cannot be written to DeepLabCut's CSV")
    groups = parsed.people_of()
    owners = [f"individual{i + 1}" for i in range(max([1, *map(len, groups)]))]
    titles = [(owner, part, coord) for owner in owners for part in parsed.skeleton.keypoint_names for coord in COORDS]
    rows = [[name, *values] for name, values in zip(_LEVELS[1:], zip(*titles, strict=True), strict=True)]
    rows = [["scorer", *["PoseFix"] * len(titles)], *(rows if len(owners) > 1 else rows[1:])]
    for key, people in zip(parsed.images, groups, strict=True):
        points, scores = np.round(parsed.keypoints[people], 3), np.round(parsed.scores[people], 6)
        triples = np.concatenate([points, scores[..., None]], axis=-1).reshape(-1, 3).tolist()
        cells = [repr(value) if triple[2] > 0 else "" for triple in triples for value in triple]
        rows.append([str(key), *cells, *[""] * (len(titles) - len(cells))])
    return "".join(",".join(row) + "\n" for row in rows)


def _looks_like_deeplabcut(probe: FileProbe) -> bool:
    if probe.head.startswith(HDF5):  # refused in a sentence that says how to make CSV of it
        return True
    starts = [line.split(",")[0].strip() for line in probe.text.splitlines()[: len(_LEVELS)]]
    return starts[:1] == ["scorer"] and {"bodyparts", "coords"} <= set(starts)


FORMAT = Format(
    name="deeplabcut",
    title="DeepLabCut's CSV",
    skeletons=("coco17",),
    kind="name",
    sniff=_looks_like_deeplabcut,
    read=read,
    write=write,
    holds=frozenset({"scores"}),
)

"""DeepLabCut's CSV: a row per frame or image, with columns for x, y and likelihood of each body part.

Header rows name the columns: ``scorer``, with several animals ``individuals``, ``bodyparts`` and ``coords``. Each
individual is a person in every row in which it has coordinates. A row starts with its frame number or image path. Body
parts are matched by name in any spelling. Other columns are passed through, and unchanged cells keep their text.

Sources: deeplabcut 3.0.2, pose_estimation_pytorch/apis/videos.py (create_df_from_prediction), utils/conversioncode.py.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from posefix.core import resources
from posefix.core.errors import InputError
from posefix.core.files import as_text, read_bytes, write_atomically
from posefix.core.skeleton import Skeleton, load
from posefix.formats.names import places, plain
from posefix.formats.parsed_file import Format, OnError, ParsedFile
from posefix.formats.people_builder import PeopleBuilder
from posefix.formats.probe import FileProbe
from posefix.formats.records import is_estimate
from posefix.formats.text_table import TextTable

COORDS = ("x", "y", "likelihood")
HDF5 = b"\x89HDF\r\n\x1a\n"
_LEVELS = ["scorer", "individuals", "bodyparts", "coords"]
_CELL = re.compile(r"(?<![^,])[^,\r]*")
_FRAME_NUMBER = re.compile(r"[0-9]{1,15}")


def read(path: Path, skeleton: Skeleton | None, on_error: OnError) -> ParsedFile:
    """Read the people in a file."""
    content = read_bytes(path)
    if content.startswith(HDF5):
        raise InputError(
            f"{path}: is HDF5; save CSV instead (deeplabcut.analyze_videos_converth5_to_csv(folder), or "
            "save_as_csv=True in analyze_videos)"
        )
    lines = as_text(path, content, "CSV").split("\n")
    header = _header(path, lines)
    skeleton, individuals, columns = _columns(path, header, skeleton)
    table = TextTable(lines, _CELL, columns, (3, 3, 6), {"": len(lines)})
    rows = [line for line in range(len(header), len(lines)) if lines[line].strip(", \r")]
    labels: list[int | str] = [_CELL.findall(lines[row])[0].strip() for row in rows]
    is_video = all(_FRAME_NUMBER.fullmatch(str(label)) for label in labels)
    labels = [int(label) for label in labels] if is_video else labels
    frames = {label: frame for frame, label in enumerate(dict.fromkeys(labels))}
    people = PeopleBuilder(path, skeleton, on_error)
    for line, label in zip(rows, labels, strict=True):
        count = len(_CELL.findall(lines[line]))
        for individual, name in enumerate(individuals):
            where = f"line {line + 1}, individual {name!r}" if len(individuals) > 1 else f"line {line + 1}"
            record = {"line": line, "individual": individual}
            try:
                if count != len(header[0]):
                    raise ValueError(f"{count} cells, expected the {len(header[0])} of the header")
                triples = table.triples(line, individual)
            except ValueError as error:
                people.refuse(where, frames[label], record, f"cannot be read: {error}")
            else:
                if not np.isfinite(triples[:, :2]).all(1).any():
                    continue
                triples[~is_estimate(triples)] = np.nan
                people.add(where, frames[label], record, triples, track_id=individual)
            table.people.add((line, individual))
    return people.parsed(list(frames), "index" if is_video else "name", document=table)


def write(path: Path, parsed: ParsedFile) -> None:
    """Write a file again, or a new one: coordinates with 3 decimals and likelihoods with 6."""
    table: TextTable | None = parsed.document
    if table is None:
        write_atomically(path, _new(path, parsed))
        return
    lines, removed = table.with_people(parsed)
    for line, individual in removed:
        cells = table.columns[individual][table.columns[individual] >= 0]
        lines[line] = table.with_cells(lines[line], cells, [""] * len(cells))
    table.write(path, lines)


def _header(path: Path, lines: Sequence[str]) -> list[list[str]]:
    """Return the cells of the header rows."""
    rows = [[cell.strip() for cell in _CELL.findall(line)] for line in lines[: len(_LEVELS)]]
    levels = [row[0] for row in rows]
    count = levels.index("coords") + 1 if "coords" in levels else 0
    valid = levels[:count] in (_LEVELS, [level for level in _LEVELS if level != "individuals"])
    if not valid or len(set(map(len, rows[:count]))) > 1:
        raise InputError(
            f"{path}: does not start as DeepLabCut's CSV does, with rows of the same length called scorer, "
            "(individuals,) bodyparts and coords"
        )
    return rows[:count]


def _columns(
    path: Path, header: Sequence[Sequence[str]], skeleton: Skeleton | None
) -> tuple[Skeleton, list[str], np.ndarray]:
    """Return the skeleton, the individuals' names, and (I, K, 3) column indices; -1 where there is none."""
    headings = list(zip(*header, strict=True))[1:]
    coord_names = {heading[-1] for heading in headings}
    if not coord_names >= set(COORDS):
        found = ", ".join(sorted(coord_names))[:80]
        raise InputError(f"{path}: has columns {found}, expected x, y and likelihood of each body part in pixels")
    parts = {plain(heading[-2]): heading[-2] for heading in headings}
    skeletons = [skeleton] if skeleton else map(load, resources.available("skeletons"))
    skeleton = next((candidate for candidate in skeletons if skeleton or set(places(candidate)) <= parts.keys()), None)
    order = places(skeleton) if skeleton else {}
    individuals = list(dict.fromkeys(heading[:-2] for heading in headings))
    columns = np.full((len(individuals), len(order), 3), -1, np.int64)
    for column, (*individual, part, coord) in enumerate(headings, start=1):
        if coord in COORDS and plain(part) in order:
            columns[individuals.index(tuple(individual)), order[plain(part)], COORDS.index(coord)] = column
    columns[(columns < 0).any(2)] = -1
    used = np.flatnonzero((columns >= 0).any((1, 2)))
    if skeleton is None or not len(used):
        raise InputError(
            f"{path}: has the body parts {', '.join(part[:30] for part in list(parts.values())[:6])}, which are not "
            f"those of {skeleton.name if skeleton else 'a shipped skeleton'}; describe them in a skeleton file and "
            "give it with --skeleton"
        )
    return skeleton, [individuals[i][-1] for i in used.tolist()], columns[used]


def _new(path: Path, parsed: ParsedFile) -> str:
    if (name := next((key for key in map(str, parsed.images) if "," in key), None)) is not None:
        raise InputError(f"{path}: the image name {name!r} has a comma, and cannot be written to DeepLabCut's CSV")
    groups, slots = parsed.people_of(), _individuals(parsed)
    owners = [f"individual{i + 1}" for i in range(max(slots, default=0) + 1)]
    headings = [(owner, part, coord) for owner in owners for part in parsed.skeleton.keypoint_names for coord in COORDS]
    rows = [[name, *values] for name, values in zip(_LEVELS[1:], zip(*headings, strict=True), strict=True)]
    rows = [["scorer", *["PoseFix"] * len(headings)], *(rows if len(owners) > 1 else rows[1:])]
    for key, people in zip(parsed.images, groups, strict=True):
        triples = np.zeros((len(owners), len(parsed.skeleton), 3))
        triples[slots[people], :, :2] = np.round(parsed.keypoints[people], 3)
        triples[slots[people], :, 2] = np.round(parsed.scores[people], 6)
        cells = (repr(value) if triple[2] > 0 else "" for triple in triples.reshape(-1, 3).tolist() for value in triple)
        rows.append([str(key), *cells])
    return "".join(",".join(row) + "\n" for row in rows)


def _individuals(parsed: ParsedFile) -> np.ndarray:
    """Return (N,) int64 individual of each person: one per track or, without tracks, the n-th of each frame."""
    ids, slots = np.unique(parsed.track_ids, return_inverse=True)
    if (ids >= 0).all() and len(np.unique(np.column_stack([parsed.frames, slots]), axis=0)) == len(slots):
        return slots
    for people in parsed.people_of():
        slots[people] = np.arange(len(people))
    return slots


def _looks_like_deeplabcut(probe: FileProbe) -> bool:
    if probe.head.startswith(HDF5):  # refused by read, which says how to convert it
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

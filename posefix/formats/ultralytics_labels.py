"""Ultralytics' pose labels: a text file per image, with a line per detection.

``model.predict(..., save_txt=True)`` writes ``labels/IMAGE.txt`` for ``IMAGE.jpg``::

    class  cx cy w h  x y confidence  x y confidence ...  [confidence of the box] [track id]

with coordinates as fractions of the image. The box's confidence exists with ``save_conf=True``, the track id for
tracked people. Models without visibility have x and y only. Keypoints at (0, 0) were not found. The frames of a video
are ``VIDEO_1.txt``, ``VIDEO_2.txt``, ... Lines of classes other than 0 are passed through.

Sources: Ultralytics 8.0.196 to 8.4.190, ultralytics/engine/results.py (Results.save_txt).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from posefix.core.errors import InputError
from posefix.core.files import as_text, files_in, read_bytes, without_ending, write_folder
from posefix.core.skeleton import Skeleton, load
from posefix.formats.frames import file_names, usable_files
from posefix.formats.parsed_file import Format, OnError, ParsedFile
from posefix.formats.people_builder import PeopleBuilder
from posefix.formats.per_image import box_or_extent, require_other_people
from posefix.formats.probe import FileProbe
from posefix.formats.records import is_estimate, track_id_of
from posefix.formats.text_table import TextTable
from posefix.formats.ultralytics import PERSON, SKELETONS

BOX = 5  # columns before the keypoints: class and box
_CELL = re.compile(r"\S+")


def read(path: Path, skeleton: Skeleton | None, on_error: OnError) -> ParsedFile:
    """Read a label file or a folder of them; the default skeleton follows from the number of columns."""
    names = files_in(path, ".txt") if path.is_dir() else [""]
    files, copied, problems = usable_files(path, names, lambda name: _lines(path / name), on_error)
    lines = list(chain(*files.values()))
    detections = [line for line in lines if _numbers(line)[:1] == [PERSON]]
    count, width, ends_in_id = _columns(path, detections, skeleton)
    end = BOX + count * width
    columns = np.full((1, count, 3), -1)
    columns[..., :width] = np.arange(BOX, end).reshape(count, width)
    table = TextTable(lines, _CELL, columns, (7, 7, 7), {name: len(files[name]) for name in files}, copied)
    default_name = next((name for name in SKELETONS if len(load(name)) == count), SKELETONS[0])
    people = PeopleBuilder(path, skeleton or load(default_name), on_error)
    people.problems.extend(problems)
    positions = ((frame, name, number) for frame, name in enumerate(files) for number in range(len(files[name])))
    for line, (frame, name, number) in enumerate(positions):
        row, where = _numbers(lines[line]), f"{name}, line {number + 1}".removeprefix(", ")
        if not lines[line].strip() or (row and row[0] != PERSON):
            continue
        table.people.add((line, 0))
        record, extra = {"line": line, "individual": 0}, len(row) - end
        if not 0 <= extra <= 2:
            problem = f"has {len(row)} numbers" if row else "has something in it that is no number"
            people.refuse(where, frame, record, f"{problem}, expected {end} to {end + 2} for {count} keypoints")
            continue
        score = row[end] if extra == 2 or (extra == 1 and not ends_in_id) else None
        if score is not None:
            table.score_columns[line] = end
        (cx, cy, w, h), triples = row[1:BOX], table.triples(line, 0)
        people.not_finite += not np.isfinite(triples).all()
        triples[~is_estimate(triples), :2] = np.nan
        track_id = track_id_of(row[-1]) if extra == 2 or (extra == 1 and ends_in_id) else -1
        people.add(where, frame, record, triples, [cx - w / 2, cy - h / 2, w, h], score, track_id)
    holds = {"boxes", *(["scores"] if width == 3 else [])}
    if len(table.score_columns) == len(detections):
        holds.add("person_scores")
    keys = [without_ending(name or path.name, ".txt") for name in files]
    parsed = people.parsed(keys, "name", document=table, holds=frozenset(holds))
    require_other_people(problems, parsed)
    return parsed


def write(path: Path, parsed: ParsedFile) -> None:
    """Write the lines that were read with only the changed numbers replaced, or a folder with new files.

    New lines have the box's confidence. Images without people get an empty file.
    """
    table: TextTable | None = parsed.document
    if table is None:
        new = ["".join(_new_line(parsed, person) for person in people) for people in parsed.people_of()]
        write_folder(path, zip(file_names(path, parsed.images, ".txt"), new, strict=True))
        return
    lines, removed = table.with_people(parsed)
    table.write(path, [None if (number, 0) in removed else line for number, line in enumerate(lines)])


def _lines(path: Path) -> list[str]:
    lines = as_text(path, read_bytes(path), "labels").split("\n")
    filled = [line for line in lines if line.strip()]
    if filled and all(len(_numbers(line)) < BOX for line in filled):
        raise InputError(f"{path}: is not a label file, its first line is {filled[0].strip()[:40]!r}, expected numbers")
    return lines


def _numbers(line: str) -> list[float]:
    """Return the numbers of a line; none if it contains anything else."""
    try:
        return [float(token) for token in line.split()]
    except ValueError:
        return []


def _columns(path: Path, lines: Sequence[str], skeleton: Skeleton | None) -> tuple[int, int, bool]:
    """Return the number of keypoints, of numbers for each (3 or 2), and whether a lone extra column is the track id."""
    counts = Counter(len(line.split()) for line in lines)
    sizes = [len(skeleton)] if skeleton else [len(load(name)) for name in SKELETONS]
    possible = [(count, width) for width in (3, 2) for count in sizes]
    matching_lines = [sum(counts[BOX + count * width + extra] for extra in range(3)) for count, width in possible]
    if lines and not any(matching_lines):
        raise InputError(
            f"{path}: has lines of {counts.most_common(1)[0][0]} numbers, expected class and box, 2 or 3 for each of "
            f"{', '.join(map(str, sizes))} keypoints, and up to 2 more; give other keypoints with --skeleton"
        )
    count, width = possible[int(np.argmax(matching_lines))]
    last_columns = [line.split()[-1] for line in lines if len(line.split()) == BOX + count * width + 1]
    return count, width, bool(last_columns) and all(re.fullmatch("[1-9][0-9]*", text) for text in last_columns)


def _new_line(parsed: ParsedFile, person: int) -> str:
    x, y, width, height = box_or_extent(parsed, person)
    triples = np.column_stack([parsed.keypoints[person], parsed.scores[person]])
    numbers = [x + width / 2, y + height / 2, width, height, *triples.ravel().tolist()]
    confidence = round(float(parsed.person_scores[person]), 6)  # float: its point tells it from a track id
    track_id = f" {parsed.track_ids[person]}" if parsed.track_ids[person] >= 0 else ""
    return f"{PERSON} {' '.join(f'{number + 0.0:.7g}' for number in numbers)} {confidence!r}{track_id}\n"


def _looks_like_labels(probe: FileProbe) -> bool:
    if probe.is_folder:
        return any(map(_looks_like_labels, probe.files(".txt")))
    row = _numbers(next((line for line in probe.text.split("\n") if line.strip()), ""))
    return probe.name.endswith(".txt") and len(row) >= BOX and row[0].is_integer()


FORMAT = Format(
    name="ultralytics-labels",
    title="Ultralytics' labels",
    skeletons=SKELETONS,
    kind="name",
    sniff=_looks_like_labels,
    read=read,
    write=write,
    relative=True,
    folder=True,
    first_frame=1,
    estimator_ap=59.0,
)

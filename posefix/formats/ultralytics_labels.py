"""Ultralytics' pose labels: a text file for each image, with a line for each detection.

``model.predict(..., save_txt=True)`` writes ``labels/IMAGE.txt`` for ``IMAGE.jpg``::

    class  cx cy w h  x y confidence  x y confidence ...  [confidence of the box] [track id]

all coordinates as fractions of the image. The box's confidence is there with ``save_conf=True``, the track id for
tracked people. Models without visibility have x and y alone. A keypoint at (0, 0) was not found. The frames of a video
are ``VIDEO_1.txt``, ``VIDEO_2.txt``, ... Lines of other classes than 0 are handed through.

Sources: Ultralytics 8.0.196 to 8.4.190, ultralytics/engine/results.py (Results.save_txt).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from posefix.core.errors import InputError
from posefix.core.files import as_text, files_in, read_bytes, without_gz, write_atomically, write_folder
from posefix.core.skeleton import Skeleton, load
from posefix.formats.frames import file_names, usable_files
from posefix.formats.parsed_file import Format, OnError, ParsedFile, PeopleBuilder, keep_equal
from posefix.formats.per_image import require_other_people, to_corners
from posefix.formats.probe import FileProbe

SKELETONS = ("coco17", "halpe26", "coco_wholebody133", "mpii16", "crowdpose14")
PERSON = 0  # the class
BOX = 5  # columns before the keypoints: class and box


@dataclass(frozen=True)
class Columns:
    """What the columns of the lines are.

    Attributes:
        keypoints: how many there are.
        width: numbers for each, 2 or 3.
        lone_id: one column behind the keypoints is the track id, not the box's confidence.
    """

    keypoints: int
    width: int
    lone_id: bool = False

    @property
    def end(self) -> int:
        """Number of columns up to the last keypoint."""
        return BOX + self.keypoints * self.width

    def fits(self, count: int) -> bool:
        """Whether a line can have so many columns."""
        return 0 <= count - self.end <= 2

    def has_confidence(self, count: int) -> bool:
        """Whether a line of so many columns has the box's confidence."""
        return count - self.end == 2 or (count - self.end == 1 and not self.lone_id)

    def triples(self, row: Sequence[float]) -> np.ndarray:
        """(K, 3) x, y and score of a line; x and y NaN where nothing was found."""
        grid = np.array(row[BOX : self.end]).reshape(self.keypoints, self.width)
        absent = (grid[:, :2] == 0).all(1) | (grid[:, 2:] == 0).any(1)
        scores = grid[:, 2] if self.width == 3 else np.ones(self.keypoints)
        return np.column_stack([np.where(absent[:, None], np.nan, grid[:, :2]), scores])


@dataclass(frozen=True)
class Labels:
    """Label files as text.

    Attributes:
        files: the lines of M files by name; of one whose name is empty if there is no folder.
        keys: M image names.
        columns: of all lines.
        people: files and lines that are people.
        copied: files of the folder that are no labels.
    """

    files: dict[str, list[str]]
    keys: list[str]
    columns: Columns
    people: frozenset[tuple[int, int]]
    copied: tuple[Path, ...]


def read(path: Path, skeleton: Skeleton | None, on_error: OnError) -> ParsedFile:
    """Read a label file or a folder of them; unless given, the skeleton is found from the number of columns."""
    names = files_in(path, ".txt") if path.is_dir() else [""]
    files, copied, problems = usable_files(path, names, lambda name: _lines(path / name), on_error)
    detections = [line for line in chain(*files.values()) if _numbers(line)[:1] == [PERSON]]
    columns = _columns(path, detections, skeleton)
    known = next((name for name in SKELETONS if len(load(name)) == columns.keypoints), SKELETONS[0])
    people = PeopleBuilder(path, skeleton or load(known), on_error)
    people.problems.extend(problems)
    taken = set()
    for place, (name, lines) in enumerate(files.items()):
        for number, line in enumerate(lines):
            row, where = _numbers(line), f"{name}, line {number + 1}".removeprefix(", ")
            if not line.strip() or (row and row[0] != PERSON):
                continue
            taken.add((place, number))
            if not columns.fits(len(row)):
                found = f"has {len(row)} numbers" if row else "has something in it that is no number"
                expected = f"{columns.end} to {columns.end + 2} for {columns.keypoints} keypoints"
                people.refuse(where, place, {"line": number}, f"{found}, expected {expected}")
                continue
            (cx, cy, width, height), triples = row[1:BOX], columns.triples(row)
            box = [cx - width / 2, cy - height / 2, width, height]
            score = row[columns.end] if columns.has_confidence(len(row)) else None
            people.add(where, place, {"line": number}, triples, box, score)
    holds = {"boxes", *(["scores"] if columns.width == 3 else [])}
    if all(columns.has_confidence(len(line.split())) for line in detections):
        holds.add("person_scores")
    keys = [without_gz(name or path.name).removesuffix(".txt") for name in files]
    labels = Labels(files, keys, columns, frozenset(taken), copied)
    parsed = people.parsed(keys, "name", document=labels, holds=frozenset(holds))
    require_other_people(problems, parsed)
    return parsed


def write(path: Path, parsed: ParsedFile) -> None:
    """Write the lines that were read with only the changed numbers exchanged, or a folder with new files.

    New lines have the box's confidence. An image without people has an empty file.
    """
    labels = parsed.document
    if labels is None:
        new = ["".join(_new_line(parsed, person) for person in people) for people in parsed.people_of()]
        write_folder(path, zip(file_names(path, parsed.images, ".txt"), new, strict=True))
        return
    files = {name: list(lines) for name, lines in labels.files.items()}
    by_place, gone = list(files.values()), set(labels.people)
    for person, (place, record) in enumerate(zip(parsed.frames.tolist(), parsed.records, strict=True)):
        gone.discard((place, record["line"]))
        if not parsed.has_no_estimate(person):
            line = by_place[place][record["line"]]
            by_place[place][record["line"]] = _with_numbers(line, labels.columns, parsed, person)
    for place, number in sorted(gone, reverse=True):
        del by_place[place][number]
    texts = {name: "\n".join(lines) for name, lines in files.items()}
    if "" in texts:
        write_atomically(path, texts[""])
    else:
        write_folder(path, chain(texts.items(), ((file.name, file) for file in labels.copied)))


def _lines(path: Path) -> list[str]:
    lines = as_text(path, read_bytes(path), "labels").split("\n")
    filled = [line for line in lines if line.strip()]
    if filled and all(len(_numbers(line)) < BOX for line in filled):
        raise InputError(f"{path}: is no label file, its first line is {filled[0].strip()[:40]!r}, expected numbers")
    return lines


def _numbers(line: str) -> list[float]:
    """The numbers of a line; none if there is anything else in it."""
    try:
        return [float(token) for token in line.split()]
    except ValueError:
        return []


def _columns(path: Path, lines: Sequence[str], skeleton: Skeleton | None) -> Columns:
    """What the columns are; three numbers for each keypoint of a usual skeleton, rather than two, if both can be."""
    counts = Counter(len(line.split()) for line in lines)
    sizes = [len(skeleton)] if skeleton else [len(load(name)) for name in SKELETONS]
    possible = [Columns(size, width) for width in (3, 2) for size in sizes]
    fitting = [sum(n for count, n in counts.items() if columns.fits(count)) for columns in possible]
    if lines and not any(fitting):
        raise InputError(
            f"{path}: has lines of {counts.most_common(1)[0][0]} numbers, expected class and box, 2 or 3 for each of "
            f"{', '.join(map(str, sizes))} keypoints, and up to 2 more; give other keypoints with --skeleton"
        )
    best = possible[int(np.argmax(fitting))]
    lone = [line.split()[-1] for line in lines if len(line.split()) == best.end + 1]
    return Columns(best.keypoints, best.width, bool(lone) and all(re.fullmatch("[1-9][0-9]*", text) for text in lone))


def _new_line(parsed: ParsedFile, person: int) -> str:
    x1, y1, x2, y2 = to_corners(parsed, person)
    triples = np.column_stack([parsed.keypoints[person], parsed.scores[person]])
    numbers = [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, *triples.ravel().tolist()]
    confidence = round(float(parsed.person_scores[person]), 6)  # has a point, so that it is no track id
    return f"{PERSON} {' '.join(f'{number + 0.0:.7g}' for number in numbers)} {confidence!r}\n"


def _with_numbers(line: str, columns: Columns, parsed: ParsedFile, person: int) -> str:
    """A line with the numbers of a person in the place of those that changed."""
    row, points, scores = _numbers(line), parsed.keypoints[person], parsed.scores[person]
    keep = (scores == 0) & np.isnan(columns.triples(row)[:, 0])
    old = np.array(row[BOX : columns.end]).reshape(-1, columns.width)
    new = keep_equal(old.tolist(), np.column_stack([points, scores])[:, : columns.width], 7, keep[:, None])
    parts = re.split(r"(\S+)", line)  # every second one is a number
    for k, i in np.argwhere(np.array(new) != old).tolist():
        parts[2 * (BOX + k * columns.width + i) + 1] = f"{new[k][i]:.7g}"
    if columns.has_confidence(len(row)):
        confidence = keep_equal(row[columns.end], parsed.person_scores[person], 6)
        if confidence != row[columns.end]:
            parts[2 * columns.end + 1] = repr(confidence)
    return "".join(parts)


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
)

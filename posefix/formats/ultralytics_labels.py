"""Ultralytics' pose labels: a text file for each image, with a line for each detection.

``model.predict(..., save_txt=True)`` writes ``labels/IMAGE.txt`` for ``IMAGE.jpg``::

    class  cx cy w h  x y confidence  x y confidence ...  [confidence of the box] [track id]

all coordinates as fractions of the image. The box's confidence is there with ``save_conf=True``, the track id for
tracked people. Models without visibility have x and y alone. A keypoint at (0, 0) was not found. The frames of a video
are ``VIDEO_1.txt``, ``VIDEO_2.txt``, ... Labels to train with have COCO's visibility flags 0, 1 and 2 in the place of
confidences: their scores are half of the flags, and the flags stay as they are. Other classes than 0 are handed
through.

Sources: Ultralytics 8.0.196 to 8.4.190, ultralytics/engine/results.py (Results.save_txt);
https://docs.ultralytics.com/datasets/pose/.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from posefix.core.errors import InputError
from posefix.core.files import files_in, read_bytes, without_gz, write_atomically, write_folder
from posefix.core.skeleton import Skeleton, load
from posefix.formats.frames import file_names, usable_files
from posefix.formats.parsed_file import Format, OnError, ParsedFile, PeopleBuilder, keep_equal
from posefix.formats.per_image import require_other_people, to_corners
from posefix.formats.probe import FileProbe

SKELETONS = ("coco17", "halpe26", "coco_wholebody133", "mpii16", "crowdpose14")
PERSON = 0  # the class
CLASSES = "classes.txt"  # in a folder of labels; names the classes
BOX = 5  # columns before the keypoints: class and box
FARTHEST = 10.0  # fractions of the image: nothing is further out


@dataclass(frozen=True)
class Columns:
    """What the columns of the lines are.

    Attributes:
        keypoints: how many there are.
        width: numbers for each, 2 or 3.
        flags: the third is a visibility flag 0, 1 or 2.
        lone_id: one column behind the keypoints is the track id, not the box's confidence.
    """

    keypoints: int
    width: int
    flags: bool = False
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

    def triples(self, row: list[float]) -> np.ndarray:
        """(K, 3) x, y and score of a line; x and y NaN where nothing was found."""
        grid = np.array(row[BOX : self.end]).reshape(self.keypoints, self.width)
        absent = (grid[:, :2] == 0).all(1) | (grid[:, 2:] == 0).any(1) | ~np.isfinite(grid).all(1)
        scores = grid[:, 2] / (2 if self.flags else 1) if self.width == 3 else np.ones(self.keypoints)
        return np.column_stack([np.where(absent[:, None], np.nan, grid[:, :2]), scores])


@dataclass(frozen=True)
class Labels:
    """What label files hold besides the people.

    Attributes:
        names: M file names; one that is empty if there is no folder.
        keys: M image names.
        tails: M texts: empty lines behind the last person.
        columns: of all lines.
        copied: files of the folder that are no labels.
    """

    names: list[str]
    keys: list[str]
    tails: list[str]
    columns: Columns
    copied: tuple[Path, ...]


def read(path: Path, skeleton: Skeleton | None, on_error: OnError) -> ParsedFile:
    """Read a label file or a folder of them; unless given, the skeleton is found from the number of columns."""
    files = files_in(path, ".txt") if path.is_dir() else [""]
    names = [name for name in files if without_gz(name) != CLASSES]
    texts, copied, problems = usable_files(path, names, lambda name: _lines(path / name if name else path), on_error)
    everything = [line for lines, _ in texts.values() for line in lines]
    columns = _columns(path, everything, skeleton)
    known = next((name for name in SKELETONS if len(load(name)) == columns.keypoints), SKELETONS[0])
    people = PeopleBuilder(path, skeleton or load(known), on_error)
    people.problems.extend(problems)
    for place, (name, (lines, _)) in enumerate(texts.items()):
        number = 0
        for line in lines:
            number += line.rstrip().count("\n") + 1
            where = f"{name}, line {number}" if name else f"line {number}"
            try:
                _add(people, where, place, line, columns)
            except ValueError as error:
                people.refuse(where, place, {"line": line}, str(error))
    keys = [without_gz(name or path.name).removesuffix(".txt") for name in texts]
    copied = (*copied, *(path / name for name in files if name not in names))
    document = Labels(list(texts), keys, [tail for _, tail in texts.values()], columns, copied)
    holds = {"boxes", "empty"}
    if columns.width == 3 and not columns.flags:
        holds.add("scores")
    if all(columns.has_confidence(len(line.split())) for line in everything):
        holds.add("person_scores")
    parsed = people.parsed(keys, "name", relative=True, document=document, holds=frozenset(holds))
    require_other_people(problems, parsed)
    return parsed


def write(path: Path, parsed: ParsedFile) -> None:
    """Write the lines that were read with only the changed numbers exchanged, or a folder with new files.

    New lines have the box's confidence. An image without people has an empty file.
    """
    labels = parsed.document
    if labels is None or labels.keys != list(parsed.images):
        names = file_names(path, parsed.images, ".txt")
        labels = Labels(names, [], [""] * len(names), Columns(0, 3), labels.copied if labels else ())
    texts = []
    for people, tail in zip(parsed.people_of(), labels.tails, strict=True):
        lines = [_written(parsed, person) for person in people]
        lines[:-1] = [line if line.endswith("\n") else line + "\n" for line in lines[:-1]]
        texts.append("".join(lines) + tail)
    if labels.names == [""]:
        write_atomically(path, texts[0])
    else:
        copied = ((file.name, file) for file in labels.copied)
        write_folder(path, chain(zip(labels.names, texts, strict=True), copied))


def _lines(path: Path) -> tuple[list[str], str]:
    """The lines of a file, each with its end and the empty lines before it; and the empty lines after the last."""
    try:
        text = read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a UTF-8 text file (byte {error.start}), expected labels") from None
    lines = re.findall(r"\s*\S[^\n]*\n?", text)
    if lines and all(len(_numbers(line) or []) < BOX for line in lines):
        raise InputError(f"{path}: is no label file, its first line is {lines[0].strip()[:40]!r}, expected numbers")
    return lines, text[sum(map(len, lines)) :]


def _numbers(line: str) -> list[float] | None:
    """The numbers of a line; None if there is anything else in it, or nothing."""
    try:
        return [float(token) for token in line.removeprefix("\ufeff").split()] or None
    except ValueError:
        return None


def _columns(path: Path, lines: list[str], skeleton: Skeleton | None) -> Columns:
    """What the columns are; three numbers for each keypoint of a usual skeleton, rather than two, if both can be."""
    rows = [row for row in map(_numbers, lines) if row and row[0] == PERSON]
    counts = Counter(map(len, rows))
    sizes = [len(skeleton)] if skeleton else [len(load(name)) for name in SKELETONS]
    possible = [Columns(size, width) for width in (3, 2) for size in sizes]
    fitting = [sum(n for count, n in counts.items() if columns.fits(count)) for columns in possible]
    if rows and not any(fitting):
        count = counts.most_common(1)[0][0]
        if count <= BOX + 2:
            raise InputError(f"{path}: has lines of {count} numbers, a box without keypoints, expected labels of poses")
        raise InputError(
            f"{path}: has lines of {count} numbers, expected {BOX}, 2 or 3 for each of {', '.join(map(str, sizes))} "
            "keypoints, and up to 2 more; give other keypoints with --skeleton"
        )
    best = possible[int(np.argmax(fitting))]
    third = {v for row in rows if best.fits(len(row)) and best.width == 3 for v in row[BOX + 2 : best.end : 3]}
    lone = [tokens[-1] for tokens in map(str.split, lines) if len(tokens) == best.end + 1]
    lone_id = bool(lone) and all(re.fullmatch("[1-9][0-9]*", token) for token in lone)
    return Columns(best.keypoints, best.width, third <= {0, 1, 2} and 2 in third, lone_id)


def _add(people: PeopleBuilder, where: str, place: int, line: str, columns: Columns) -> None:
    """Take the person of a line; ValueError with the rest of a sentence if there is none."""
    row = _numbers(line)
    if row is None:
        raise ValueError("has something in it that is no number")
    if not row[0].is_integer():
        raise ValueError(f"has {row[0]} as its class, expected an integer")
    if row[0] != PERSON:
        people.hand_through(place, {"line": line})
        return
    if not columns.fits(len(row)):
        expected = f"{columns.end} to {columns.end + 2} for {columns.keypoints} keypoints"
        raise ValueError(f"has {len(row)} numbers, expected {expected}")
    (cx, cy, width, height), triples = row[1:BOX], columns.triples(row)
    far = np.nanmax(np.abs([*row[1:BOX], *triples[:, :2].ravel().tolist()]), initial=0.0)
    if far > FARTHEST:
        raise ValueError(f"has {far:g} as a coordinate, expected fractions of the image")
    box = [cx - width / 2, cy - height / 2, width, height]
    score = row[columns.end] if columns.has_confidence(len(row)) else None
    people.add(where, place, {"line": line}, triples[:, :2], triples[:, 2], box, score)


def _written(parsed: ParsedFile, person: int) -> str:
    record, labels = parsed.records[person], parsed.document
    points, scores = parsed.keypoints[person], parsed.scores[person]
    if record is None:
        x1, y1, x2, y2 = to_corners(parsed, person)
        box = [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]
        confidence = round(float(parsed.person_scores[person]), 6)  # has a point, so that it is no track id
        numbers = [*box, *np.column_stack([points, scores]).ravel().tolist()]
        return f"{PERSON} {' '.join(f'{number + 0.0:.7g}' for number in numbers)} {confidence!r}\n"
    if parsed.has_no_estimate(person):
        return record["line"]
    columns, row = labels.columns, _numbers(record["line"])
    keep = (scores == 0) & np.isnan(columns.triples(row)[:, 0])
    width = 2 if columns.flags else columns.width  # flags are no scores
    grid = np.array(row[BOX : columns.end]).reshape(-1, columns.width)[:, :width]
    new = keep_equal(grid.tolist(), np.column_stack([points, scores])[:, :width], 7, keep[:, None])
    parts = re.split(r"(\S+)", record["line"])  # every second one is a number
    for k, i in np.argwhere(np.array(new) != grid).tolist():
        parts[2 * (BOX + k * columns.width + i) + 1] = f"{new[k][i]:.7g}"
    if columns.has_confidence(len(row)):
        confidence = keep_equal(row[columns.end], parsed.person_scores[person], 6)
        if confidence != row[columns.end]:
            parts[2 * columns.end + 1] = repr(confidence)
    return "".join(parts)


def _looks(probe: FileProbe) -> bool:
    if probe.is_folder:
        files = [file for file in probe.files(".txt") if file.name != CLASSES]
        first = next((file for file in files if file.text.strip()), None)
        return first is not None and _looks(first)
    if not probe.name.endswith(".txt"):
        return False
    row = _numbers(next((line for line in probe.text.split("\n") if line.strip()), ""))
    return bool(row) and len(row) >= BOX and row[0].is_integer()


FORMAT = Format(
    name="ultralytics-labels",
    title="Ultralytics' labels",
    skeletons=SKELETONS,
    kind="name",
    sniff=_looks,
    read=read,
    write=write,
    relative=True,
    folder=True,
    first_frame=1,
)

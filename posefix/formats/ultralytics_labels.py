"""Ultralytics' pose labels: a text file for each image, with a line for each detection.

``model.predict(..., save_txt=True)`` writes ``labels/IMAGE.txt`` for ``IMAGE.jpg``::

    class  cx cy w h  x y confidence  x y confidence ...  [confidence of the box] [track id]

all coordinates as fractions of the image, all numbers with 6 significant digits. The box's confidence is there with
``save_conf=True``, the track id for tracked people. Models without visibility have x and y alone. A keypoint at (0, 0)
was not found. An image without detections has no file; the frames of a video are ``VIDEO_1.txt``, ``VIDEO_2.txt``, ...
The labels that models are trained with are the same, with COCO's visibility flags 0, 1 and 2 as confidences.

What is of another class than 0, the person, is handed through. Changed numbers get 7 digits: 0.0002 px of 4,000.

Source: Ultralytics 8.0.196 to 8.4.190, ultralytics/engine/results.py (Results.save_txt; until 8.3 Keypoints puts those
of a confidence below 0.5 to (0, 0)), ultralytics/engine/predictor.py (write_results),
https://docs.ultralytics.com/datasets/pose/.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from posefix.core.errors import InputError
from posefix.core.files import files_in, read_bytes, without_gz, write_atomically, write_folder
from posefix.core.skeleton import Skeleton, load
from posefix.formats.frames import file_names
from posefix.formats.parsed_file import Format, OnError, ParsedFile, PeopleBuilder, keep_equal
from posefix.formats.per_image import to_corners
from posefix.formats.probe import FileProbe

SKELETONS = ("coco17", "halpe26", "coco_wholebody133", "mpii16", "crowdpose14")
PERSON = 0  # the class
CLASSES = "classes.txt"  # lies beside labels and names the classes
BOX = 5  # columns before the keypoints: class and box
FARTHEST = 10.0  # fractions of the image: nothing is further out
_PLAIN = re.compile(r"\ufeff?[\s0-9.+\-eEinfaINFA]*")  # what numbers are made of; float() takes more
_LONGEST_NUMBER = 40  # characters


@dataclass(frozen=True)
class Layout:
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
    def columns(self) -> int:
        """Number of columns up to the last keypoint."""
        return BOX + self.keypoints * self.width

    def fits(self, columns: int) -> bool:
        """Whether a line can have so many columns."""
        return 0 <= columns - self.columns <= 2

    def has_confidence(self, columns: int) -> bool:
        """Whether a line of so many columns has the box's confidence."""
        return columns - self.columns == 2 or (columns - self.columns == 1 and not self.lone_id)


@dataclass(frozen=True)
class Labels:
    """What label files hold beside the people.

    Attributes:
        names: M file names; one that is empty if there is no folder.
        keys: M image names.
        tails: M texts: empty lines behind the last person.
        layout: of all lines.
        others: names and contents of files in the folder that are no labels.
    """

    names: list[str]
    keys: list[str]
    tails: list[str]
    layout: Layout
    others: list[tuple[str, bytes]]


def read(path: Path, skeleton: Skeleton | None, on_error: OnError) -> ParsedFile:
    """Read a label file or a folder of them; unless given, the skeleton is found from the number of columns."""
    names = files_in(path, ".txt") if path.is_dir() else [""]
    others = [(name, read_bytes(path / name)) for name in names if without_gz(name) == CLASSES]
    names = [name for name in names if without_gz(name) != CLASSES]
    texts = [_lines(path / name if name else path) for name in names]
    layout = _layout(path, [line for lines, _ in texts for line in lines], skeleton)
    known = next((name for name in SKELETONS if len(load(name)) == layout.keypoints), SKELETONS[0])
    people = PeopleBuilder(path, skeleton or load(known), on_error)
    for place, (name, (lines, _)) in enumerate(zip(names, texts, strict=True)):
        number = 0
        for line in lines:
            number += line.rstrip().count("\n") + 1
            _add(people, f"{name}, line {number}" if name else f"line {number}", place, line, layout)
    keys = [without_gz(name or path.name).removesuffix(".txt") for name in names]
    document = Labels(names, keys, [tail for _, tail in texts], layout, others)
    return people.parsed(keys, "name", relative=True, document=document)


def write(path: Path, content: ParsedFile) -> None:
    """Write the lines that were read with only the changed numbers exchanged, or a folder with new files.

    New lines have the box's confidence. An image without people has an empty file.
    """
    labels = content.document
    if labels is None or labels.keys != list(content.images):
        names, tails = file_names(path, content.images, ".txt"), [""] * len(content.images)
    else:
        names, tails = labels.names, labels.tails
    texts = []
    for people, tail in zip(content.people_of(), tails, strict=True):
        lines = [_written(content, person) for person in people]
        lines[:-1] = [line if line.endswith("\n") else line + "\n" for line in lines[:-1]]
        texts.append("".join(lines) + tail)
    if names == [""]:
        write_atomically(path, texts[0])
    else:
        write_folder(path, [*zip(names, texts, strict=True), *(labels.others if labels else [])])


def _lines(path: Path) -> tuple[list[str], str]:
    """The lines of a file, each with its end and the empty lines before it; and the empty lines after the last.

    Raises:
        InputError: the file is no label file.
    """
    try:
        text = read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a UTF-8 text file (byte {error.start}), expected labels") from None
    lines, empty = [], ""
    for line in re.findall(r"[^\n]*\n|[^\n]+", text):
        empty += line
        if line.strip():
            lines.append(empty)
            empty = ""
    if lines and all(len(_numbers(line) or []) < BOX for line in lines):
        start = lines[0].strip()
        shown = start if len(start) <= 40 else start[:36] + "..."
        raise InputError(f"{path}: is no label file, its first line is {shown!r}, expected numbers alone")
    return lines, empty


def _numbers(line: str) -> list[float] | None:
    """The numbers of a line; None if there is anything else in it, or nothing."""
    tokens = line.removeprefix("\ufeff").split()
    if not tokens or not _PLAIN.fullmatch(line) or max(map(len, tokens)) > _LONGEST_NUMBER:
        return None
    try:
        return [float(token) for token in tokens]
    except ValueError:
        return None


def _layout(path: Path, lines: list[str], skeleton: Skeleton | None) -> Layout:
    """What the columns are; three numbers for each keypoint of a usual skeleton, rather than two, if both can be."""
    rows = [row for row in map(_numbers, lines) if row and row[0] == PERSON]
    counts = Counter(map(len, rows))
    sizes = [len(skeleton)] if skeleton else [len(load(name)) for name in SKELETONS]
    layouts = [Layout(size, width) for width in (3, 2) for size in sizes]
    fitting = [sum(n for count, n in counts.items() if layout.fits(count)) for layout in layouts]
    if rows and not any(fitting):
        count = counts.most_common(1)[0][0]
        if count <= BOX + 2:
            raise InputError(f"{path}: has lines of {count} numbers, a box without keypoints, expected labels of poses")
        known = ", ".join(str(size) for size in sizes)
        raise InputError(
            f"{path}: has lines of {count} numbers, expected {BOX}, 2 or 3 for each of {known} keypoints, and up to 2 "
            "more; give other keypoints with --skeleton"
        )
    best = layouts[int(np.argmax(fitting))]
    fits = [row for row in rows if best.fits(len(row)) and best.width == 3]
    third = {v for row in fits for v in row[BOX + 2 : best.columns : 3]}
    lone = [tokens[-1] for tokens in map(str.split, lines) if len(tokens) == best.columns + 1]
    lone_id = bool(lone) and all(re.fullmatch("[1-9][0-9]*", token) for token in lone)
    return Layout(best.keypoints, best.width, third <= {0, 1, 2} and 2 in third, lone_id)


def _add(people: PeopleBuilder, where: str, place: int, line: str, layout: Layout) -> None:
    record, row = {"line": line}, _numbers(line)
    if row is None:
        people.refuse(where, place, record, "has something in it that is no number")
        return
    if not row[0].is_integer():
        people.refuse(where, place, record, f"has {row[0]} as its class, expected an integer")
        return
    if row[0] != PERSON:
        people.add(where, place, record, np.full((layout.keypoints, 2), np.nan), None, None, 0.0)
        return
    if not layout.fits(len(row)):
        what = f"expected {layout.columns} to {layout.columns + 2} for {layout.keypoints} keypoints"
        people.refuse(where, place, record, f"has {len(row)} numbers, {what}")
        return
    cx, cy, width, height = row[1:BOX]
    points, scores = _arrays(row, layout)
    far = np.nanmax(np.abs([*row[1:BOX], *points.ravel().tolist()]), initial=0.0)
    if far > FARTHEST:
        people.refuse(where, place, record, f"has {far:g} as a coordinate, expected fractions of the image")
        return
    box = [cx - width / 2, cy - height / 2, width, height]
    person_score = row[layout.columns] if layout.has_confidence(len(row)) else None
    people.add(where, place, record, points, scores, box, person_score)


def _arrays(row: list[float], layout: Layout) -> tuple[np.ndarray, np.ndarray | None]:
    """Coordinates (K, 2), NaN where nothing was found, and confidences (K,) or None."""
    grid = np.array(row[BOX : layout.columns]).reshape(layout.keypoints, layout.width)
    absent = (grid[:, :2] == 0).all(1) | (grid[:, 2:] == 0).any(1) | ~np.isfinite(grid).all(1)
    scores = grid[:, 2] / (2 if layout.flags else 1) if layout.width == 3 else None
    return np.where(absent[:, None], np.nan, grid[:, :2]), scores


def _written(content: ParsedFile, person: int) -> str:
    record, labels = content.records[person], content.document
    points, scores = content.keypoints[person], content.scores[person]
    if record is not None and (content.has_no_estimate(person) or labels.layout.keypoints != len(points)):
        return record["line"]
    if record is None:
        x1, y1, x2, y2 = to_corners(content, person)
        box = [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]
        found = np.where(scores[:, None] > 0, points, 0.0)
        numbers = [*box, *np.concatenate([found, scores[:, None]], axis=1).ravel().tolist()]
        confidence = _confidence(content.person_scores[person])
        return f"{PERSON} {' '.join(f'{number + 0.0:.7g}' for number in numbers)} {confidence}\n"
    layout, row = labels.layout, _numbers(record["line"])
    old, _ = _arrays(row, layout)
    keep = (scores == 0) & ~np.isfinite(old).all(1)
    grid = np.array(row[BOX : layout.columns]).reshape(layout.keypoints, layout.width)
    new = np.concatenate([points, scores[:, None] * (2 if layout.flags else 1)], axis=1)[:, : layout.width]
    new = np.array(keep_equal(grid.tolist(), new, 7, keep[:, None]))
    parts = re.split(r"(\S+)", record["line"])  # every second one is a number
    for i in np.flatnonzero((new != grid) & ~keep[:, None]).tolist():
        parts[2 * (BOX + i) + 1] = f"{new.flat[i]:.7g}"
    if layout.has_confidence(len(row)):
        confidence = keep_equal(row[layout.columns], content.person_scores[person], 6)
        if confidence != row[layout.columns]:
            parts[2 * layout.columns + 1] = _confidence(confidence)
    return "".join(parts)


def _confidence(score: float) -> str:
    """With a point or an exponent, so that it cannot be taken for a track id."""
    return repr(round(float(score), 6) + 0.0)


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
    suffix=".txt",
    extra_files=(CLASSES,),
)

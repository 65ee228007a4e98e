"""DeepLabCut: its CSV, with a row for each frame or image and columns for x, y and likelihood of each body part.

Three header rows name the columns, ``scorer``, ``bodyparts`` and ``coords``; with several animals ``individuals`` comes
second, and each of them is a person of a row in which it has any coordinates. A row starts with the number of its frame
or the path of its image, which labeled data have in three cells: ``labeled-data``, the video, the file. Labeled data
have no likelihood: 1 is the score then. Empty cells say that there is no estimate. There are no boxes, and no scores of
individuals.

Body parts are the project's own: a skeleton has to be given, unless they are exactly those of a shipped one. They are
found by name, in whatever spelling; columns of others, such as those of the individual ``single``, are handed through.

Sources: deeplabcut 3.0.2, pose_estimation_pytorch/apis/videos.py (create_df_from_prediction), utils/conversioncode.py
(convertcsv2h5), refine_training_dataset/stitch.py, pose_estimation_3d/triangulation.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from posefix.core import resources
from posefix.core.errors import InputError
from posefix.core.files import write_atomically
from posefix.core.skeleton import Skeleton, load
from posefix.formats.names import places, plain
from posefix.formats.parsed_file import Format, ImageKind, OnError, ParsedFile, PeopleBuilder, keep_equal
from posefix.formats.probe import FileProbe
from posefix.formats.tables import Table, new_table, number, plain_text, read_table

COORDS = ("x", "y", "likelihood")
SINGLE = "single"  # the individual whose body parts are no animal's
_LEVELS = ("scorer", "individuals", "bodyparts", "coords")
_FRAME_NUMBER = re.compile(r"[0-9]{1,15}")


@dataclass(frozen=True)
class Columns:
    """Where the keypoints of each individual stand among the columns of a table.

    Attributes:
        skeleton: of the K keypoints.
        individuals: I names.
        places: (I, K, 3) int64 of x, y and likelihood; -1 where there is no column.
    """

    skeleton: Skeleton
    individuals: tuple[str, ...]
    places: np.ndarray


@dataclass(frozen=True)
class Values:
    """What a table says.

    Attributes:
        columns: where the keypoints are.
        numbers: (R, C) float64; NaN where there is none.
        people: rows and individuals that are people.
    """

    columns: Columns
    numbers: np.ndarray
    people: frozenset[tuple[int, int]]

    def changed(self, content: ParsedFile) -> tuple[np.ndarray, np.ndarray]:
        """(R, C) numbers of people who came from here, 3 decimals for coordinates and 6 for likelihoods; which are new.

        Those of people who are gone are NaN.
        """
        new, fresh = self.numbers.copy(), np.zeros(self.numbers.shape, bool)
        gone = set(self.people)
        for person, record in enumerate(content.records):
            row, individual = record["row"], record["individual"]
            gone.discard((row, individual))
            if content.has_no_estimate(person):
                continue
            where, scores = self.columns.places[individual], content.scores[person]
            old = np.where(where >= 0, self.numbers[row, where], np.nan)
            keep = scores == 0
            likelihood = keep_equal(old[:, 2].tolist(), scores, 6, keep | (np.isnan(old[:, 2]) & (scores == 1)))
            points = keep_equal(old[:, :2].tolist(), content.keypoints[person], 3, keep[:, None])
            numbers = np.column_stack([points, likelihood]).astype(np.float64)
            differs = (where >= 0) & ~((numbers == old) | (np.isnan(numbers) & np.isnan(old)))
            new[row, where[differs]], fresh[row, where[differs]] = numbers[differs], True
        for row, individual in gone:
            where = self.columns.places[individual]
            fresh[row, where[where >= 0]] |= ~np.isnan(new[row, where[where >= 0]])
            new[row, where[where >= 0]] = np.nan
        return new, fresh


@dataclass(frozen=True)
class _Document:
    """A file, what it says, the lines of its rows, and how many cells of each are index."""

    table: Table
    values: Values
    rows: Sequence[int]
    index: int


def columns_of(path: Path, titles: Sequence[Sequence[str]], skeleton: Skeleton | None) -> Columns:
    """What the columns with these titles hold.

    Args:
        path: named in messages.
        titles: of each column (scorer, body part, coordinate) or (scorer, individual, body part, coordinate).
        skeleton: None: the shipped one that has just these body parts.

    Raises:
        InputError: there is no such skeleton, or none of its keypoints, or coordinates are no x and y.
    """
    coords = {title[-1] for title in titles}
    if not {"x", "y"} <= coords or "z" in coords:
        what = "3D coordinates" if "z" in coords else f"columns {', '.join(sorted(coords))[:80]}"
        raise InputError(f"{path}: has {what}, expected x, y and likelihood of each body part in pixels")
    skeleton = skeleton or _skeleton_of(path, titles)
    order = {**places(skeleton), **{name: place for place, name in enumerate(skeleton.keypoint_names)}}
    found: dict[tuple[str, ...], np.ndarray] = {}
    for column, (*owner, part, coord) in enumerate(titles):
        keypoint = order.get(part, order.get(plain(part)))
        if keypoint is not None and coord in COORDS:
            individual = found.setdefault(tuple(owner), np.full((len(skeleton), 3), -1, np.int64))
            if individual[keypoint, COORDS.index(coord)] < 0:
                individual[keypoint, COORDS.index(coord)] = column
    found = {owner: columns for owner, columns in found.items() if (columns[:, :2] >= 0).all(1).any()}
    if not found:
        raise InputError(
            f"{path}: has the body parts {_listed(titles)}, none of which is a keypoint of {skeleton.name} "
            f"({', '.join(skeleton.keypoint_names[:3])}, ...)"
        )
    return Columns(skeleton, tuple(owner[-1] for owner in found), np.stack(list(found.values())))


def gather(
    path: Path,
    columns: Columns,
    numbers: np.ndarray,
    keys: Sequence[int | str],
    where: Sequence[str],
    on_error: OnError,
    problems: Mapping[tuple[int, int], str] | None = None,
) -> tuple[PeopleBuilder, list[int | str], Values]:
    """The people of a table.

    Args:
        path: named in messages.
        columns: where the keypoints are.
        numbers: (R, C) float64; NaN where there is none.
        keys: R images.
        where: R names of rows for messages.
        on_error: as reading takes it.
        problems: of cells that cannot be used, by row and column; of whole rows, by row and -1.

    Returns:
        The people, the images, and what :meth:`Values.changed` needs.
    """
    images = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    padded = np.concatenate([numbers, np.full((len(numbers), 1), np.nan)], axis=1)
    owner = {
        column: i for i, own in enumerate(columns.places.reshape(len(columns.places), -1).tolist()) for column in own
    }
    bad: dict[tuple[int, int], str] = {}
    for (row, column), problem in (problems or {}).items():
        for individual in range(len(columns.individuals)) if column < 0 else (owner[column],):
            bad.setdefault((row, individual), problem)
    people, taken = PeopleBuilder(path, columns.skeleton, on_error), []
    for row, key in enumerate(keys):
        own = padded[row][columns.places]
        present = np.isfinite(own[..., :2]).all(2).any(1)
        for individual, name in enumerate(columns.individuals):
            record = {"row": row, "individual": individual}
            place = f"{where[row]}, individual {name!r}" if len(columns.individuals) > 1 else where[row]
            if (row, individual) in bad:
                people.refuse(place, images[key], record, bad[row, individual])
            elif present[individual]:
                points, likelihood = own[individual, :, :2], own[individual, :, 2]
                scores = np.where(np.isnan(likelihood), 1.0, likelihood)
                people.add(place, images[key], record, np.where(scores[:, None] == 0, np.nan, points), scores)
            else:
                continue
            taken.append((row, individual))
    return people, list(images), Values(columns, numbers, frozenset(taken))


def is_own(content: ParsedFile, document: type) -> bool:
    """Whether all people come from the document that a content has, which is of this type."""
    return isinstance(content.document, document) and all(
        isinstance(record, Mapping) and {"row", "individual"} <= record.keys() for record in content.records
    )


def frame_keys(texts: Sequence[str]) -> tuple[list[int | str], ImageKind]:
    """What rows are of: frames if all texts are numbers, else images."""
    if all(_FRAME_NUMBER.fullmatch(text) for text in texts):
        return [int(text) for text in texts], "index"
    return list(texts), "name"


def read(path: Path, skeleton: Skeleton | None, on_error: OnError) -> ParsedFile:
    """Read the people in a file."""
    table = read_table(path)
    levels = [plain_text(row[0]).strip().lower() for row in table.rows[: len(_LEVELS)]]
    header = levels.index("coords") + 1 if "coords" in levels else 0
    if levels[:header] not in (list(_LEVELS), [level for level in _LEVELS if level != "individuals"]):
        raise InputError(
            f"{path}: does not start as DeepLabCut's CSV does, with rows called scorer, (individuals,) bodyparts and "
            "coords"
        )
    coords = [plain_text(cell) for cell in table.rows[header - 1]]
    index = next((place for place, cell in enumerate(coords) if place and cell), len(coords))
    width = len(coords)
    rows = [row for row in range(header, len(table.rows)) if any(cell.strip() for cell in table.rows[row])]
    if any(len(table.rows[row]) != width for row in range(header)):
        raise InputError(f"{path}: its header rows are not of the same length")
    titles = list(zip(*([plain_text(cell) for cell in row[index:]] for row in table.rows[:header]), strict=True))
    columns = columns_of(path, titles, skeleton)
    numbers, problems = _numbers(table, rows, index, columns)
    texts = ["/".join(plain_text(cell) for cell in table.rows[row][:index]) for row in rows]
    keys, kind = frame_keys(texts)
    where = [f"line {row + 1}" for row in rows]
    people, images, values = gather(path, columns, numbers, keys, where, on_error, problems)
    return people.parsed(images, kind, document=_Document(table, values, rows, index))


def write(path: Path, content: ParsedFile) -> None:
    """Write a file again, or a new one."""
    if not is_own(content, _Document):
        write_atomically(path, _new(content).text())
        return
    document: _Document = content.document
    new, fresh = document.values.changed(content)
    rows: list[Sequence[str]] = list(document.table.rows)
    for row in np.flatnonzero(fresh.any(1)).tolist():
        cells = list(rows[document.rows[row]])
        for column in np.flatnonzero(fresh[row]).tolist():
            value = float(new[row, column])
            cells[document.index + column] = "" if np.isnan(value) else repr(value)
        rows[document.rows[row]] = cells
    table = document.table
    write_atomically(path, Table(rows, table.ends, table.delimiter, table.mark).text())


def _skeleton_of(path: Path, titles: Sequence[Sequence[str]]) -> Skeleton:
    everything = {plain(title[-2]) for title in titles}
    of_animals = {plain(title[-2]) for title in titles if len(title) < 4 or title[1] != SINGLE}
    for name in resources.available("skeletons"):
        if set(places(load(name))) in (everything, of_animals):
            return load(name)
    raise InputError(
        f"{path}: has the body parts {_listed(titles)}, which are not those of a shipped skeleton; describe them in a "
        "skeleton file and give it with --skeleton"
    )


def _listed(titles: Sequence[Sequence[str]]) -> str:
    parts = list(dict.fromkeys(title[-2] for title in titles))
    return ", ".join(part[:30] for part in parts[:5]) + (", ..." if len(parts) > 5 else "")


def _numbers(
    table: Table, rows: Sequence[int], index: int, columns: Columns
) -> tuple[np.ndarray, dict[tuple[int, int], str]]:
    """(R, C) the numbers in the cells of keypoints, and what is wrong with other cells or, at -1, with whole rows."""
    width = len(table.rows[0]) - index
    used = np.unique(columns.places[columns.places >= 0]).tolist()
    numbers, problems = np.full((len(rows), width), np.nan), {}
    for place, row in enumerate(rows):
        cells = table.rows[row]
        if len(cells) != width + index:
            problems[place, -1] = f"has {len(cells)} cells, expected the {width + index} of the header"
            continue
        for column in used:
            try:
                numbers[place, column] = number(cells[index + column])
            except ValueError:
                problems[place, column] = f"has {cells[index + column][:40]!r} in a cell, expected a number"
    return numbers, problems


def _new(content: ParsedFile) -> Table:
    groups = content.people_of()
    several = max([1, *map(len, groups)])
    parts = [(part, coord) for part in content.skeleton.keypoint_names for coord in COORDS]
    owners = [f"individual{i + 1}" for i in range(several)]
    rows = [
        ["scorer", *["PoseFix"] * (several * len(parts))],
        ["individuals", *(owner for owner in owners for _ in parts)],
        ["bodyparts", *([part for part, _ in parts] * several)],
        ["coords", *([coord for _, coord in parts] * several)],
    ]
    if several == 1:
        del rows[1]
    for key, people in zip(content.images, groups, strict=True):
        cells = [cell for person in people for cell in _cells(content, person)]
        rows.append([str(key), *cells, *[""] * (len(rows[0]) - 1 - len(cells))])
    return new_table(rows)


def _cells(content: ParsedFile, person: int) -> list[str]:
    points, scores = np.round(content.keypoints[person], 3).tolist(), np.round(content.scores[person], 6).tolist()
    return [
        "" if score <= 0 else repr(value)
        for (x, y), score in zip(points, scores, strict=True)
        for value in (x, y, score)
    ]


def _looks_like_deeplabcut(probe: FileProbe) -> bool:
    starts = [re.match(r'"?(\w*)', line)[1] for line in probe.text.splitlines()[: len(_LEVELS)]]
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

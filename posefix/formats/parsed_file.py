"""What every format has in common: the content of a file as arrays, checked person by person, and how to put it back.

A format's module turns its files into :class:`ParsedFile` and back; image ids, pixels of relative coordinates and other
skeletons are up to :mod:`posefix.formats.exchange`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from posefix.core.errors import InputError
from posefix.core.people import FARTHEST
from posefix.core.skeleton import Skeleton, load, with_keypoint_count
from posefix.formats.coco import ImageRecord
from posefix.formats.records import describe, original_score

if TYPE_CHECKING:
    from posefix.formats.probe import FileProbe

OnError = Literal["stop", "skip"]
ImageKind = Literal["id", "name", "index"]


@dataclass(eq=False)
class ParsedFile:
    """What one file or folder of a format says: N people of one skeleton with K keypoints, in M images.

    Attributes:
        skeleton: what the keypoints are.
        keypoints: (N, K, 2) float, x and y, in pixels, or fractions of the image if the format is
            ``relative``; (0, 0) with score 0 where there is none.
        scores: (N, K) float confidences; 0 says that there is no estimate.
        frames: (N,) int64, for each person the place of its image in ``images``; in the order of the file.
        images: every image that the file tells of, those without people too: ids, names, or places in an order.
        kind: what ``images`` are: ``"id"`` (COCO's image ids), ``"name"`` (file names, with or without folders and
            extension), or ``"index"`` (the n-th image or frame, from 0).
        boxes: (N, 4) float xywh, as ``keypoints``; zeros where there is none.
        person_scores: (N,) float.
        records: N records of the format as they came; None for people who come from elsewhere.
        original_scores: (N,) float32 scores before rescoring, as :attr:`People.original_scores`.
        track_ids: (N,) int64, as :attr:`People.track_ids`.
        listed: name and size of each of the M images, where the file or who writes it knows them; else empty.
        document: what else has to be written back; its form is up to the format. None when written anew.
        problems: one sentence for each person that could not be used and is handed through.
        holds: in reading, those of :attr:`Format.holds` that this very file has a place for; None: all.
        new: in writing, whether the people come from elsewhere and have no records.
    """

    skeleton: Skeleton
    keypoints: np.ndarray
    scores: np.ndarray
    frames: np.ndarray
    images: Sequence[int | str]
    kind: ImageKind
    boxes: np.ndarray
    person_scores: np.ndarray
    records: Sequence[Any]
    original_scores: np.ndarray
    track_ids: np.ndarray
    listed: Sequence[ImageRecord] = ()
    document: Any = None
    problems: list[str] = field(default_factory=list)
    holds: frozenset[str] | None = None
    new: bool = False

    def __len__(self) -> int:
        return len(self.keypoints)

    def people_of(self) -> list[list[int]]:
        """For each of the M images the places of its people, in order."""
        found: list[list[int]] = [[] for _ in self.images]
        for place, frame in enumerate(self.frames.tolist()):
            found[frame].append(place)
        return found

    def has_no_estimate(self, person: int) -> bool:
        """Whether a person's record is to be written as it came: there is no estimate in it that could be used."""
        return not self.new and not (self.scores[person] > 0).any()


@dataclass(frozen=True)
class Format:
    """How a format is recognised, read and written.

    Attributes:
        name: as ``--format`` and ``--to`` take it.
        title: its name in messages.
        skeletons: names of those that new files can be in; people of another one are written in the first.
        kind: how it names images.
        sniff: whether a file or folder is of this format.
        read: ``(path, skeleton or None, on_error) -> ParsedFile``; raises InputError.
        write: ``(path, content)``: whole or not at all; what is as in its record stays as it is written there.
        relative: whether its coordinates are fractions of the image.
        pixels_by: what makes its tool write pixels, where it may write fractions of the image instead.
        folder: whether it is written as a folder.
        any_file_name: the name of a single file with the people of one image need not be the image's.
        first_frame: the number that names give the first frame of a video.
        holds: which of ``"scores"`` (of keypoints), ``"boxes"`` and ``"person_scores"`` survive writing and reading.
        tells_skeleton: whether files say what their keypoints are, by names or by a number that the format gives.
        completed: records without any estimate are people to be refined, too; so are keypoints without one.
        takes_new: where in a file that was read new people can be put.
    """

    name: str
    title: str
    skeletons: tuple[str, ...]
    kind: ImageKind
    sniff: Callable[[FileProbe], bool]
    read: Callable[[Path, Skeleton | None, OnError], ParsedFile]
    write: Callable[[Path, ParsedFile], None]
    relative: bool = False
    pixels_by: str = ""
    folder: bool = False
    any_file_name: bool = False
    first_frame: int = 0
    holds: frozenset[str] = frozenset({"scores", "boxes", "person_scores"})
    tells_skeleton: bool = True
    completed: bool = False
    takes_new: Literal["nowhere", "in its images", "anywhere"] = "nowhere"


class PeopleBuilder:
    """Collect the people of a file one by one and check their numbers.

    Args:
        path: named in messages.
        skeleton: what the keypoints are; None: found from the number of keypoints of the first person.
        on_error: at an unusable person, raise InputError, or keep their record without estimates and go on.
        skeletons: names among which a number of keypoints decides; all that are shipped if empty.
        records: the records of all people, if they are not to be collected.
    """

    def __init__(
        self,
        path: str | Path,
        skeleton: Skeleton | None,
        on_error: OnError,
        skeletons: Sequence[str] = (),
        records: Sequence[Any] | None = None,
    ) -> None:
        self.path, self.skeleton, self.on_error, self._skeletons = path, skeleton, on_error, skeletons
        self._records, self._collected = records, list[Any]()
        self._numbers = bytearray()  # float32 of each usable person: keypoints, box, score
        self._usable: list[bool] = []
        self.frames: list[int] = []
        self._original_scores: list[float] = []
        self._track_ids: list[int] = []
        self.problems: list[str] = []

    def add(
        self,
        where: str,
        frame: int,
        record: Any,
        triples: Any,
        box: Any = None,
        person_score: Any = None,
        track_id: int = -1,
    ) -> None:
        """Take a person.

        Args:
            where: names the person in a message, such as ``"record 3"``.
            frame: place of their image among the images.
            record: as it came.
            triples: x, y and score of K keypoints; None or NaN where there is no estimate.
            box: xywh, or None.
            person_score: None: the mean of the scores.
            track_id: -1: none.
        """
        try:
            row = self._checked(triples, box, person_score)
        except ValueError as error:
            self.refuse(where, frame, record, str(error))
            return
        self._numbers += row.astype(np.float32).tobytes()
        self._append(frame, record, True, track_id)

    def add_rows(
        self, frames: Sequence[int], records: Sequence[Any], rows: np.ndarray, track_ids: Sequence[int]
    ) -> None:
        """Take R people whose numbers were checked: ``rows`` (R, 3 K + 5) float64 keypoints, box and score of each."""
        self._numbers += rows.astype(np.float32).tobytes()
        for frame, record, track_id in zip(frames, records, track_ids, strict=True):
            self._append(frame, record, True, track_id)

    def refuse(self, where: str, frame: int, record: Any, problem: str) -> None:
        """Take a person who cannot be used; ``problem`` goes on after ``where``. Raises InputError unless skipping."""
        sentence = f"{self.path}: {where} {problem}"
        if self.on_error == "stop":
            raise InputError(sentence)
        self.problems.append(sentence)
        self.hand_through(frame, record)

    def hand_through(self, frame: int, record: Any) -> None:
        """Take a record that is of no person: it is written as it came, in its place among the people."""
        self._append(frame, record, False)

    def parsed(self, images: Sequence[int | str], kind: ImageKind, fallback: str = "coco17", **rest: Any) -> ParsedFile:
        """All that was taken; ``fallback`` names the skeleton of a file without any usable person."""
        skeleton = self.skeleton or load(fallback)
        k = len(skeleton)
        rows = np.zeros((len(self._usable), 3 * k + 5), np.float32)
        rows[np.array(self._usable, bool)] = np.frombuffer(self._numbers, np.float32).reshape(-1, 3 * k + 5)
        triples = rows[:, : 3 * k].reshape(-1, k, 3)
        return ParsedFile(
            skeleton,
            triples[..., :2],
            triples[..., 2],
            np.array(self.frames, np.int64),
            images,
            kind,
            rows[:, 3 * k : -1],
            rows[:, -1],
            self._collected if self._records is None else self._records,
            np.array(self._original_scores, np.float32),
            np.array(self._track_ids, np.int64),
            problems=self.problems,
            **rest,
        )

    def _append(self, frame: int, record: Any, usable: bool, track_id: int = -1) -> None:
        self._usable.append(usable)
        self.frames.append(frame)
        self._original_scores.append(original_score(record))
        self._track_ids.append(track_id)
        if self._records is None:
            self._collected.append(record)

    def _checked(self, triples: Any, box: Any, person_score: Any) -> np.ndarray:
        """(3 K + 5,) float64: the keypoints, the box, the score. ValueError with the rest of a sentence."""
        points = numbers(triples, "keypoints").reshape(-1, 3)
        if self.skeleton is None:
            self.skeleton = skeleton_with(len(points), self._skeletons)
        if len(points) != len(self.skeleton):
            others = " or ".join(with_keypoint_count(len(points)))
            hint = f"; with --skeleton {others} they can be read" if others else ""
            raise ValueError(
                f"has {len(points)} keypoints, expected the {len(self.skeleton)} of {self.skeleton.name}{hint}"
            )
        points = np.where(np.isfinite(points).all(1, keepdims=True), points, 0.0)
        if np.abs(points).max() > FARTHEST:
            place, column = divmod(int(np.abs(points).argmax()), 3)
            raise ValueError(
                f"has {points[place, column]:g} as the {('x', 'y', 'score')[column]} of "
                f"{self.skeleton.keypoint_names[place]}, expected a number within +-{FARTHEST:,.0f}"
            )
        xywh = np.zeros(4)
        if box is not None:
            xywh = numbers(box, "a box")
            if xywh.shape != (4,) or not is_usable_box(xywh):
                raise ValueError(
                    f"has {box!r:.60} as a box, expected x, y, width and height: numbers within +-{FARTHEST:,.0f}, the "
                    "last two 0 or more"
                )
        score = points[:, 2].mean() if person_score is None else numbers(person_score, "a score")
        if np.ndim(score) or not abs(score) <= FARTHEST:
            raise ValueError(f"has {describe(person_score)} as its score, expected a number within +-{FARTHEST:,.0f}")
        return np.concatenate([points.ravel(), xywh, [score]])


def is_usable_box(xywh: np.ndarray) -> np.ndarray:
    """(...) bool: boxes (..., 4) in which all numbers can be pixels, and sizes are 0 or more; 0 where none is known."""
    usable: np.ndarray = (np.abs(xywh) <= FARTHEST).all(-1) & (xywh[..., 2:] >= 0).all(-1)
    return usable


def numbers(values: Any, what: str) -> np.ndarray:
    """A nested list of JSON numbers as float64; None becomes NaN.

    Raises:
        ValueError: with the rest of a sentence, when something in it is no number or the lists are uneven.
    """
    wrong = values
    try:
        found = np.array(values)
        if found.dtype.kind not in "iuf" and found.size:
            flat = np.array(values, object)
            for value in flat.ravel():
                if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
                    wrong = value
                    raise TypeError
            found = np.array([np.nan if v is None else float(v) for v in flat.ravel()]).reshape(flat.shape)
        return found.astype(np.float64)
    except (TypeError, ValueError, OverflowError, RecursionError):
        raise ValueError(f"has {describe(wrong)} as {what}, expected numbers") from None


def skeleton_with(count: int, names: Sequence[str] = ()) -> Skeleton:
    """The shipped skeleton with so many keypoints, the first among ``names``; ValueError when there is none."""
    found = [name for name in (names or with_keypoint_count(count)) if len(load(name)) == count]
    if not found:
        known = ": " + ", ".join(f"{name} ({len(load(name))})" for name in names) if names else ""
        raise ValueError(
            f"has {count} keypoints, which no skeleton of this format has{known}; give one with --skeleton"
        )
    return load("coco17" if "coco17" in found else found[0])


def keep_equal(raw: Any, new: np.ndarray, decimals: Any, keep: np.ndarray | None = None) -> Any:
    """New numbers as nested lists (one number if ``new`` has no dimensions), the original ones where they say the same.

    Args:
        raw: the numbers as they came; if of another shape than ``new``, or no numbers, they are not used.
        new: an array.
        decimals: new numbers are rounded to so many, broadcast to ``new``; a difference of less than half of the last
            one is none.
        keep: bool, broadcast to ``new``: where the original is to stay, whatever ``new`` says.
    """
    scale = 10.0 ** np.asarray(decimals)
    rounded = np.round(np.asarray(new, np.float64) * scale) / scale + 0.0
    try:
        old = numbers(raw, "")
    except ValueError:
        return rounded.tolist()
    if old.shape != rounded.shape:
        return rounded.tolist()
    with np.errstate(invalid="ignore"):
        same = np.abs(new - old) <= 0.5 / scale + 2e-7 * np.abs(old)
    if keep is not None:
        same |= keep
    return np.where(same, np.array(raw, object), rounded.astype(object)).tolist()

"""Collect the checked people of a file as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from posefix.core.errors import InputError
from posefix.core.people import MAX_COORDINATE
from posefix.core.skeleton import Skeleton, load, with_keypoint_count
from posefix.formats.parsed_file import ImageKind, OnError, ParsedFile
from posefix.formats.records import describe, is_usable_box, numbers, original_score


class PeopleBuilder:
    """Collect the people of a file one by one and check their numbers.

    Args:
        path: named in messages.
        skeleton: of the keypoints; None infers it from the number of keypoints of the first person.
        on_error: whether an unusable person raises InputError, or is kept as a record without estimates.
        skeletons: names of skeletons to infer from; all shipped ones if empty.
        records: the records of all people, if these need not be collected.
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
        self._numbers = bytearray()  # float32 keypoints, box and score of usable people
        self._usable: list[bool] = []
        self.frames: list[int] = []
        self._original_scores: list[float] = []
        self._track_ids: list[int] = []
        self.problems: list[str] = []
        self.not_finite = 0  # number of people with NaN or infinite keypoints

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
        """Add a person.

        Args:
            where: names the person in a message, such as ``"record 3"``.
            frame: index of their image.
            record: the original record.
            triples: x, y and score of K keypoints; None or NaN where there is no estimate.
            box: xywh, or None.
            person_score: None takes the mean of the scores.
            track_id: -1 if there is none.
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
        """Add R checked people: ``rows`` (R, 3 K + 5) float64 with keypoints, box and score of each."""
        self._numbers += rows.astype(np.float32).tobytes()
        for frame, record, track_id in zip(frames, records, track_ids, strict=True):
            self._append(frame, record, True, track_id)

    def refuse(self, where: str, frame: int, record: Any, problem: str) -> None:
        """Add an unusable person, or raise InputError. ``problem`` continues the sentence of ``where``."""
        sentence = f"{self.path}: {where} {problem}"
        if self.on_error == "stop":
            raise InputError(sentence)
        self.problems.append(sentence)
        self.hand_through(frame, record)

    def hand_through(self, frame: int, record: Any) -> None:
        """Add a record that is not a person, which is written unchanged, in its place among the people."""
        self._append(frame, record, False)

    def parsed(self, images: Sequence[int | str], kind: ImageKind, fallback: str = "coco17", **rest: Any) -> ParsedFile:
        """Return everything collected; ``fallback`` is the skeleton of a file without any usable person."""
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
            not_finite=self.not_finite,
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
        """Return (3 K + 5,) float64: keypoints, box, score; raise ValueError with the end of a sentence."""
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
        if np.abs(points).max() > MAX_COORDINATE:
            keypoint, column = divmod(int(np.abs(points).argmax()), 3)
            raise ValueError(
                f"has {points[keypoint, column]:g} as the {('x', 'y', 'score')[column]} of "
                f"{self.skeleton.keypoint_names[keypoint]}, expected a number within +-{MAX_COORDINATE:,.0f}"
            )
        xywh = np.zeros(4)
        if box is not None:
            xywh = numbers(box, "a box")
            if xywh.shape != (4,) or not is_usable_box(xywh):
                raise ValueError(
                    f"has {box!r:.60} as a box, expected x, y, width and height: numbers within "
                    f"+-{MAX_COORDINATE:,.0f}, the last two 0 or more"
                )
        score = points[:, 2].mean() if person_score is None else numbers(person_score, "a score")
        if np.ndim(score) or not abs(score) <= MAX_COORDINATE:
            raise ValueError(
                f"has {describe(person_score)} as its score, expected a number within +-{MAX_COORDINATE:,.0f}"
            )
        return np.concatenate([points.ravel(), xywh, [score]])


def skeleton_with(count: int, names: Sequence[str] = ()) -> Skeleton:
    """Return the shipped skeleton with ``count`` keypoints, the first among ``names``; ValueError if there is none."""
    matching = [name for name in (names or with_keypoint_count(count)) if len(load(name)) == count]
    if not matching:
        choices = ": " + ", ".join(f"{name} ({len(load(name))})" for name in names) if names else ""
        raise ValueError(
            f"has {count} keypoints, which no skeleton of this format has{choices}; give one with --skeleton"
        )
    return load("coco17" if "coco17" in matching else matching[0])

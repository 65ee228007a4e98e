"""What is done so far of a long refinement, kept beside the output until the output is there."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from posefix.core.errors import InputError
from posefix.refine.batches import RefinedBatch

SUFFIX = ".progress"


def journal_path(output: Path) -> Path:
    """Where the progress of a run that will write ``output`` is kept: beside it."""
    return output.with_name(output.name + SUFFIX)


def fingerprint(files: Iterable[Path], options: dict[str, Any]) -> str:
    """SHA-256 of what determines a result: the content of the files and the options."""
    digest = hashlib.sha256(json.dumps(options, sort_keys=True, default=str).encode())
    for path in files:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


class Journal:
    """Finished batches, one JSON line each, appended as they are done; a line cut short by a crash is dropped.

    As a context manager it is closed at the end, whatever happens, and removed if it holds no batch.

    Attributes:
        path: of the file.
        finished: the batches of the run that is continued.

    Args:
        output: the file that will be written in the end; the journal lies beside it.
        signature: of the work; a journal of other work is never continued.
        resume: continue what is there; without, a journal that holds finished people is never overwritten.
        people: how many people the work has; a line about others is damaged. None: not known.
        keypoints: how many keypoints each has. None: not known.

    Raises:
        InputError: when the journal to continue is of other work or damaged, when there is one that is not to be
            continued, or when the folder cannot be written.
    """

    def __init__(
        self, output: Path, signature: str, resume: bool, people: int | None = None, keypoints: int | None = None
    ) -> None:
        self.path = journal_path(output)
        self.finished: list[RefinedBatch] = []
        self._empty = True
        try:
            if resume and self.path.is_file():
                length = self._read(signature, people, keypoints)
                self._file = self.path.open("r+b")
                self._file.truncate(length)
                self._file.seek(length)
            elif self._in_use():
                raise InputError(
                    f"{self.path}: holds what an interrupted run has refined; "
                    "--resume goes on, or delete it to start anew"
                )
            else:
                length = 0
                self._file = self.path.open("wb")
            if not length:
                self._append({"work": signature})
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written ({error.strerror})") from None

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if self._empty and not self.finished:
            self.path.unlink(missing_ok=True)

    def append(self, batch: RefinedBatch) -> None:
        """Keep a finished batch."""
        self._empty = False
        self._append(
            {
                "rows": batch.rows.tolist(),
                "keypoints": _encoded(batch.keypoints),
                "expected": _encoded(batch.expected),
                "keypoint_scores": _encoded(batch.keypoint_scores),
                "problems": batch.problems,
            }
        )

    def remove(self) -> None:
        """The output is written: nothing is to be continued any more."""
        self._file.close()
        self.path.unlink(missing_ok=True)

    def _in_use(self) -> bool:
        """Whether there is more in the file than the first line of a journal."""
        if not self.path.is_file():
            return False
        with self.path.open("rb") as file:
            first, second = file.readline(1 << 20), file.readline(1 << 20)
        return bool(first) and not (first.startswith(b'{"work": ') and not second.endswith(b"\n"))

    def _append(self, entry: dict[str, Any]) -> None:
        self._file.write(json.dumps(entry).encode() + b"\n")
        self._file.flush()

    def _read(self, signature: str, people: int | None, keypoints: int | None) -> int:
        """Take in the whole lines of an existing journal; returns their length in bytes."""
        length = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file):
                if not line.endswith(b"\n"):
                    break
                try:
                    entry = json.loads(line)
                    if number == 0 and entry["work"] != signature:
                        raise InputError(
                            f"{self.path}: is of another run (other results, images, checkpoint or options); "
                            "delete it to start anew"
                        )
                    if number:
                        self.finished.append(_batch(entry, people, keypoints))
                except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
                    if isinstance(error, InputError):
                        raise
                    raise InputError(f"{self.path}: line {number + 1} is damaged; delete it to start anew") from None
                length += len(line)
        return length


def _batch(entry: dict[str, Any], people: int | None, keypoints: int | None) -> RefinedBatch:
    """The batch of one line; ValueError, KeyError, TypeError or OverflowError where it is none."""
    rows = _rows(entry["rows"], people)
    poses = _decoded(entry["keypoints"]).reshape(len(rows), -1 if keypoints is None else keypoints, 2)
    if not np.isfinite(poses).all():
        raise ValueError("a keypoint is not finite")
    problems = [(row, str(text)) for row, text in entry["problems"]]
    _rows([row for row, _ in problems], people)
    expected = _decoded(entry["expected"]).reshape(len(rows))
    keypoint_scores = _decoded(entry["keypoint_scores"]).reshape(poses.shape[:2])
    for values in (expected, keypoint_scores):
        if not (np.isnan(values) | ((values >= 0) & (values <= 1.001))).all():
            raise ValueError("an expected similarity is not between 0 and 1")
    return RefinedBatch(rows, poses, expected, keypoint_scores, problems)


def _encoded(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values, "<f4").tobytes()).decode()


def _decoded(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text, validate=True), "<f4")


def _rows(found: list[Any], people: int | None) -> np.ndarray:
    if not isinstance(found, list) or any(type(row) is not int or row < 0 for row in found):
        raise ValueError("rows are not whole numbers from 0 on")
    rows = np.array(found, np.int64)
    if people is not None and (rows >= people).any():
        raise ValueError("a row is beyond the people")
    return rows

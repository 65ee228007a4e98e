"""Keep the finished batches of a long refinement next to its output until the output is written."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from posefix.core.errors import InputError
from posefix.refine.batches import RefinedBatch

SUFFIX = ".progress"


def journal_path(output: Path) -> Path:
    """Name the file, next to ``output``, that keeps the progress of a run that will write ``output``."""
    return output.with_name(output.name + SUFFIX)


def fingerprint(files: Iterable[Path], options: dict[str, Any]) -> str:
    """Compute the SHA-256 of what determines a result: the content of the files and the options."""
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
        shape: (N, K), how many people the work has and how many keypoints each; a line that does not fit is damaged.

    Raises:
        InputError: when the journal to continue is of other work or damaged, when there is one that is not to be
            continued, or when the folder cannot be written.
    """

    def __init__(self, output: Path, signature: str, resume: bool, shape: tuple[int, int]) -> None:
        self.path = journal_path(output)
        self.finished: list[RefinedBatch] = []
        length = 0
        try:
            if self.path.is_file():
                if resume:
                    length = self._read(signature, shape)
                else:
                    self._require_unused()
            self._file = self.path.open("r+b" if length else "wb")
            self._file.truncate(length)
            self._file.seek(length)
            self._holds_batches = bool(self.finished)
            if not length:
                self._append({"work": signature})
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written ({error.strerror})") from None

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        if not self._holds_batches:
            self.path.unlink(missing_ok=True)

    def append(self, batch: RefinedBatch) -> None:
        """Keep a finished batch."""
        self._holds_batches = True
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
        """Delete the file, once the output is written."""
        self._file.close()
        self.path.unlink(missing_ok=True)

    def _require_unused(self) -> None:
        """Raise InputError if the file is more than the first line of a journal."""
        with self.path.open("rb") as file:
            first, second = file.readline(1 << 20), file.readline(1 << 20)
        if first and (second.endswith(b"\n") or not first.startswith(b'{"work": ')):
            raise InputError(
                f"{self.path}: holds what an interrupted run has refined; --resume goes on, or delete it to start anew"
            )

    def _append(self, entry: dict[str, Any]) -> None:
        self._file.write(json.dumps(entry).encode() + b"\n")
        self._file.flush()

    def _read(self, signature: str, shape: tuple[int, int]) -> int:
        """Take in the whole lines of an existing journal; returns their length in bytes."""
        length = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file):
                if not line.endswith(b"\n"):
                    break
                try:
                    entry = json.loads(line)
                    other_work = number == 0 and entry["work"] != signature
                    if number:
                        self.finished.append(_batch(entry, *shape))
                except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
                    raise InputError(f"{self.path}: line {number + 1} is damaged; delete it to start anew") from None
                if other_work:
                    raise InputError(
                        f"{self.path}: is of another run (other results, images, checkpoint or options); "
                        "delete it to start anew"
                    )
                length += len(line)
        return length


def _batch(entry: dict[str, Any], people: int, keypoints: int) -> RefinedBatch:
    """Build the batch of one line; ValueError, KeyError, TypeError or OverflowError where it is none."""
    problems = [(row, str(text)) for row, text in entry["problems"]]
    for row in [*entry["rows"], *(row for row, _ in problems)]:
        if type(row) is not int or not 0 <= row < people:
            raise ValueError(f"{row!r} is no row of {people} people")
    count = len(entry["rows"])
    poses = _decoded(entry["keypoints"]).reshape(count, keypoints, 2)
    expected = _decoded(entry["expected"]).reshape(count)
    keypoint_scores = _decoded(entry["keypoint_scores"]).reshape(count, keypoints)
    if not np.isfinite(poses).all():
        raise ValueError("a keypoint is not finite")
    for values in (expected, keypoint_scores):
        if not (np.isnan(values) | ((values >= 0) & (values <= 1.001))).all():
            raise ValueError("an expected similarity is not between 0 and 1")
    return RefinedBatch(np.array(entry["rows"], np.int64), poses, expected, keypoint_scores, problems)


def _encoded(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values, "<f4").tobytes()).decode()


def _decoded(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text, validate=True), "<f4")

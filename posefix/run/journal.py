"""Keep the finished batches of a long refinement next to its output until the output is written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
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


class _Work(msgspec.Struct):
    """The first line of a journal: the signature of the work."""

    work: str


class _Line(msgspec.Struct):
    """A finished batch, as :class:`RefinedBatch`; arrays are the bytes of little-endian float32, in base64."""

    rows: list[int]
    keypoints: bytes
    expected: bytes
    keypoint_scores: bytes
    problems: list[tuple[int, str]]

    def batch(self, people: int, keypoints: int) -> RefinedBatch:
        """Build the batch; raises ValueError where it is none of so many people with so many keypoints."""
        if any(not 0 <= row < people for row in [*self.rows, *(row for row, _ in self.problems)]):
            raise ValueError("a row of nobody")
        count = len(self.rows)
        poses = np.frombuffer(self.keypoints, "<f4").reshape(count, keypoints, 2)
        expected = np.frombuffer(self.expected, "<f4").reshape(count)
        scores = np.frombuffer(self.keypoint_scores, "<f4").reshape(count, keypoints)
        shares = np.concatenate([expected, scores.ravel()])
        if not np.isfinite(poses).all() or not (np.isnan(shares) | ((shares >= 0) & (shares <= 1.001))).all():
            raise ValueError("a keypoint is not finite, or an expected similarity not between 0 and 1")
        return RefinedBatch(np.array(self.rows, np.int64), poses, expected, scores, self.problems)


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
                length = self._read(signature, shape) if resume else self._require_unused()
            self._file = self.path.open("r+b" if length else "wb")
            self._file.truncate(length)
            self._file.seek(length)
            self._holds_batches = bool(self.finished)
            if not length:
                self._append(_Work(signature))
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
        arrays = (np.asarray(a, "<f4").tobytes() for a in (batch.keypoints, batch.expected, batch.keypoint_scores))
        self._append(_Line(batch.rows.tolist(), *arrays, batch.problems))

    def remove(self) -> None:
        """Delete the file, once the output is written."""
        self._file.close()
        self.path.unlink(missing_ok=True)

    def _require_unused(self) -> int:
        """Raise InputError if the file is more than the first line of a journal; returns 0, the length to keep."""
        with self.path.open("rb") as file:
            first, second = file.readline(1 << 20), file.readline(1 << 20)
        if first and (second.endswith(b"\n") or not first.startswith(b'{"work":')):
            raise InputError(
                f"{self.path}: holds what an interrupted run has refined; --resume goes on, or delete it to start anew"
            )
        return 0

    def _append(self, line: msgspec.Struct) -> None:
        self._file.write(msgspec.json.encode(line) + b"\n")
        self._file.flush()

    def _read(self, signature: str, shape: tuple[int, int]) -> int:
        """Take in the whole lines of an existing journal; returns their length in bytes."""
        length, work = 0, signature
        with self.path.open("rb") as file:
            for number, line in enumerate(file):
                if not line.endswith(b"\n"):
                    break
                try:
                    if number:
                        self.finished.append(msgspec.json.decode(line, type=_Line).batch(*shape))
                    else:
                        work = msgspec.json.decode(line, type=_Work).work
                except (ValueError, RecursionError):
                    raise InputError(f"{self.path}: line {number + 1} is damaged; delete it to start anew") from None
                if work != signature:
                    raise InputError(
                        f"{self.path}: is of another run (other results, images, checkpoint or options); "
                        "delete it to start anew"
                    )
                length += len(line)
        return length

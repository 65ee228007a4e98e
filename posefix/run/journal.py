"""Journal of finished batches, kept next to the output of a refinement until that is written."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np

from posefix.core.errors import InputError
from posefix.refine.batches import RefinedBatch

SUFFIX = ".progress"


def journal_path(output: Path) -> Path:
    """Return the path of the journal of a run that writes ``output``."""
    return output.with_name(output.name + SUFFIX)


class _Line(msgspec.Struct):
    """A :class:`RefinedBatch`; arrays are bytes of little-endian float32, in base64."""

    rows: list[int]
    keypoints: bytes
    expected: bytes
    keypoint_scores: bytes
    problems: list[tuple[int, str]]

    def batch(self, people: int, keypoints: int) -> RefinedBatch:
        """Build the batch; raises ValueError unless it fits that number of people and keypoints."""
        if any(not 0 <= row < people for row in [*self.rows, *(row for row, _ in self.problems)]):
            raise ValueError("a row of no person")
        count = len(self.rows)
        poses = np.frombuffer(self.keypoints, "<f4").reshape(count, keypoints, 2)
        expected = np.frombuffer(self.expected, "<f4").reshape(count)
        scores = np.frombuffer(self.keypoint_scores, "<f4").reshape(count, keypoints)
        values = np.concatenate([expected, scores.ravel()])
        if not np.isfinite(poses).all() or not (np.isnan(values) | ((values >= 0) & (values <= 1.001))).all():
            raise ValueError("a keypoint is not finite, or an expected similarity not between 0 and 1")
        return RefinedBatch(np.array(self.rows, np.int64), poses, expected, scores, self.problems)


class Journal:
    """A file of finished batches, one JSON line each; a line truncated by a crash is dropped.

    As a context manager it closes the file, and removes it if it contains no batch.

    Attributes:
        path: of the file.
        finished: batches of the resumed run.

    Args:
        output: the output of the run; the journal is next to it.
        signature: identifies the work; a journal of other work is never resumed.
        resume: continue an existing journal; otherwise a journal with batches is never overwritten.
        shape: (N, K) people and keypoints; lines that do not fit are damaged.

    Raises:
        InputError: when the journal to resume is of other work or damaged, when there is one without ``resume``, or
            when the folder cannot be written.
    """

    def __init__(self, output: Path, signature: str, resume: bool, shape: tuple[int, int]) -> None:
        self.path = journal_path(output)
        self.finished: list[RefinedBatch] = []
        try:
            with self.path.open("a+b") as file:
                file.seek(0)
                length = self._read(file, signature if resume else None, shape)
                file.truncate(length)
            self._file = self.path.open("ab")
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
        """Write a finished batch."""
        self._holds_batches = True
        arrays = (np.asarray(a, "<f4").tobytes() for a in (batch.keypoints, batch.expected, batch.keypoint_scores))
        self._append(_Line(batch.rows.tolist(), *arrays, batch.problems))

    def remove(self) -> None:
        """Remove the file on exit, once the output is written."""
        self._holds_batches = False

    def _append(self, line: _Line | dict[str, str]) -> None:
        self._file.write(msgspec.json.encode(line) + b"\n")
        self._file.flush()

    def _read(self, file: BinaryIO, signature: str | None, shape: tuple[int, int]) -> int:
        """Read the complete lines; returns their length in bytes, 0 for a new journal."""
        length = 0
        for number, line in enumerate(file):
            if number and not line.endswith(b"\n"):
                break
            if number and signature is None:
                raise InputError(
                    f"{self.path}: holds what an interrupted run has refined; --resume goes on, or delete it to start "
                    "anew"
                )
            try:
                if number:
                    self.finished.append(msgspec.json.decode(line, type=_Line).batch(*shape))
                elif signature not in (None, msgspec.json.decode(line, type=dict[str, str])["work"]):
                    other = "other results, images, checkpoint or options"
                    raise InputError(f"{self.path}: is of another run ({other}); delete it to start anew")
            except InputError:
                raise
            except (ValueError, KeyError, RecursionError):
                raise InputError(f"{self.path}: line {number + 1} is damaged; delete it to start anew") from None
            length += len(line)
        return 0 if signature is None else length

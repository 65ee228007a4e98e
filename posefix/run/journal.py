"""Keep the finished batches of a long refinement next to its output until the output is written."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np

from posefix.core.errors import InputError
from posefix.refine.batches import RefinedBatch

SUFFIX = ".progress"


def journal_path(output: Path) -> Path:
    """Name the file, next to ``output``, that keeps the progress of a run that will write ``output``."""
    return output.with_name(output.name + SUFFIX)


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
            raise ValueError("a row of no person")
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
        """Keep a finished batch."""
        self._holds_batches = True
        arrays = (np.asarray(a, "<f4").tobytes() for a in (batch.keypoints, batch.expected, batch.keypoint_scores))
        self._append(_Line(batch.rows.tolist(), *arrays, batch.problems))

    def remove(self) -> None:
        """Let the file go at the end, once the output is written."""
        self._holds_batches = False

    def _append(self, line: _Line | dict[str, str]) -> None:
        self._file.write(msgspec.json.encode(line) + b"\n")
        self._file.flush()

    def _read(self, file: BinaryIO, signature: str | None, shape: tuple[int, int]) -> int:
        """Take in the whole lines of what is there; returns their length, 0 for a journal that is begun anew."""
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

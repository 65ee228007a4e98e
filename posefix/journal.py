"""What is done so far of a long refinement, kept beside the output until the output is there."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

import numpy as np

from posefix.errors import InputError
from posefix.refiner import RefinedBatch

SUFFIX = ".progress"


def fingerprint(files: Iterable[Path], options: dict) -> str:
    """SHA-256 of what determines a result: the content of the files and the options."""
    digest = hashlib.sha256(json.dumps(options, sort_keys=True, default=str).encode())
    for path in files:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


class Journal:
    """Finished batches, one JSON line each, appended as they are done; a line cut short by a crash is dropped.

    Args:
        output: the file that will be written in the end; the journal lies beside it.
        signature: of the work; a journal of other work is never continued.
        resume: continue what is there; otherwise begin anew.

    Raises:
        InputError: when the journal to continue is of other work, or the folder cannot be written.
    """

    def __init__(self, output: Path, signature: str, resume: bool) -> None:
        self.path = output.with_name(output.name + SUFFIX)
        self.finished: list[RefinedBatch] = []
        try:
            if resume and self.path.is_file():
                length = self._read(signature)
                self._file = self.path.open("r+b")
                self._file.truncate(length)
                self._file.seek(length)
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

    def append(self, batch: RefinedBatch) -> None:
        """Keep a finished batch."""
        self._append(
            {
                "rows": batch.rows.tolist(),
                "keypoints": base64.b64encode(np.ascontiguousarray(batch.keypoints, "<f4").tobytes()).decode(),
                "problems": batch.problems,
            }
        )

    def remove(self) -> None:
        """The output is written: nothing is to be continued any more."""
        self._file.close()
        self.path.unlink(missing_ok=True)

    def _append(self, entry: dict) -> None:
        self._file.write(json.dumps(entry).encode() + b"\n")
        self._file.flush()

    def _read(self, signature: str) -> int:
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
                            "leave out --resume to start anew"
                        )
                    if number:
                        self.finished.append(_batch(entry))
                except (ValueError, KeyError, TypeError) as error:
                    if isinstance(error, InputError):
                        raise
                    raise InputError(
                        f"{self.path}: line {number + 1} is damaged; leave out --resume to start anew"
                    ) from None
                length += len(line)
        return length


def _batch(entry: dict) -> RefinedBatch:
    rows = np.array(entry["rows"], np.int64)
    keypoints = np.frombuffer(base64.b64decode(entry["keypoints"]), "<f4").reshape(len(rows), -1, 2)
    return RefinedBatch(rows, keypoints, [(int(row), str(text)) for row, text in entry["problems"]])

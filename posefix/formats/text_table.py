"""Tables of numbers in text files, in which unchanged cells keep their text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

import numpy as np

from posefix.core.files import write_atomically, write_folder
from posefix.formats.parsed_file import ParsedFile
from posefix.formats.records import is_estimate, keep_equal


@dataclass(frozen=True, eq=False)
class TextTable:
    """Lines of text whose cells contain the numbers of people."""

    lines: list[str]  # of all files, without newlines
    cell: re.Pattern[str]  # matches each cell of a line
    columns: np.ndarray  # (I, K, 3) int64, cells with x, y and score of each individual's keypoints; -1 if missing
    decimals: tuple[int, int, int]  # of new x, y and score
    files: dict[str, int]  # number of lines of each file in a folder, by name; without folder the name is ""
    copied: Sequence[Path] = ()  # other files of the folder
    people: set[tuple[int, int]] = field(default_factory=set)  # lines and individuals
    score_columns: dict[int, int] = field(default_factory=dict)  # cell with the person's score, by line

    def triples(self, line: int, individual: int) -> np.ndarray:
        """Return (K, 3) x, y and score: NaN in empty cells, score 1 without a cell; ValueError if not numbers."""
        columns = self.columns[individual]
        triples = self._numbers(line, columns.ravel()).reshape(-1, 3)
        triples[columns[:, 2] < 0, 2] = 1.0
        return triples

    def with_people(self, parsed: ParsedFile) -> tuple[list[str], set[tuple[int, int]]]:
        """Return the lines with the people's changed numbers, and the people who are no longer there."""
        lines, removed = list(self.lines), set(self.people)
        decimals = [*self.decimals * self.columns.shape[1], 6]
        for person, record in enumerate(parsed.records):
            line, individual = record["line"], record["individual"]
            removed.discard((line, individual))
            if not parsed.has_no_estimate(person):
                keypoints, scores = parsed.keypoints[person], parsed.scores[person]
                columns = np.append(self.columns[individual], self.score_columns.get(line, -1))
                old = self._numbers(line, columns)
                keep = np.append(np.repeat((scores == 0) & ~is_estimate(self.triples(line, individual)), 3), False)
                new = np.append(np.column_stack([keypoints, scores]), parsed.person_scores[person])
                new = np.array(keep_equal(old.tolist(), new, decimals, keep), np.float64)
                changed = (columns >= 0) & (new != old) & np.isfinite(new)
                lines[line] = self.with_cells(lines[line], columns[changed], list(map(repr, new[changed].tolist())))
        return lines, removed

    def with_cells(self, line: str, columns: np.ndarray, texts: Sequence[str]) -> str:
        """Return a line with new texts in the cells ``columns``, (M,) int64."""
        spans = [match.span() for match in self.cell.finditer(line)]
        for column, text in sorted(zip(columns.tolist(), texts, strict=True), reverse=True):
            start, end = spans[column]
            line = line[:start] + text + line[end:]
        return line

    def write(self, path: Path, lines: Sequence[str | None]) -> None:
        """Write the files with new lines, leaving out those that are None."""
        rest = iter(lines)
        parts = {name: islice(rest, count) for name, count in self.files.items()}
        texts = {name: "\n".join(line for line in part if line is not None) for name, part in parts.items()}
        if "" in texts:
            write_atomically(path, texts[""])
        else:
            write_folder(path, chain(texts.items(), ((file.name, file) for file in self.copied)))

    def _numbers(self, line: int, columns: np.ndarray) -> np.ndarray:
        cells = [*self.cell.findall(self.lines[line]), ""]
        return np.array([float(cells[column].strip() or "nan") for column in columns.tolist()])

"""Common to all formats: the content of a file as arrays, and how a format is recognised, read and written.

A format's module converts files to :class:`ParsedFile` and back; :mod:`posefix.formats.exchange` adds image ids,
converts relative coordinates to pixels, and changes skeletons.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from posefix.core.skeleton import Skeleton
from posefix.formats.coco import ImageRecord

if TYPE_CHECKING:
    from posefix.formats.probe import FileProbe

OnError = Literal["stop", "skip"]
ImageKind = Literal["id", "name", "index"]


@dataclass(eq=False)
class ParsedFile:
    """Content of a file or folder: N people of one skeleton with K keypoints, in M images.

    Attributes:
        skeleton: of the keypoints.
        keypoints: (N, K, 2) float, x and y, in pixels, or fractions of the image if the format is ``relative``; (0, 0)
            with score 0 where there is no estimate.
        scores: (N, K) float confidences; 0 means no estimate.
        frames: (N,) int64 index of each person's image in ``images``; in the order of the file.
        images: every image in the file, also those without people: ids, names, or indices.
        kind: what ``images`` are: ``"id"`` (COCO's image ids), ``"name"`` (file names, with or without folders and
            extension), or ``"index"`` (the n-th image or frame, from 0).
        boxes: (N, 4) float xywh, in the units of ``keypoints``; zeros if there is none.
        person_scores: (N,) float.
        records: N original records of the format; None for new people.
        original_scores: (N,) float32 scores before rescoring, as :attr:`People.original_scores`.
        track_ids: (N,) int64, as :attr:`People.track_ids`.
        listed: name and size of each of the M images, if known; else empty.
        document: whatever else has to be written back, as the format likes; None for new files.
        problems: one sentence for each unusable person, who is passed through.
        not_finite: number of people with NaN or infinite keypoints, which count as not detected.
        holds: for reading, the part of :attr:`Format.holds` that this file has; None: all.
        new: for writing, whether the people come from elsewhere and have no records.
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
    not_finite: int = 0
    holds: frozenset[str] | None = None
    new: bool = False

    def __len__(self) -> int:
        return len(self.keypoints)

    def people_of(self) -> list[list[int]]:
        """Return the indices of the people of each image, in order."""
        people: list[list[int]] = [[] for _ in self.images]
        for person, frame in enumerate(self.frames.tolist()):
            people[frame].append(person)
        return people

    def has_no_estimate(self, person: int) -> bool:
        """Whether a person's record must be written unchanged, since it has no usable estimate."""
        return not self.new and not (self.scores[person] > 0).any()


@dataclass(frozen=True)
class Format:
    """How a format is recognised, read and written.

    Attributes:
        name: as used by ``--format`` and ``--to``.
        title: its name in messages.
        skeletons: names of skeletons that new files can have; people in others are converted to the first.
        kind: how it names images.
        sniff: whether a file or folder has this format.
        read: ``(path, skeleton or None, on_error) -> ParsedFile``; raises InputError.
        write: ``(path, content)``: atomically; unchanged values keep their text.
        relative: whether its coordinates are fractions of the image.
        pixels_by: option of its tool that makes it write pixels, if it can write fractions of the image, too.
        folder: whether it is written as a folder.
        any_file_name: whether a single file with the people of one image may have any name.
        first_frame: number of a video's first frame in names.
        holds: which of ``"scores"`` (of keypoints), ``"boxes"`` and ``"person_scores"`` survive writing and reading.
        tells_skeleton: whether files identify their keypoints, by name or by number.
        completed: whether records and keypoints without any estimate are refined, too.
        takes_new: where new people can be added to a file that was read.
        estimator_ap: published AP on COCO, in percent, of the estimators that write it; None if any may.
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
    estimator_ap: float | None = None

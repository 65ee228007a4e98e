"""What every format has in common: the content of a file as arrays, and how a format is recognised, read and written.

A format's module turns its files into :class:`ParsedFile` and back; image ids, pixels of relative coordinates and other
skeletons are up to :mod:`posefix.formats.exchange`.
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
        not_finite: how many people have keypoints that are NaN or infinite, and so count as not detected.
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
    not_finite: int = 0
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
        estimator_ap: AP in percent on COCO that the estimators which write it have published; None if any may.
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

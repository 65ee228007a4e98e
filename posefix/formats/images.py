"""Match names, numbers or positions in results with images."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from posefix.core.errors import InputError
from posefix.core.files import first_repeated, read_json
from posefix.formats.coco import ImageRecord, read_images
from posefix.formats.parsed_file import ImageKind

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
_ORIENTATION, _TURNED = 0x112, (5, 6, 7, 8)  # EXIF tag, and its values for rotations by 90 degrees
_DIGITS = 18  # of an id, which must fit into 64 bits


class ImageIndex:
    """The images of a data set: ids, names and sizes.

    Args:
        records: the images by id.
        what: names the data set in messages.
        folder: of the files, to read sizes from.
        video: (width, height) of a video whose frames are the images; ids are frame numbers from 0.
        numbered: whether ids are the data set's own, so that they can be matched with ids in results.
        frames: whether ids are frame numbers.
        upright: whether sizes are those after EXIF rotation, as estimators see images; COCO ignores it.
    """

    def __init__(
        self,
        records: Mapping[int, ImageRecord],
        what: str,
        folder: Path | None = None,
        video: tuple[int, int] | None = None,
        numbered: bool = True,
        upright: bool = False,
        frames: bool = False,
    ) -> None:
        self.records, self.what, self.numbered, self.upright = dict(records), what, numbered, upright
        self.frames = frames
        self._folder, self.video = folder, video
        self._by_name: dict[str, list[int]] = {}
        for image_id, record in self.records.items():
            for name in {base_name(record.file_name), without_extension(base_name(record.file_name))}:
                self._by_name.setdefault(name, []).append(image_id)

    @classmethod
    def of_annotations(cls, path: Path, folder: Path | None = None) -> ImageIndex:
        """Index the images of an annotations file; raise InputError as reading it does."""
        return cls(read_images(path, read_json(path)), str(path), folder)

    @classmethod
    def of_folder(cls, folder: Path, frames: bool = False) -> ImageIndex:
        """Index the images in a folder and its subfolders, sorted by name.

        Ids are the numbers at the end of the names if these are distinct, else positions; InputError if they are not
        and the images are the ``frames`` of a video, or if the folder does not exist.
        """
        if not os.path.isdir(folder):
            kind = "is a file" if os.path.exists(folder) else "does not exist"
            raise InputError(f"{folder}: {kind}, expected a folder of images")
        names = sorted(
            os.path.relpath(os.path.join(root, name), folder).replace(os.sep, "/")
            for root, _, files in os.walk(folder)
            for name in files
            if os.path.splitext(name)[1].lower() in EXTENSIONS
        )
        ids, numbered = ids_of(names)
        if frames and not numbered:
            raise InputError(
                f"{folder}: the images' names do not all end in different numbers, which must count the frames of one "
                "video: rename them (frame_0001.jpg)"
            )
        records = {i: ImageRecord(name) for i, name in zip(ids, names, strict=True)}
        return cls(records, str(folder), folder, numbered=numbered, upright=True, frames=frames)

    @classmethod
    def of_video(cls, path: Path, size: tuple[int, int]) -> ImageIndex:
        """Index the frames of a video."""
        return cls({}, str(path), video=size, frames=True)

    def match(
        self,
        keys: Sequence[int | str],
        kind: ImageKind,
        first_frame: int = 0,
        any_file_name: bool = False,
        skip: bool = False,
    ) -> np.ndarray:
        """Return the ids (M,) int64 of the images that M keys refer to.

        A name refers to the image with this name or a path that ends in it, with or without extension. If no name
        does, names of frames refer to the frame whose number they end in. An index refers to the n-th image or frame if
        the indices are those of all images or image names count from 0 or 1, else to the image whose name ends in it.

        Args:
            keys: names, indices or ids.
            kind: kind of the keys.
            first_frame: number in names of the first frame of a video, which is frame 0.
            any_file_name: whether a single name can be the results' own, for the only image.
            skip: give names without an image negative ids instead of raising.

        Raises:
            InputError: naming the first five keys that match no image, or several.
        """
        if kind == "id":
            return np.array(keys, np.int64)
        if kind == "index" and self.video is None:
            return self._by_index([int(key) for key in keys])
        matches = [] if kind == "index" else [self._by_name_and_folder(str(key)) for key in keys]
        if self.frames and not any(matches):
            return self._by_frame_number(keys, 0 if self.video is None else first_frame)
        if any_file_name and not matches[0] and len(keys) == len(self.records) == 1:
            return np.array(list(self.records), np.int64)
        if not skip:
            self._refuse(keys, [not image_ids for image_ids in matches], "are not there")
        self._refuse(keys, [len(image_ids) > 1 for image_ids in matches], "can each be several of its images")
        image_ids = [ids[0] if ids else -1 - i for i, ids in enumerate(matches)]
        if (repeated := first_repeated(image_ids)) is not None:
            names = [key for key, image_id in zip(keys, image_ids, strict=True) if image_id == repeated]
            raise InputError(f"{self.what}: {names[0]!r} and {names[1]!r} mean the same image")
        return np.array(image_ids, np.int64)

    def size(self, image_id: int) -> tuple[int, int] | None:
        """Return width and height of an image in pixels; None if unknown."""
        if self.video is not None:
            return self.video
        record = self.records.get(image_id)
        if record is not None and record.width > 0 and record.height > 0:
            return record.width, record.height
        if record is None or self._folder is None:
            return None
        file = file_of(self._folder, record)
        size = size_of(file, self.upright) if file else None
        if size is not None:
            self.records[image_id] = ImageRecord(record.file_name, *size)
        return size

    def _by_name_and_folder(self, key: str) -> list[int]:
        """Return the images that a name can refer to: most folders in common first, then the same extension."""
        name = base_name(key)
        candidates = {*self._by_name.get(name, ()), *self._by_name.get(without_extension(name), ())}
        folders = _parts(key)[-2::-1]

        def similarity(image_id: int) -> tuple[int, bool, bool]:
            *own_folders, last = _parts(self.records[image_id].file_name)
            common = len(os.path.commonprefix([folders, own_folders[::-1]]))  # noqa: RUF071 (lists of names)
            return common, last == name, common == len(own_folders)

        best = max(map(similarity, candidates), default=None)
        return [image_id for image_id in candidates if similarity(image_id) == best]

    def _by_index(self, indices: list[int]) -> np.ndarray:
        ids, frames = list(self.records), np.array(indices, np.int64)
        if not indices or sorted(indices) == list(range(len(ids))):
            return np.array(ids, np.int64)[frames]
        count_from_one = set(ids) == set(range(1, len(ids) + 1))
        for shift in (1, 0) if count_from_one else (0, 1):
            if self.numbered and all(index + shift in self.records for index in indices):
                return frames + shift
        raise InputError(
            f"{self.what}: has {len(ids)} images, but the results, which do not name theirs, are of {len(indices)} "
            f"frames, the last the {max(indices) + 1}-th; there must be as many images in the same order, or image "
            "names that end in the numbers of the frames"
        )

    def _by_frame_number(self, keys: Sequence[int | str], first: int) -> np.ndarray:
        numbers = [key + first if isinstance(key, int) else number_of(key) for key in keys]
        self._refuse(keys, [number is None for number in numbers], "do not end in a frame number")
        early = [number is not None and number < first for number in numbers]
        self._refuse(keys, early, f"count frames from 0, but in this format from {first}")
        return np.array(numbers, np.int64) - first

    def _refuse(self, keys: Sequence[int | str], wrong: Sequence[bool], what: str) -> None:
        """Raise InputError that names the first five wrong keys, if any."""
        if any(wrong):
            names = [repr(key)[:100] for key, is_wrong in zip(keys, wrong, strict=True) if is_wrong]
            raise InputError(
                f"{self.what}: {len(names)} of {len(keys)} images that the results name {what}, "
                f"{'the first five' if len(names) > 5 else 'namely'} {', '.join(names[:5])}"
            )


def ids_of(names: Sequence[str]) -> tuple[list[int], bool]:
    """Return ids for images, and whether they are the numbers at the end of the names, as opposed to positions."""
    numbers = [number for number in map(number_of, names) if number is not None]
    numbered = len(set(numbers)) == len(names)
    return (numbers if numbered else list(range(len(names)))), numbered


def number_of(name: str) -> int | None:
    """Return the number at the end of a file name without extension: 139 for ``a/COCO_val2014_000000000139.jpg``."""
    stem = without_extension(base_name(name))
    digits = stem[len(stem.rstrip("0123456789")) :]
    significant = digits.lstrip("0")
    return int(significant or "0") if digits and len(significant) <= _DIGITS else None


def file_of(folder: Path, record: ImageRecord) -> Path | None:
    """Return the file of an image in a folder, with or without subfolder; None if it does not exist."""
    candidates = (folder / record.file_name, folder / base_name(record.file_name))
    return next((path for path in candidates if os.path.isfile(path)), None)


def base_name(name: str) -> str:
    """Return an image's name without folders."""
    return (_parts(name) or [""])[-1]


def _parts(name: str) -> list[str]:
    return [part for part in re.split(r"[/\\]", name) if part not in ("", ".")]


def without_extension(name: str) -> str:
    """Return a name without the extension of an image file; other endings stay."""
    stem, extension = os.path.splitext(name)
    return stem if extension.lower() in EXTENSIONS else name


def size_of(path: Path, upright: bool) -> tuple[int, int] | None:
    """Read width and height of an image, after its EXIF rotation if ``upright``, from its header; None without one."""
    try:
        with Image.open(path) as image:
            rotated = upright and image.getexif().get(_ORIENTATION, 1) in _TURNED
            width, height = (int(length) for length in image.size)
            return (height, width) if rotated else (width, height)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError, SyntaxError):
        return None

"""The packed form of a training set: one safetensors file of JPEG crops and arrays."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np

from posefix.core import geometry
from posefix.core.errors import InputError
from posefix.core.files import require_writable
from posefix.media.crops import shrink
from posefix.media.opencv import cv2
from posefix.training.config import AugmentationConfig, ModelConfig
from posefix.training.data.stores import FolderStore

JPEG_QUALITY = 92
BORDER = 4  # px kept beyond what a crop reaches: interpolation and averaging look at neighbours
_ALIGNMENT = 8  # bytes; where the header and the JPEGs end, so that every array begins at a multiple of its items' size
_LARGEST = 10**15  # no offset in the file has more digits
_TYPES = {"f8": "F64", "f4": "F32", "i8": "I64", "i4": "I32", "u1": "U8"}


def pack(
    store: FolderStore,
    path: Path,
    model: ModelConfig,
    augmentation: AugmentationConfig,
    on_person: Callable[[], None] | None = None,
    quality: int = JPEG_QUALITY,
) -> int:
    """Write the people of a folder store with the pixels that training may show around each.

    That is the circle of :func:`reach` around each person's annotated box. A crop around an estimated pose
    (``augmentation.pose_box``) may reach beyond it where the pose lies far outside the box; it is black there. A person
    whose whole image is within reach keeps the image file's own bytes; for the others the region is cut out, averaged
    down by a whole factor that leaves it at least as fine as the finest crop, and stored as JPEG.

    The JPEGs go to the disk as they are made; only one image is held in memory.

    Args:
        store: the training set.
        path: file to write, whole or not at all.
        model: whose crops will be trained on; ``input_size`` and ``box_padding`` count.
        augmentation: what will be done to them; ``scale`` and ``shift`` count.
        on_person: called after each person.
        quality: of the JPEGs, up to 100; below the usual one no file keeps its own bytes.

    Returns:
        Size of the file in bytes.

    Raises:
        InputError: when an image cannot be read or the file cannot be written.
    """
    people = store.people
    boxes = geometry.person_boxes(people.boxes, people.keypoints, people.labelled)
    regions, factors = reach(boxes, model, augmentation)
    arrays = {
        "keypoints": people.keypoints,
        "scores": people.scores,
        "image_ids": people.image_ids,
        "set_image_ids": store.image_ids,
        "boxes": people.boxes,
        "areas": people.areas,
        "maps": np.zeros((len(people), 2, 3)),
        "offsets": np.zeros((len(people), 2), np.int64),
    }
    metadata = {"skeleton": json.dumps(people.skeleton.to_dict())}
    with _new_file(path) as file:
        data = _write_header(file, arrays, metadata, _LARGEST)
        current, image = None, None
        for row in np.argsort(people.image_ids, kind="stable"):
            image_id = int(people.image_ids[row])
            if image_id != current:
                current, image = image_id, store.images[image_id]
            file_name = store.images.path(image_id) if quality >= JPEG_QUALITY else None
            jpeg, arrays["maps"][row] = _region(image, file_name, regions[row], int(factors[row]), quality)
            start = file.tell() - data
            arrays["offsets"][row] = start, start + len(jpeg)
            file.write(jpeg)
            if on_person:
                on_person()
        file.write(b"\0" * (-file.tell() % _ALIGNMENT))
        jpegs = file.tell() - data
        for name in _order(arrays):
            file.write(_little_endian(arrays[name]).tobytes())
        size = file.tell()
        file.seek(0)
        _write_header(file, arrays, metadata, jpegs, data)
    return size


def reach(boxes: np.ndarray, model: ModelConfig, augmentation: AugmentationConfig) -> tuple[np.ndarray, np.ndarray]:
    """What the crops of :func:`posefix.training.data.augment.random_maps` may show around boxes, at any rotation.

    Args:
        boxes: (N, 4) xywh in pixels.

    Returns:
        (N, 3) float64, centre and radius of a circle that holds every crop, and (N,) int64, by what whole factor its
        pixels can be averaged (at least 1) and be as fine as the finest crop.
    """
    height, width = model.input_size
    aspect = (width - 1) / (height - 1)
    sides = np.maximum(boxes[:, 2:], geometry.MIN_BOX_SIZE)
    padded = np.maximum(sides[:, 0], sides[:, 1] * aspect) * model.box_padding
    widest = padded * (1 + augmentation.scale)
    radius = np.hypot(widest, widest / aspect) * (0.5 + augmentation.shift)
    factors = np.maximum(padded * (1 - augmentation.scale) / (width - 1), 1).astype(np.int64)
    return np.column_stack([boxes[:, :2] + boxes[:, 2:] / 2, radius]), factors


def _region(
    image: np.ndarray, file: Path | None, circle: np.ndarray, factor: int, quality: int
) -> tuple[bytes, np.ndarray]:
    """Encoded pixels around a circle (3,), and the (2, 3) map from the image's pixels to theirs.

    Where that is the whole image, the bytes are those of ``file``, if it is given.
    """
    limit = np.array([image.shape[1], image.shape[0]])
    centre, radius = circle[:2], circle[2] + BORDER * factor
    low = np.clip(np.floor(centre - radius), 0, limit - 1).astype(int)
    high = np.clip(np.ceil(centre + radius) + 1, low + 1, limit).astype(int)
    whole = factor == 1 and (high - low == limit).all()
    if whole and file is not None and file.suffix.lower() in (".jpg", ".jpeg"):
        return file.read_bytes(), np.array([[1.0, 0, 0], [0, 1.0, 0]])
    part, shrunk = shrink(np.ascontiguousarray(image[low[1] : high[1], low[0] : high[0]]), factor)
    placed = geometry.compose(np.array([[1.0, 0, low[0]], [0, 1.0, low[1]]]), shrunk)
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(part, cv2.COLOR_RGB2BGR), options)
    return jpeg.tobytes(), geometry.invert(placed[None])[0]


def _write_header(
    file: BinaryIO, arrays: dict[str, np.ndarray], metadata: dict[str, str], jpegs: int, length: int = 0
) -> int:
    """Write the header of a safetensors file: the JPEGs come first, then the arrays in :func:`_order`.

    Args:
        jpegs: bytes of JPEG; when the header is first written, a number with at least as many digits.
        length: bytes to fill with spaces, those of the header first written; 0 then.

    Returns:
        Its length in bytes, where the data begin.
    """
    header: dict = {"__metadata__": metadata, "jpegs": {"dtype": "U8", "shape": [jpegs], "data_offsets": [0, jpegs]}}
    stop = jpegs
    for name in _order(arrays):
        array = arrays[name]
        start, stop = stop, stop + array.nbytes
        header[name] = {"dtype": _TYPES[array.dtype.str[1:]], "shape": array.shape, "data_offsets": [start, stop]}
    content = json.dumps(header).encode()
    length = length or 8 + len(content) + -len(content) % _ALIGNMENT
    file.write((length - 8).to_bytes(8, "little") + content.ljust(length - 8))
    return length


def _order(arrays: dict[str, np.ndarray]) -> list[str]:
    return sorted(arrays, key=lambda name: -arrays[name].itemsize)


def _little_endian(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<"))


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    """A file that takes its place when all is written, and leaves nothing behind when something goes wrong."""
    require_writable(path)
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name[:200]}.{secrets.token_hex(4)}.part")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None
    finally:
        with suppress(OSError):
            temporary.unlink()

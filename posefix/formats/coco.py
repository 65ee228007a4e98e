"""COCO annotation files: the images that they list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posefix.core.errors import InputError
from posefix.formats import records as checks


@dataclass(frozen=True)
class ImageRecord:
    """File name of an image, relative to the image folder, and its size in pixels; 0 if unknown."""

    file_name: str
    width: int = 0
    height: int = 0


def read_images(path: str | Path, content: Any) -> dict[int, ImageRecord]:
    """Return the images of an annotations file by id; ``path`` is for messages.

    Raises:
        InputError: the content is not an object with images and annotations, or an image is malformed.
    """
    expected = "expected an object with images and annotations"
    if not isinstance(content, Mapping):
        kind = "a list, as results do" if isinstance(content, list) else checks.describe(content)
        raise InputError(f"{path}: holds {kind}, {expected}")
    for key in ("images", "annotations"):
        if not isinstance(content.get(key), list):
            raise InputError(f"{path}: has no list of {key}, {expected}")
    images: dict[int, ImageRecord] = {}
    for i, image in enumerate(content["images"]):
        if not isinstance(image, Mapping) or not checks.is_image_id(image.get("id")):
            raise InputError(f"{path}: image {i} has no integer id")
        name, size = image.get("file_name"), [image.get(key, 0) for key in ("width", "height")]
        if not isinstance(name, str) or not name:
            raise InputError(f"{path}: image {i} (id {image['id']}) has no file_name")
        if not all(checks.is_score(length) and length >= 0 for length in size):
            raise InputError(f"{path}: image {i} (id {image['id']}) has a width or height that is not in pixels")
        record = ImageRecord(name, int(size[0]), int(size[1]))
        if images.setdefault(int(image["id"]), record) != record:
            raise InputError(f"{path}: image {i} has the id {image['id']} of another image")
    return images

"""The packed form of a training set: one safetensors file of JPEG crops and arrays."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from safetensors.numpy import save

from posefix import geometry
from posefix.data.crops import shrink
from posefix.data.stores import FolderStore
from posefix.files import write_atomically

REACH = 2.2  # side of what is kept around a person, in longer sides of the box: padding, scale, rotation and shift
JPEG_QUALITY = 92


def pack(store: FolderStore, path: Path, resolution: int, on_person: Callable[[], None] | None = None) -> int:
    """Write the people of a folder store with the pixels that training may show around each.

    A person whose whole image is within reach keeps the image file's own bytes; for the others the region is cut out,
    averaged down by a whole factor while the person stays at least ``resolution`` pixels long, and stored as JPEG.

    Args:
        store: the training set.
        path: file to write.
        resolution: the longer side of the crops that will be trained on, in pixels.
        on_person: called after each person.

    Returns:
        Size of the file in bytes.
    """
    people = store.people
    boxes = geometry.person_boxes(people.boxes, people.keypoints, people.labelled)
    maps = np.zeros((len(people), 2, 3))
    order = np.argsort(people.image_ids, kind="stable")
    current, image = None, None
    encoded: dict[int, bytes] = {}
    for row in order:
        image_id = int(people.image_ids[row])
        if image_id != current:
            current, image = image_id, store.images[image_id]
        encoded[int(row)], maps[row] = _region(image, store.images.path(image_id), boxes[row], resolution)
        if on_person:
            on_person()
    jpegs = [encoded[row] for row in range(len(people))]
    stops = np.cumsum([len(j) for j in jpegs], dtype=np.int64)
    arrays = {
        "keypoints": people.keypoints,
        "scores": people.scores,
        "image_ids": people.image_ids,
        "boxes": people.boxes,
        "areas": people.areas,
        "maps": maps,
        "offsets": np.stack([np.r_[0, stops[:-1]], stops], axis=1) if len(stops) else np.zeros((0, 2), np.int64),
        "jpegs": np.frombuffer(b"".join(jpegs), np.uint8),
    }
    content = save(arrays, {"skeleton": json.dumps(people.skeleton.to_dict())})
    write_atomically(path, content)
    return len(content)


def _region(image: np.ndarray, file: Path, box: np.ndarray, resolution: int) -> tuple[bytes, np.ndarray]:
    """Encoded pixels around a box, and the (2, 3) map from the image's pixels to theirs."""
    limit = np.array([image.shape[1], image.shape[0]])
    side = REACH * max(box[2], box[3], geometry.MIN_BOX_SIZE)
    centre = box[:2] + box[2:] / 2
    low = np.clip(np.floor(centre - side / 2), 0, limit - 1).astype(int)
    high = np.clip(np.ceil(centre + side / 2) + 1, low + 1, limit).astype(int)
    factor = max(int(max(box[2], box[3]) / resolution), 1)
    if factor == 1 and (high - low == limit).all() and file.suffix.lower() in (".jpg", ".jpeg"):
        return file.read_bytes(), np.array([[1.0, 0, 0], [0, 1.0, 0]])
    part, shrunk = shrink(np.ascontiguousarray(image[low[1] : high[1], low[0] : high[0]]), factor)
    placed = geometry.compose(np.array([[1.0, 0, low[0]], [0, 1.0, low[1]]]), shrunk)
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(part, cv2.COLOR_RGB2BGR), options)
    return jpeg.tobytes(), geometry.invert(placed[None])[0]

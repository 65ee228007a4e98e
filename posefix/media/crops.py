"""Cut the crops of people out of images, by one affine map each."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from typing import Protocol

import numpy as np

from posefix.core import geometry
from posefix.core.errors import InputError
from posefix.media.opencv import cv2
from posefix.media.video import VideoFrames

PEOPLE_PER_READ = 256  # people cut out of an image each time it is decoded


class Images(Protocol):
    """Images by their ids: a dict, an :class:`posefix.ImageFolder`, or whatever else gives them."""

    def __getitem__(self, image_id: int, /) -> np.ndarray:
        """(H, W, 3) uint8 RGB; raises KeyError or InputError when there is no such image."""


def crop_image(image: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Warp the part of an image that a map shows.

    Only the part that is shown is touched, and where the map shrinks by two or more it is first averaged over whole
    pixels, so that large photos neither cost much nor alias. Outside the image is black.

    Args:
        image: (H, W, 3) uint8.
        matrix: (2, 3) map from image pixels to crop pixels.
        size: (height, width) of the crop.

    Returns:
        (height, width, 3) uint8.
    """
    height, width = size
    inverse = geometry.invert(matrix[None])
    shown = geometry.transform(geometry.UNIT_CORNERS[None] * [width - 1.0, height - 1.0], inverse)[0]
    limit = np.array([image.shape[1], image.shape[0]])
    low = np.clip(np.floor(shown.min(0)) - 2, 0, limit).astype(int)
    high = np.clip(np.ceil(shown.max(0)) + 3, 0, limit).astype(int)
    if (high <= low).any():
        return np.zeros((height, width, 3), np.uint8)
    part = image[low[1] : high[1], low[0] : high[0]]
    local = geometry.compose(matrix[None], np.array([[[1, 0, low[0]], [0, 1, low[1]]]], np.float64))
    factor = int(1 / max(geometry.map_scale(matrix[None])[0], 1e-6))
    if factor >= 2:
        part, shrunk = shrink(part, factor)
        local = geometry.compose(local, shrunk[None])
    return cv2.warpAffine(part, local[0], (width, height), flags=cv2.INTER_LINEAR)


def shrink(image: np.ndarray, factor: int) -> tuple[np.ndarray, np.ndarray]:
    """Average blocks of ``factor`` x ``factor`` pixels.

    Returns:
        The smaller image (edge pixels repeated to fill the last blocks) and the (2, 3) map from its pixels to the
        original's: the centre of a block is ``factor * i + (factor - 1) / 2``.
    """
    height, width = (-(-side // factor) * factor for side in image.shape[:2])
    if (height, width) != image.shape[:2]:
        bottom, right = height - image.shape[0], width - image.shape[1]
        image = cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
    smaller = cv2.resize(image, (width // factor, height // factor), interpolation=cv2.INTER_AREA)
    offset = (factor - 1) / 2
    return smaller, np.array([[factor, 0, offset], [0, factor, offset]], np.float64)


def stream_crops(
    image_ids: np.ndarray,
    maps: np.ndarray,
    size: tuple[int, int],
    images: Images,
    *,
    workers: int,
    ahead: int,
    skip: bool,
) -> Iterator[np.ndarray | str]:
    """Give the crop of each person, or the sentence that says why there is none.

    Args:
        image_ids: (N,) int64, people of one image one after another.
        maps: (N, 2, 3) from original pixels to the crop's.
        size: (height, width) of the crops.
        images: image id to (H, W, 3) uint8 RGB; looked up once per image (again for each 256 people in one).
        workers: threads; a :class:`VideoFrames` is read by one, in order.
        ahead: crops that may wait for their use.
        skip: whether to give the sentence of an unusable image in place of its crops; else it is raised.

    Raises:
        InputError: for an unusable image, unless ``skip``.
    """

    def cut(piece: slice) -> list[np.ndarray | str]:
        try:
            image = _checked_image(images, int(image_ids[piece.start]))
        except InputError as error:
            if not skip:
                raise
            return [str(error)] * (piece.stop - piece.start)
        return [crop_image(image, matrix, size) for matrix in maps[piece]]

    bounds = np.append(np.flatnonzero(np.diff(image_ids, prepend=image_ids[:1] - 1)), len(image_ids))
    pieces = (
        slice(first, min(first + PEOPLE_PER_READ, end))
        for begin, end in pairwise(bounds.tolist())
        for first in range(begin, end, PEOPLE_PER_READ)
    )
    pending: deque[tuple[int, Future[list[np.ndarray | str]]]] = deque()
    pool = ThreadPoolExecutor(1 if isinstance(images, VideoFrames) else workers, thread_name_prefix="crop")
    try:
        for piece in pieces:
            pending.append((piece.stop - piece.start, pool.submit(cut, piece)))
            while sum(count for count, _ in pending) > ahead:
                yield from pending.popleft()[1].result()
        while pending:
            yield from pending.popleft()[1].result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _checked_image(images: Images, image_id: int) -> np.ndarray:
    """The image of an id; InputError when there is none, or it is not (H, W, 3) uint8."""
    try:
        image = images[image_id]
    except LookupError:
        raise InputError(f"no image for image_id {image_id}") from None
    array = isinstance(image, np.ndarray)
    if not array or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        found = f"{image.dtype} {image.shape}" if array else type(image).__name__
        raise InputError(f"image {image_id} must be a numpy array (H, W, 3) of uint8, RGB, found {found}")
    return image

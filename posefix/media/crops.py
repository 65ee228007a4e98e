"""Cut crops out of images by affine maps."""

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
    """Images by id, such as a dict or a :class:`posefix.ImageFolder`."""

    def __getitem__(self, image_id: int, /) -> np.ndarray:
        """Return an image (H, W, 3) uint8 RGB; raises KeyError or InputError when there is none."""


def crop_image(image: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Warp an image to a crop; black outside the image.

    Only the visible part is processed. If the map shrinks it by two or more, it is first averaged over blocks of
    pixels, so that large photos are fast and do not alias.

    Args:
        image: (H, W, 3) uint8.
        matrix: (2, 3) map from image pixels to crop pixels.
        size: (height, width) of the crop.

    Returns:
        (height, width, 3) uint8.
    """
    height, width = size
    inverse = geometry.invert(matrix[None])
    corners = geometry.transform(geometry.UNIT_CORNERS[None] * [width - 1.0, height - 1.0], inverse)[0]
    limit = np.array([image.shape[1], image.shape[0]])
    low = np.clip(np.floor(corners.min(0)) - 2, 0, limit).astype(int)
    high = np.clip(np.ceil(corners.max(0)) + 3, 0, limit).astype(int)
    if (high <= low).any():
        return np.zeros((height, width, 3), np.uint8)
    visible = image[low[1] : high[1], low[0] : high[0]]
    visible_map = geometry.compose(matrix[None], np.array([[[1, 0, low[0]], [0, 1, low[1]]]], np.float64))
    factor = int(1 / max(geometry.map_scale(matrix[None])[0], 1e-6))
    if factor >= 2:
        visible, unshrink = shrink(visible, factor)
        visible_map = geometry.compose(visible_map, unshrink[None])
    return cv2.warpAffine(visible, visible_map[0], (width, height), flags=cv2.INTER_LINEAR)


def shrink(image: np.ndarray, factor: int) -> tuple[np.ndarray, np.ndarray]:
    """Average blocks of ``factor`` x ``factor`` pixels; edge pixels are repeated to fill the last blocks.

    Returns:
        The smaller image and the (2, 3) map from its pixels to the original's.
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
    """Yield the crop of each person, or the message that says why there is none.

    Args:
        image_ids: (N,) int64; people of one image are adjacent.
        maps: (N, 2, 3) from image pixels to crop pixels.
        size: (height, width) of the crops.
        images: image id to (H, W, 3) uint8 RGB; looked up once per image (again for each 256 people in one).
        workers: threads; a :class:`VideoFrames` is read by one, in order.
        ahead: maximum number of crops cut in advance.
        skip: whether to yield the message of an unusable image in place of its crops, instead of raising it.

    Raises:
        InputError: for an unusable image, unless ``skip``.
    """

    def cut(rows: slice) -> list[np.ndarray | str]:
        try:
            image = _checked_image(images, int(image_ids[rows.start]))
        except InputError as error:
            if not skip:
                raise
            return [str(error)] * (rows.stop - rows.start)
        return [crop_image(image, matrix, size) for matrix in maps[rows]]

    bounds = np.append(np.flatnonzero(np.diff(image_ids, prepend=image_ids[:1] - 1)), len(image_ids))
    chunks = (
        slice(first, min(first + PEOPLE_PER_READ, end))
        for begin, end in pairwise(bounds.tolist())
        for first in range(begin, end, PEOPLE_PER_READ)
    )
    pending: deque[tuple[int, Future[list[np.ndarray | str]]]] = deque()
    pool = ThreadPoolExecutor(1 if isinstance(images, VideoFrames) else workers, thread_name_prefix="crop")
    try:
        for rows in chunks:
            pending.append((rows.stop - rows.start, pool.submit(cut, rows)))
            while sum(count for count, _ in pending) > ahead:
                yield from pending.popleft()[1].result()
        while pending:
            yield from pending.popleft()[1].result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _checked_image(images: Images, image_id: int) -> np.ndarray:
    """Look up an image; InputError when there is none, or it is not (H, W, 3) uint8."""
    try:
        image = images[image_id]
    except LookupError:
        raise InputError(f"no image for image_id {image_id}") from None
    is_array = isinstance(image, np.ndarray)
    if not is_array or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        found = f"{image.dtype} {image.shape}" if is_array else type(image).__name__
        raise InputError(f"image {image_id} must be a numpy array (H, W, 3) of uint8, RGB, found {found}")
    return image

"""Cut crops of many people out of many images, ahead of their use, in threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise

import numpy as np

from posefix.core.errors import InputError
from posefix.media.crops import crop_image
from posefix.media.video import VideoImages

PEOPLE_PER_READ = 256  # people cut out of an image each time it is decoded


def stream_crops(
    image_ids: np.ndarray,
    maps: np.ndarray,
    size: tuple[int, int],
    images: Mapping[int, np.ndarray],
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
        workers: threads; a :class:`VideoImages` is read by one, in order.
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
    pool = ThreadPoolExecutor(1 if isinstance(images, VideoImages) else workers, thread_name_prefix="crop")
    try:
        for piece in pieces:
            pending.append((piece.stop - piece.start, pool.submit(cut, piece)))
            while sum(count for count, _ in pending) > ahead:
                yield from pending.popleft()[1].result()
        while pending:
            yield from pending.popleft()[1].result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _checked_image(images: Mapping[int, np.ndarray], image_id: int) -> np.ndarray:
    """The image of an id; InputError when there is none, or it is not (H, W, 3) uint8."""
    try:
        image = images[image_id]
    except KeyError:
        raise InputError(f"no image for image_id {image_id}") from None
    if (
        not isinstance(image, np.ndarray)
        or image.dtype != np.uint8
        or image.ndim != 3
        or image.shape[2] != 3
        or not image.size
    ):
        found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise InputError(f"image {image_id} must be a numpy array (H, W, 3) of uint8, RGB, found {found}")
    return image

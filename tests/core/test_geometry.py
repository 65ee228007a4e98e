"""Crops, flips and boxes: exact inverses, the same in every resolution, and robust to stray keypoints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posefix.core import geometry

coordinate = st.floats(-2000, 2000, width=32)
length = st.floats(0, 3000, width=32)
some_boxes = st.lists(st.tuples(coordinate, coordinate, length, length), min_size=1, max_size=4).map(np.array)
sizes = st.sampled_from([(256, 192), (384, 288), (128, 96), (64, 48)])
views = st.fixed_dictionaries(
    {"scale": st.floats(0.5, 1.5), "rotation": st.floats(-180, 180), "shift": st.floats(-0.3, 0.3)}
)
seeds = st.integers(0, 2**32 - 1)


def points(seed: int, n: int, low: float = -500, high: float = 2500) -> np.ndarray:
    return np.random.default_rng(seed).uniform(low, high, (n, 17, 2))


@given(some_boxes, sizes, views, seeds)
def test_crop_and_back_is_the_identity(boxes: np.ndarray, size: tuple[int, int], view: dict, seed: int) -> None:
    matrices = geometry.crop_matrices(boxes, size, **view)
    original = points(seed, len(boxes))
    back = geometry.transform(geometry.transform(original, matrices), geometry.invert(matrices))
    np.testing.assert_allclose(back, original, atol=1e-3)
    identity = geometry.compose(matrices, geometry.invert(matrices))
    np.testing.assert_allclose(identity, np.broadcast_to(np.eye(3)[:2], identity.shape), atol=1e-6)


@given(some_boxes, sizes)
def test_the_padded_box_fills_the_crop_between_pixel_centres(boxes: np.ndarray, size: tuple[int, int]) -> None:
    height, width = size
    matrices = geometry.crop_matrices(boxes, size, padding=1.0)
    sides = np.maximum(boxes[:, 2:], geometry.MIN_BOX_SIZE)
    low = boxes[:, :2] + boxes[:, 2:] / 2 - sides / 2
    corners = geometry.transform(np.stack([low, low + sides], axis=1), matrices)
    np.testing.assert_allclose(corners.mean(1) - [(width - 1) / 2, (height - 1) / 2], 0, atol=1e-6)
    extent = (corners[:, 1] - corners[:, 0]) / [width - 1, height - 1]
    assert (extent <= 1 + 1e-9).all()
    np.testing.assert_allclose(extent.max(1), 1)


@given(some_boxes, sizes, views)
def test_crops_keep_angles_and_turn_clockwise(boxes: np.ndarray, size: tuple[int, int], view: dict) -> None:
    matrices = geometry.crop_matrices(boxes, size, **view)
    scale = geometry.map_scale(matrices)[:, None, None]
    linear = matrices[..., :2] / scale
    np.testing.assert_allclose(linear @ linear.transpose(0, 2, 1), np.broadcast_to(np.eye(2), linear.shape), atol=1e-9)
    angle = np.rad2deg(np.arctan2(linear[:, 1, 0], linear[:, 0, 0]))  # y points down: positive is clockwise
    np.testing.assert_allclose(np.cos(np.deg2rad(angle - view["rotation"])), 1, atol=1e-9)


def test_scale_and_padding_multiply_and_shift_moves_by_a_share_of_the_view() -> None:
    box = np.array([[100.0, 50, 60, 80]])
    wide = geometry.crop_matrices(box, (256, 192), padding=1.25, scale=1.3)
    same = geometry.crop_matrices(box, (256, 192), padding=1.25 * 1.3)
    np.testing.assert_allclose(wide, same)
    shifted = geometry.crop_matrices(box, (256, 192), shift=np.array([[0.25, -0.5]]))
    moved = geometry.transform(np.array([[[130.0, 90]]]), shifted) - [95.5, 127.5]
    np.testing.assert_allclose(moved[0, 0], [-0.25 * 191, 0.5 * 255])


@given(some_boxes, sizes, views, seeds, st.lists(st.booleans(), min_size=4, max_size=4))
def test_flipped_maps_flip_the_points(
    boxes: np.ndarray, size: tuple[int, int], view: dict, seed: int, chosen: list[bool]
) -> None:
    width = size[1]
    matrices = geometry.crop_matrices(boxes, size, **view)
    flipped = np.array(chosen[: len(boxes)])
    both = geometry.flip_matrices(matrices, width, flipped)
    original = points(seed, len(boxes))
    plain, mirrored = geometry.transform(original, matrices), geometry.transform(original, both)
    np.testing.assert_allclose(mirrored[flipped, :, 0], width - 1 - plain[flipped, :, 0], atol=1e-6)
    np.testing.assert_allclose(mirrored[~flipped], plain[~flipped])
    np.testing.assert_allclose(mirrored[..., 1], plain[..., 1], atol=1e-6)
    np.testing.assert_allclose(geometry.flip_matrices(both, width, flipped), matrices, atol=1e-6)


@given(seeds, st.floats(-0.2, 0.5))
def test_pose_box_holds_every_point_of_an_ordinary_pose(seed: int, padding: float) -> None:
    """Ordinary: twelve keypoints all around, 60 to 95 px from the middle, so that the same box holds the rest.

    Two thirds of the keypoints are at least seven of the twelve, so that two of them are opposite and no disc of less
    than 60 px holds them; none is four times as far from the median. (Of poses drawn evenly from a square, one in
    100,000 has a keypoint that is.)
    """
    generator = np.random.default_rng(seed)
    angles = generator.uniform(0, 2 * np.pi, (3, 17))
    angles[:, :12] = angles[:, :1] + np.arange(12) * np.pi / 6
    radii = generator.uniform(60, 95, (3, 17, 1))
    keypoints = 200 + radii * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    valid = generator.uniform(size=(3, 17)) < 0.7
    valid[:, :12] = True
    boxes = geometry.pose_boxes(keypoints, valid, padding=0)
    wider = geometry.pose_boxes(keypoints, valid, padding)
    for k, v, box in zip(keypoints, valid, boxes, strict=True):
        np.testing.assert_allclose(box, [*k[v].min(0), *np.ptp(k[v], axis=0)])
    np.testing.assert_allclose(wider[:, 2:], boxes[:, 2:] * (1 + 2 * padding))
    np.testing.assert_allclose(wider[:, :2] + wider[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2)


@given(seeds, st.integers(0, 16), st.sampled_from([(0.0, 0.0), (-1e6, 3.0), (1e6, 1e6), (np.nan, 5.0), (np.inf, 0.0)]))
def test_pose_box_does_not_care_about_one_stray_point(seed: int, stray: int, where: tuple[float, float]) -> None:
    keypoints = points(seed, 1, 1000, 1200)
    valid = np.ones((1, 17), bool)
    valid[0, stray] = False
    expected = geometry.pose_boxes(keypoints, valid)
    keypoints[0, stray] = where
    np.testing.assert_allclose(geometry.pose_boxes(keypoints, np.ones((1, 17), bool)), expected)


def test_pose_box_does_not_care_about_a_face_of_placeholders() -> None:
    keypoints = points(1, 1, 1000, 1200)
    keypoints[0, :5] = 0
    body = np.arange(17)[None] >= 5
    everything = geometry.pose_boxes(keypoints, np.ones((1, 17), bool))
    np.testing.assert_allclose(everything, geometry.pose_boxes(keypoints, body))


def test_pose_boxes_of_nobody_and_nothing() -> None:
    assert geometry.pose_boxes(np.zeros((0, 17, 2)), np.zeros((0, 17), bool)).shape == (0, 4)
    assert not geometry.pose_boxes(points(0, 2), np.zeros((2, 17), bool)).any()


@pytest.mark.parametrize("padding", [0.0, geometry.POSE_BOX_PADDING])
def test_pose_boxes_on_a_line_or_a_point_are_widened_about_their_centre(padding: float) -> None:
    least = geometry.MIN_BOX_SIZE
    keypoints = np.zeros((3, 17, 2))
    keypoints[0] = 50, 80  # all in one place
    keypoints[1] = np.stack([np.full(17, 30), np.linspace(100, 200, 17)], axis=1)
    keypoints[2] = np.stack([np.linspace(100, 200, 17), np.full(17, 30)], axis=1)
    boxes = geometry.pose_boxes(keypoints, np.ones((3, 17), bool), padding)
    long = 100 * (1 + 2 * padding)
    np.testing.assert_allclose(boxes[:, 2:], [[least, least], [least, long], [long, least]])
    np.testing.assert_allclose(boxes[:, :2] + boxes[:, 2:] / 2, [[50, 80], [30, 150], [150, 30]])
    one = geometry.pose_boxes(keypoints[:1], np.arange(17)[None] == 3, padding)
    np.testing.assert_allclose(one, boxes[:1])
    assert geometry.known_boxes(boxes).all()


def test_pose_boxes_keep_real_poses_whole(data_root: Path) -> None:
    real = np.load(data_root / "coco" / "poses_train2017.npz")["keypoints"][::20].astype(float)
    many = (real[..., 2] > 0).sum(1) >= 10
    keypoints, valid = real[many, :, :2], real[many, :, 2] > 0
    boxes = geometry.pose_boxes(keypoints, valid, padding=0)
    seen = np.where(valid[..., None], keypoints, np.nan)
    extent = np.nanmax(seen, 1) - np.nanmin(seen, 1)
    assert (np.abs(extent - boxes[:, 2:]).max(1) > 0.5).mean() < 0.005


def test_person_boxes_prefer_the_given_box() -> None:
    keypoints, valid = points(5, 4), np.ones((4, 17), bool)
    given_boxes = np.array([[1.0, 2, 3, 4], [1, 2, 0, 4], [1, 2, np.nan, 4], [0, 0, 0, 0]])
    chosen = geometry.person_boxes(given_boxes, keypoints, valid)
    np.testing.assert_array_equal(geometry.known_boxes(given_boxes), [True, False, False, False])
    np.testing.assert_array_equal(chosen[0], given_boxes[0])
    np.testing.assert_array_equal(chosen[1:], geometry.pose_boxes(keypoints, valid)[1:])


side = st.just(0.0) | st.floats(0.01, 3000)
solid_boxes = st.lists(st.tuples(coordinate, coordinate, side, side), min_size=1, max_size=4).map(np.array)


@given(solid_boxes, solid_boxes, coordinate)
def test_iou_is_symmetric_bounded_and_moves_along(a: np.ndarray, b: np.ndarray, shift: float) -> None:
    iou = geometry.iou(a[:, None], b)
    assert iou.shape == (len(a), len(b))
    np.testing.assert_allclose(iou, geometry.iou(b[:, None], a).T)
    assert ((iou >= 0) & (iou <= 1 + 1e-6)).all()
    offset = np.array([shift, 0, 0, 0])
    np.testing.assert_allclose(geometry.iou(a[:, None] + offset, b + offset), iou, atol=1e-6)
    own = geometry.iou(a, a)
    np.testing.assert_allclose(own, np.diag(geometry.iou(a[:, None], a)))
    np.testing.assert_allclose(own, (a[:, 2:] > 0).all(1), atol=1e-6)


@pytest.mark.parametrize(
    ("other", "expected"),
    [([0, 0, 10, 10], 1), ([5, 0, 10, 10], 1 / 3), ([10, 0, 10, 10], 0), ([2, 2, 5, 2], 0.1), ([0, 0, 0, 0], 0)],
)
def test_iou_examples(other: list[float], expected: float) -> None:
    np.testing.assert_allclose(geometry.iou(np.array([0, 0, 10, 10]), np.array(other)), expected)


def test_a_box_is_where_its_corners_go(rng: np.random.Generator) -> None:
    boxes = np.array([[10.0, 20, 30, 40], [0, 0, 0, 5]])
    maps = geometry.crop_matrices(np.array([[0.0, 0, 50, 80], [0, 0, 50, 80]]), (256, 192))
    moved = geometry.transform_boxes(boxes, maps)
    corners = geometry.transform(np.array([[[10.0, 20], [40, 60]]]), maps[:1])
    np.testing.assert_allclose(moved[0], corners.ravel())
    np.testing.assert_array_equal(moved[1], 0)
    mirrored = geometry.transform_boxes(boxes, geometry.flip_matrices(maps, 192))
    np.testing.assert_allclose(mirrored[0], [191 - moved[0, 2], moved[0, 1], 191 - moved[0, 0], moved[0, 3]])


@pytest.mark.parametrize("padding", [0.0, geometry.POSE_BOX_PADDING])
def test_a_box_made_of_the_pose_says_nothing_beside_it(padding: float, rng: np.random.Generator) -> None:
    keypoints, valid = rng.uniform(0, 100, (20, 17, 2)), np.ones((20, 17), bool)
    extents = geometry.pose_boxes(keypoints, valid, padding)
    np.testing.assert_array_equal(geometry.independent_boxes(extents, keypoints, valid), 0)
    wider = extents + np.array([-10, -10, 30, 30])
    np.testing.assert_array_equal(geometry.independent_boxes(wider, keypoints, valid), wider)
    np.testing.assert_array_equal(geometry.independent_boxes(0 * wider, keypoints, valid), 0)

"""Heatmaps and coordinates are inverse to each other, without bias."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from posefix.models import decode
from posefix.models.backbone import render_heatmaps

CROP, MAP = (192, 144), (48, 36)


def random_points(seed: int, margin: float = 0.0, count: int = 40) -> torch.Tensor:
    generator = np.random.default_rng(seed)
    high = np.array([CROP[1] - 1 - margin, CROP[0] - 1 - margin])
    return torch.from_numpy(generator.uniform(margin, high, (2, count, 2)).astype(np.float32))


def one_hot_maps(points: torch.Tensor) -> torch.Tensor:
    indices, weights = decode.bilinear_one_hot(points, MAP, CROP)
    return torch.zeros(*points.shape[:2], MAP[0] * MAP[1]).scatter_add_(2, indices, weights).view(2, -1, *MAP)


@settings(max_examples=30)
@given(st.integers(0, 10**6))
def test_the_expectation_of_the_target_is_the_keypoint_anywhere(seed: int) -> None:
    points = random_points(seed)
    decoded = decode.soft_argmax(one_hot_maps(points), CROP)
    assert (decoded - points).abs().max() < 0.02


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.floats(3, 9))
def test_the_peak_of_a_rendered_heatmap_is_the_keypoint_anywhere(seed: int, sigma: float) -> None:
    points = random_points(seed)
    ones, stride = torch.ones(points.shape[:2]), torch.tensor(decode.map_stride(CROP, MAP)[::-1])
    full = render_heatmaps(points, ones, CROP, sigma)
    assert (decode.subpixel_argmax(full, CROP)[0] - points).abs().max() < 0.05
    quarter = render_heatmaps(points / stride, ones, MAP, sigma / 4)
    assert (decode.subpixel_argmax(quarter, CROP)[0] - points).abs().max() < 0.05


def test_rendering_is_the_gaussian_of_its_definition() -> None:
    point, sigma, height = (30.25, 61.5), 4.0, 0.7
    rendered = render_heatmaps(torch.tensor([[point]]), torch.tensor([[height]]), (96, 72), sigma)
    for x, y in [(30, 61), (33, 58), (0, 0), (71, 95)]:
        expected = height * math.exp(-((x - point[0]) ** 2 + (y - point[1]) ** 2) / (2 * sigma**2))
        assert rendered[0, 0, y, x].item() == pytest.approx(expected, abs=1e-6)


def test_a_keypoint_without_amplitude_leaves_its_map_empty() -> None:
    points = random_points(1)
    amplitudes = torch.zeros(points.shape[:2])
    amplitudes[:, ::2] = 1
    rendered = render_heatmaps(points / 4, amplitudes, MAP, 1.25)
    assert rendered.is_contiguous(memory_format=torch.channels_last)
    assert (rendered.flatten(2).amax(2) > 0).equal(amplitudes > 0)


def test_decoding_a_flipped_map_gives_the_flipped_keypoint() -> None:
    points = random_points(2, count=17)
    exchange = torch.tensor([0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15])
    maps = one_hot_maps(points)
    mirrored = decode.soft_argmax(decode.flip_maps(maps, exchange), CROP)
    expected = points[:, exchange] * torch.tensor([-1.0, 1.0]) + torch.tensor([CROP[1] - 1.0, 0.0])
    torch.testing.assert_close(mirrored, expected, atol=1e-3, rtol=0)
    torch.testing.assert_close(decode.flip_maps(decode.flip_maps(maps, exchange), exchange), maps)


def test_expected_similarity_is_the_sum_of_its_definition() -> None:
    generator = torch.Generator().manual_seed(0)
    posterior = decode.spatial_softmax(torch.randn(1, 2, 8, 6, generator=generator))
    scales = torch.tensor([[5.0, 11.0]])
    size = (32, 24)
    stride_y, stride_x = decode.map_stride(size, (8, 6))
    found = decode.expected_similarity(posterior, scales, size)
    rows, columns = torch.meshgrid(torch.arange(8) * stride_y, torch.arange(6) * stride_x, indexing="ij")
    for keypoint, (i, j) in [(0, (0, 0)), (0, (4, 3)), (1, (7, 5))]:
        squared = (rows - i * stride_y) ** 2 + (columns - j * stride_x) ** 2
        expected = (posterior[0, keypoint] * torch.exp(-squared / (2 * scales[0, keypoint] ** 2))).sum()
        assert found[0, keypoint, i, j].item() == pytest.approx(expected.item(), rel=1e-5)


def test_between_two_modes_the_decoder_takes_the_greater_and_not_the_middle() -> None:
    points = torch.tensor([[[20.0, 30.0]]]), torch.tensor([[[120.0, 150.0]]])
    near, far = (one_hot_maps(p.expand(2, 1, 2)) for p in points)
    scales = torch.full((2, 1), 6.0)
    position, similarity, _ = decode.expected_oks_decode(0.6 * near + 0.4 * far, scales, CROP, torch.zeros(2, 1, 2))
    assert (position - points[0]).abs().max() < 1.0
    assert similarity.numpy() == pytest.approx(0.6, abs=0.08)  # less what the pixels of the map blur


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.floats(0.1, 12))
def test_a_mode_between_pixels_is_decoded_between_them_however_small_the_scale(seed: int, scale: float) -> None:
    points = random_points(seed, margin=8)
    scales = torch.full(points.shape[:2], scale)
    decoded = decode.expected_oks_decode(one_hot_maps(points), scales, CROP, points)
    assert (decoded.positions - points).norm(dim=-1).max() < 0.25


def test_an_input_that_the_network_agrees_with_stays_exactly_where_it_is() -> None:
    points = random_points(3, margin=8)
    scales = torch.full(points.shape[:2], 8.0)

    def decoded(keypoints: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = decode.expected_oks_decode(one_hot_maps(points), scales, CROP, keypoints)
        return decode.move_or_stay(found, keypoints, torch.ones(keypoints.shape[:2], dtype=torch.bool), margin=0.05)

    agreed, sure = decoded(points + 0.5)
    assert agreed.equal(points + 0.5) and (sure > 0.8).all()
    far = points.flip(1)
    moved, _ = decoded(far)
    distant = (far - points).norm(dim=-1) > 20
    assert (moved - points).norm(dim=-1)[distant].max() < 1.0


def test_sampled_values_are_those_of_the_pixels() -> None:
    maps = torch.rand(1, 1, *MAP, generator=torch.Generator().manual_seed(1))
    stride_y, stride_x = decode.map_stride(CROP, MAP)
    points = torch.tensor([[[7 * stride_x, 11 * stride_y]]])
    assert decode.sample_maps(maps, points, CROP).item() == pytest.approx(maps[0, 0, 11, 7].item(), abs=1e-4)
    assert decode.sample_maps(maps, torch.tensor([[[-1.0, 5.0]]]), CROP).item() == 0

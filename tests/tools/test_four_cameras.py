"""Triangulation from several cameras, on a scene that is known."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from posefix.lifting.measures import p_mpjpe
from tools.experiments.four_cameras import View, triangulate, turned

MATRIX = np.array([[1600.0, 0, 540], [0, 1600, 960], [0, 0, 1]])


@pytest.fixture
def views() -> list[View]:
    """Four cameras around the origin, 4 m from it and 2 m up, that look at it through a lens with distortion."""
    found = []
    for degrees in (0, 80, 190, 260):
        axes = Rotation.from_euler("xy", [20, degrees], degrees=True).as_matrix()
        found.append(View(MATRIX, np.array([-0.05, 0.13, 1e-3, 1e-3]), axes, np.array([0.1, -0.2, 4.0])))
    return found


@pytest.fixture
def points(rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(-0.8, 0.8, (200, 3))


def seen(views: list[View], points: np.ndarray) -> np.ndarray:
    """(V, N, 2) pixels, as OpenCV projects."""
    maps = [cv2.Rodrigues(view.rotation)[0] for view in views]
    return np.stack(
        [
            cv2.projectPoints(points, by, view.translation, view.matrix, view.distortion)[0][:, 0]
            for view, by in zip(views, maps, strict=True)
        ]
    )


def test_points_are_where_their_projections_say(views: list[View], points: np.ndarray) -> None:
    found, errors = triangulate(views, seen(views, points), np.ones((4, 200)))
    np.testing.assert_allclose(found, points, atol=1e-4)
    assert errors.shape == (4, 200) and errors.max() < 0.1


def test_a_view_that_is_wrong_is_outvoted(views: list[View], points: np.ndarray, rng: np.random.Generator) -> None:
    pixels = seen(views, points)
    wrong = rng.integers(4, size=200)
    pixels[wrong, np.arange(200)] += rng.uniform(60, 300, (200, 2))
    found, errors = triangulate(views, pixels, np.ones((4, 200)))
    np.testing.assert_allclose(found, points, atol=1e-4)
    assert (errors.argmax(0) == wrong).all()


def test_cameras_are_turned_back(views: list[View], points: np.ndarray, rng: np.random.Generator) -> None:
    pixels = seen(views, points) + rng.normal(0, 3, (4, 200, 2))
    pixels[2, :20] += 150
    off = Rotation.from_rotvec(rng.normal(0, np.radians(0.6), (4, 3))).as_matrix()
    given = [
        replace(v, rotation=by @ v.rotation, translation=by @ v.translation) for v, by in zip(views, off, strict=True)
    ]

    def error(cameras: list[View]) -> float:
        return float(p_mpjpe(triangulate(cameras, pixels, np.ones((4, 200)))[0], points))

    assert error(given) > 2 * error(views)
    assert error(turned(given, pixels, np.ones((4, 200)))) < 1.1 * error(views)

"""Pictures of a video show the person from the side, too, as lifting sees them."""

from __future__ import annotations

import numpy as np
import pytest

from posefix.core import skeleton as skeletons
from posefix.motion.tracks import Track
from posefix.report.depth import SideViews
from tests.motion_scenes import walk

COCO = skeletons.load("coco17")
FRAME, PICTURE = np.zeros((240, 320, 3), np.uint8), np.zeros((368, 200, 3), np.uint8)


@pytest.mark.parametrize("faces_camera", [True, False])
def test_what_is_near_the_camera_is_at_the_left(faces_camera: bool) -> None:
    keypoints = np.concatenate([walk((120, 120), (1.5, 0), 40), np.ones((40, 17, 1))], axis=-1)
    if not faces_camera:
        keypoints = keypoints[:, COCO.flip]
    track = Track(1, np.arange(40), np.arange(40) / 30, keypoints, np.arange(40))
    picture = SideViews(COCO).beside(PICTURE, (track, track), 30, FRAME, 300)
    assert len(picture) == len(PICTURE)
    before, after = np.split(picture[34:334, PICTURE.shape[1] :], 2, axis=1)
    assert (before == after).all()
    face, trunk = (np.nonzero(part.any(-1))[1].mean() for part in (before[:50], before[50:120]))
    assert face < trunk - 3 if faces_camera else face > trunk + 3


def test_poses_that_cannot_be_lifted_are_not_shown_from_the_side() -> None:
    skeleton = skeletons.from_dict(
        {
            "name": "head",
            "keypoints": [{"name": n, "sigma": 0.03, "group": "face"} for n in ("nose", "left_eye", "right_eye")],
        }
    )
    track = Track(1, np.arange(2), np.arange(2) / 30, np.ones((2, 3, 3)), np.arange(2))
    assert SideViews(skeleton).beside(PICTURE, (track, track), 0, FRAME, 100) is PICTURE
    track = Track(1, np.arange(2), np.arange(2) / 30, np.full((2, 17, 3), (np.nan, np.nan, 0)), np.arange(2))
    assert SideViews(COCO).beside(PICTURE, (track, track), 0, FRAME, 100) is PICTURE

"""The page of poses in depth, in headless Chromium: it plays, turns, scrubs, and shows people where the camera does."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from posefix.core.errors import InputError
from posefix.lifting.angles import joint_angles
from posefix.lifting.poses import Poses3D, Track3D
from posefix.lifting.viewer import MAX_PICTURES, write_viewer
from posefix.report.drawing import POSE
from tests.lifting_scenes import COCO, poses_of, walker

FRAMES = 40
GROUND = 30, 90, 60
DRAWN = "new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))"  # a frame of the browser


class Film:
    """A dark film of so many frames, which remembers which were asked for."""

    def __init__(self, frames: int) -> None:
        self.frames, self.asked = frames, []

    def __getitem__(self, index: int) -> np.ndarray:
        if index >= self.frames:
            raise InputError("it ends before")
        self.asked.append(index)
        return np.full((720, 1280, 3), GROUND, np.uint8)


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Show poses in a tab; whatever it complains about or fetches fails the test."""
    complaints: list[str] = []
    tabs: list[Any] = []

    def show(poses: Poses3D, images: Film | None = None) -> Any:
        write_viewer(poses, tmp_path / "walk.html", images)
        tab = browser.new_page(viewport={"width": 1300, "height": 1000})
        tab.set_default_timeout(180_000)  # ms; of a busy machine
        tabs.append(tab)
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("request", lambda request: complaints.append(request.url) if request.url.startswith("http") else None)
        tab.goto((tmp_path / "walk.html").as_uri())
        tab.evaluate(DRAWN)
        return tab

    yield show
    for tab in tabs:
        tab.close()
    assert not complaints


def canvas(tab: Any, name: str) -> np.ndarray:
    """(H, W, 3) uint8 what a canvas shows."""
    content = tab.evaluate(f"document.getElementById('{name}').toDataURL()").partition(",")[2]
    rgba = np.array(Image.open(io.BytesIO(base64.b64decode(content))))
    return np.where(rgba[..., 3:] > 0, rgba[..., :3], 255)


def test_it_turns_zooms_and_scrubs_to_the_last_frame(opened: Callable[..., Any]) -> None:
    tab = opened(poses_of(walker(FRAMES, turn=0.05)))
    seen = [canvas(tab, "room")]
    tab.locator("#scrub").fill(str(FRAMES - 1))
    assert tab.locator("#now").text_content() == f"{FRAMES + 2}, 0.84 s"
    seen.append(canvas(tab, "room"))
    flat = canvas(tab, "picture")
    tab.locator("#room").hover()
    tab.mouse.down()
    tab.mouse.move(400, 200)
    tab.mouse.up()
    seen.append(canvas(tab, "room"))
    tab.mouse.wheel(0, -300)
    tab.wait_for_function("view.zoom > 1.5")
    seen.append(canvas(tab, "room"))
    assert all((one != other).any() for i, one in enumerate(seen) for other in seen[:i])
    np.testing.assert_array_equal(canvas(tab, "picture"), flat)
    tab.mouse.move(600, 300)
    np.testing.assert_array_equal(canvas(tab, "room"), seen[-1])


def test_two_fingers_zoom(opened: Callable[..., Any]) -> None:
    tab = opened(poses_of(walker(3)))
    before = tab.evaluate("({...view})")
    tab.evaluate("""() => {
        const room = document.getElementById("room");
        room.setPointerCapture = () => {};
        const touch = (kind, pointerId, clientX) =>
            room.dispatchEvent(new PointerEvent("pointer" + kind, { pointerId, clientX, clientY: 200 }));
        touch("down", 1, 200); touch("down", 2, 300); touch("move", 2, 400); touch("up", 1, 200); touch("up", 2, 400);
    }""")
    after = tab.evaluate("({...view})")
    assert after == pytest.approx({**before, "zoom": 2})


def test_it_plays_in_real_time_from_the_start_again(opened: Callable[..., Any]) -> None:
    tab = opened(poses_of(walker(FRAMES), fps=50.0))
    room = "document.getElementById('room').toDataURL()"
    tab.evaluate(f"window.before = {room}")
    tab.locator("#play").click()
    tab.wait_for_function(f"step > 5 && {room} !== before")
    tab.wait_for_function(f"step === {FRAMES - 1}")
    tab.wait_for_function("step < 20")
    tab.locator("#play").click()
    stopped = tab.evaluate("step")
    tab.wait_for_timeout(100)
    assert tab.evaluate("step") == stopped and tab.locator("#play").text_content() == "Play"


def test_the_picture_has_keypoints_where_the_camera_sees_them(opened: Callable[..., Any]) -> None:
    one, other = walker(FRAMES, track_id=1), walker(FRAMES, track_id=2)
    other.root[:, 0] -= 1.2
    other = replace(other, frames=other.frames + 10, times=other.times + 0.2)
    tab = opened(poses_of(one, other), Film(500))
    tab.wait_for_function("film.pictures.every(({image}) => image.complete)")
    for step, shown in ((0, [one]), (20, [one, other]), (FRAMES + 5, [other])):
        tab.evaluate(f"show({step})")
        picture = canvas(tab, "picture").astype(int)
        scale = min(picture.shape[1] / 1280, picture.shape[0] / 720)
        shift = (np.array(picture.shape[1::-1]) - scale * np.array([1280, 720])) / 2
        for track in (one, other):
            middle = track.positions[np.clip(step + 3 - track.frames[0], 0, FRAMES - 1)]
            for name, color in (("left", POSE.left), ("right", POSE.right)):
                shin = middle[[COCO.index(f"{name}_knee"), COCO.index(f"{name}_ankle")]].mean(0)
                x, y = np.round(track.camera.project(shin) * scale + shift).astype(int)
                near = np.abs(picture[y - 2 : y + 3, x - 2 : x + 3] - color).sum(-1).min() < 60
                assert near == any(track is here for here in shown)
        x, y = np.round(np.array([30, 30]) * scale + shift).astype(int)
        assert np.abs(picture[y, x] - GROUND).max() < 12


def test_plots_have_the_angles_and_lead_to_their_frames(opened: Callable[..., Any]) -> None:
    one, other = walker(FRAMES, track_id=1), walker(FRAMES, track_id=2)
    other.keypoints[10, 13] = np.nan
    kept = np.r_[:20, 25:FRAMES]
    arrays = ("frames", "times", "keypoints", "root", "spreads")
    other = replace(other, **{name: getattr(other, name)[kept] for name in arrays})
    tab = opened(poses_of(one, other))
    names = tab.locator(".plot > span:first-child").all_text_contents()
    assert names[:3] == ["trunk lean", "hip flexion", "hip adduction"] and len(names) == 7
    knee = tab.locator(".plot").nth(names.index("knee flexion"))
    angles = joint_angles(one, COCO)
    values = angles[1][:, [i for i, name in enumerate(angles[0]) if "knee" in name]]
    top, bottom = map(float, knee.locator(".range span").all_text_contents())
    assert (top, bottom) == pytest.approx((values.max() + 5, values.min() - 5), abs=0.51)
    pieces = [path.get_attribute("d").count("M") for path in knee.locator("path").all()]
    assert pieces == [1, 1, 1]
    tab.locator("#person").select_option("2")
    assert [path.get_attribute("d").count("M") for path in knee.locator("path").all()] == [3, 2, 1]
    box = knee.locator("svg").bounding_box()
    knee.locator("svg").click(position={"x": 0.75 * box["width"], "y": 40})
    assert tab.evaluate("step") == pytest.approx(0.75 * (FRAMES - 1), abs=1)


def photographs(*image_ids: int) -> list[Track3D]:
    """A person in each."""
    return [replace(walker(1, track_id=-1), frames=np.array([i]), times=np.zeros(1)) for i in image_ids]


def test_photographs_are_rooms_of_their_own_without_times(opened: Callable[..., Any]) -> None:
    near, far, nowhere = photographs(139, 285, 632)
    far = replace(far, root=far.root + np.array([3, -2, 40], np.float32))
    nowhere.keypoints[:] = np.nan
    tab = opened(poses_of(near, far, nowhere))
    seen = [canvas(tab, "room")]
    assert tab.locator("#now").text_content() == "139"
    tab.evaluate("show(1)")
    seen.append(canvas(tab, "room"))
    assert tab.locator("#now").text_content() == "285"
    limbs = [np.abs(image.astype(int) - POSE.left).sum(-1) < 30 for image in seen]
    np.testing.assert_array_equal(*limbs)
    assert limbs[0].any()
    tab.evaluate("show(2)")
    assert tab.evaluate("film.rooms[2].reach") > 0
    tab.evaluate("zoom(1e-9)")
    assert tab.evaluate("view.zoom") == 0.1


def test_gaps_single_images_and_nobody_have_a_page(opened: Callable[..., Any]) -> None:
    track = walker(5)
    track.keypoints[1] = track.keypoints[2, 3] = np.nan
    track.root[:] = np.nan
    tab = opened(poses_of(track))
    tab.evaluate("show(1)")
    empty = canvas(tab, "picture")
    tab.evaluate("show(3)")
    assert (canvas(tab, "picture") != empty).any()
    images = photographs(139, 285, 285)
    tab = opened(poses_of(*images), Film(200))
    tab.wait_for_function("film.pictures.every(({image}) => image.complete)")
    assert tab.evaluate("film.times") == [0, 1] and tab.evaluate("present.map((here) => here.length)") == [1, 2]
    for step, shown in ((0, True), (1, False)):  # image 285 is not at hand, and 139 is not of these people
        tab.evaluate(f"show({step})")
        middle = canvas(tab, "picture")[230, 30].astype(int)
        assert (np.abs(middle - GROUND).max() < 12) == shown
    tab = opened(poses_of(images[0]))
    assert tab.locator("#play").is_disabled() and (canvas(tab, "room") != 255).any() and not tab.locator("svg").count()
    for image in images:
        image.keypoints[:] = np.nan
    assert "no people" in opened(poses_of(*images)).locator("body").text_content()
    assert "no people" in opened(Poses3D(COCO, 30.0, ())).locator("body").text_content()


def test_of_long_films_few_pictures_are_kept(tmp_path: Path) -> None:
    film = Film(1000)
    write_viewer(poses_of(walker(2000)), tmp_path / "long.html", film)
    assert film.asked == sorted(set(film.asked)) and 0.4 * MAX_PICTURES < len(film.asked) < MAX_PICTURES
    page = (tmp_path / "long.html").read_text()
    assert "http" not in page.replace("http-equiv", "") and page.count('"/9j/') == len(film.asked)

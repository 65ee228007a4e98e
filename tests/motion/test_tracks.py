"""Tracks are the people of a file along time, and go back into it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from posefix.core.errors import InputError
from posefix.core.people import People
from posefix.motion.tracks import Track, tracks_of, with_tracks
from tests.motion_scenes import video, walk


@pytest.fixture
def people(rng: np.random.Generator) -> People:
    return video({4: walk((80, 200), (5, 0), 20), 9: walk((400, 215), (-5, 0), 15)}, rng)


def test_a_track_is_a_person_in_order_of_time(people: People, rng: np.random.Generator) -> None:
    shuffled = people[rng.permutation(len(people))]
    first, second = tracks_of(shuffled, fps=10)
    assert (first.track_id, second.track_id) == (4, 9) and (len(first), len(second)) == (20, 15)
    np.testing.assert_array_equal(first.frames, np.arange(20))
    np.testing.assert_allclose(first.times, np.arange(20) / 10)
    np.testing.assert_array_equal(shuffled.image_ids[first.rows], first.frames)
    np.testing.assert_array_equal(first.keypoints[..., :2].astype(np.float32), people[people.track_ids == 4].keypoints)


def test_people_to_tracks_to_people_changes_nothing(people: People, rng: np.random.Generator) -> None:
    people.scores[rng.random(people.scores.shape) < 0.2] = 0
    some = people[rng.permutation(len(people))[:25]]
    again, rows = with_tracks(some, tracks_of(some))
    assert rows.tolist() == list(range(len(some)))
    np.testing.assert_array_equal(again.keypoints, some.keypoints)
    np.testing.assert_array_equal(again.scores, some.scores)
    assert len(again) == len(some)


def test_short_gaps_are_missing_frames_and_long_ones_are_not(people: People) -> None:
    track = tracks_of(people[(people.track_ids == 4) & ~np.isin(people.image_ids, [3, 4, 10])], longest_gap=1)[0]
    np.testing.assert_array_equal(track.frames, [0, 1, 2, *range(5, 20)])
    assert (track.frames[track.rows < 0] == [10]).all()
    assert np.isnan(track.keypoints[track.rows < 0, :, :2]).all() and not track.keypoints[track.rows < 0, :, 2].any()


def test_keypoints_without_an_estimate_are_missing(people: People) -> None:
    people.scores[0, 5] = 0
    keypoints = tracks_of(people)[0].keypoints
    assert np.isnan(keypoints[0, 5, :2]).all() and keypoints[0, 5, 2] == 0 and np.isfinite(keypoints[0, 6]).all()


def test_results_of_every_fifth_frame_have_no_gaps(people: People) -> None:
    track = tracks_of(people[people.image_ids % 5 == 0], fps=30)[0]
    np.testing.assert_array_equal(track.frames, [0, 5, 10, 15])
    np.testing.assert_allclose(track.times, np.array([0, 5, 10, 15]) / 30)


def test_numbers_that_are_rounded_have_no_gaps_and_missing_frames_lie_between(people: People) -> None:
    milliseconds = np.array([0, 33, 67, 100, 133, 167, 200, 233, 267, 300])
    some = people[(people.track_ids == 4) & (people.image_ids < 10) & (people.image_ids != 4)]
    track = tracks_of(replace(some, image_ids=milliseconds[some.image_ids]), fps=1000)[0]
    assert len(track) == 10 and (track.rows < 0).sum() == 1
    np.testing.assert_allclose(track.frames, milliseconds, atol=1)


def test_filled_frames_become_people_in_their_place(people: People) -> None:
    alone = people[(people.track_ids == 4) & (people.image_ids != 7)]
    (track,) = tracks_of(alone)
    filled = replace(track, keypoints=np.where(np.isnan(track.keypoints), 50.0, track.keypoints))
    filled.keypoints[7, :, 2] = 0.25
    filled.keypoints[7, 3] = (np.nan, np.nan, 0)
    new, _ = with_tracks(alone, [filled])
    np.testing.assert_array_equal(new.image_ids, np.arange(20))
    assert new.person_scores[7] == 0.25 and new.track_ids[7] == 4 and new.scores[7, 3] == 0
    np.testing.assert_array_equal(new.keypoints[8:], alone.keypoints[7:])


def test_the_times_of_a_video_are_those_of_its_frames(people: People) -> None:
    times = np.cumsum(np.arange(1, 21)) / 100
    np.testing.assert_array_equal(tracks_of(people, times=times)[0].times, times)


def test_times_that_go_back_are_refused(people: People) -> None:
    with pytest.raises(InputError, match=r"frame 5 is at 0.1 s, frame 4 at 0.133333 s: times must ascend"):
        tracks_of(people, times=np.r_[0:5, 3, 6:20] / 30)


@pytest.mark.parametrize("times", [[], 0.5, "abc", [[0, 1], [2, 3]], ["0", "1"]], ids=str)
def test_times_that_are_no_series_of_numbers_are_refused(people: People, times: object) -> None:
    with pytest.raises(InputError, match="times must be the seconds of all frames"):
        tracks_of(people, times=times)  # type: ignore[arg-type]


def test_beyond_the_end_of_a_video_its_times_go_on(people: People) -> None:
    times = np.arange(20) / 15
    np.testing.assert_allclose(tracks_of(people, times=times[:12])[0].times, times)


def test_two_people_with_one_id_in_a_frame_are_refused(people: People) -> None:
    people.track_ids[people.track_ids == 9] = 4
    with pytest.raises(InputError, match="records 0 and 1 are two people with the track id 4 in frame 0"):
        tracks_of(people)


def test_nobody_is_in_no_track(people: People) -> None:
    people.track_ids[:] = -1
    assert tracks_of(people) == [] and len(with_tracks(people, [])[0]) == len(people)
    assert isinstance(tracks_of(replace(people, track_ids=np.arange(len(people))))[0], Track)

"""Settings refuse what they cannot mean."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from posefix import InputError, RefineSettings
from posefix.formats import FORMATS, Source
from tests.tiny import random_people


@pytest.mark.parametrize(
    "wrong",
    [
        {"passes": 50},
        {"passes": 0},
        {"batch_size": 0},
        {"batch_size": 2.5},
        {"workers": 0},
        {"workers": True},
        {"on_error": "nonsense"},
        {"flip_test": "no"},
        {"rescore": 0},
        {"keypoint_scores": None},
        {"estimator_ap": 0.75},
        {"estimator_ap": float("nan")},
        {"estimator_ap": "76"},
        {"estimator_ap": True},
    ],
)
def test_values_out_of_range_are_refused_by_name(wrong: dict) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        RefineSettings(**wrong)


def test_numbers_of_numpy_are_numbers() -> None:
    assert RefineSettings(estimator_ap=np.float32(76)) == RefineSettings(estimator_ap=np.int64(76))


@pytest.mark.parametrize(("name", "usual"), [("vitpose", 76.0), ("openpose", 62.0), ("coco", 55.0), (None, 55.0)])
def test_an_estimator_is_as_good_as_its_format_says_unless_it_is_told(name: str | None, usual: float) -> None:
    people = random_people(np.random.default_rng(0), 2)
    people.source = Source(FORMATS[name], None, {}) if name else None
    assert RefineSettings().assumed_ap(people) == usual
    assert RefineSettings(estimator_ap=np.float32(40)).assumed_ap(people) == 40


def test_settings_stay_as_they_were_made() -> None:
    settings = RefineSettings()
    with pytest.raises(FrozenInstanceError):
        settings.passes = 2  # type: ignore[misc]

"""Settings refuse what they cannot mean."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from posefix import InputError, RefineSettings


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


def test_settings_stay_as_they_were_made() -> None:
    settings = RefineSettings()
    with pytest.raises(FrozenInstanceError):
        settings.passes = 2  # type: ignore[misc]

"""The published table as published, any table of the same form, and clear words about tables that are wrong."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from posefix.core import resources
from posefix.core import skeleton as skeletons
from posefix.core.errors import InputError
from synth import ErrorType, Statistics

COCO = skeletons.load("coco17")
POSEFIX = Statistics.load("posefix")


def lookup(error: ErrorType, keypoint: str, visible: int, overlaps: int) -> float:
    return POSEFIX.probabilities([visible], [overlaps], COCO)[0, COCO.index(keypoint), error]


@pytest.mark.parametrize(("visible", "less"), [(1, 0.0), (10, 0.0), (11, 0.05), (17, 0.05)])
def test_published_jitter(visible, less):
    published = {0.15: ("nose", "left_knee", "right_ankle"), 0.25: ("left_hip", "right_hip")}
    published[0.20] = ("left_eye", "right_ear", "left_shoulder", "right_elbow", "left_wrist")
    for probability, names in published.items():
        for name in names:
            assert lookup(ErrorType.JITTER, name, visible, 0) == pytest.approx(probability - less)


@pytest.mark.parametrize(
    ("visible", "face", "shoulder_ankle", "rest"),
    [
        (1, 0.15, 0.20, 0.25),
        (5, 0.15, 0.20, 0.25),
        (6, 0.10, 0.13, 0.15),
        (10, 0.10, 0.13, 0.15),
        (11, 0.02, 0.05, 0.10),
    ],
)
def test_published_miss(visible, face, shoulder_ankle, rest):
    for name in COCO.keypoint_names:
        part = name.split("_")[-1]
        expected = face if part in ("nose", "eye", "ear") else shoulder_ankle if part in ("shoulder", "ankle") else rest
        assert lookup(ErrorType.MISS, name, visible, 2) == pytest.approx(expected)


@pytest.mark.parametrize("visible", [1, 17])
def test_published_inversion(visible):
    for name, expected in (
        ("nose", 0.01),
        ("left_ear", 0.01),
        ("left_wrist", 0.03),
        ("left_hip", 0.06),
        ("right_ankle", 0.06),
    ):
        assert lookup(ErrorType.INVERSION, name, visible, 0) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("visible", "overlaps", "crowded"),
    [
        (10, 1, True),
        (10, 0, False),
        (11, 1, False),
        (11, 2, False),
        (11, 3, True),
        (15, 3, True),
        (15, 2, False),
        (16, 3, False),
        (17, 9, False),
        (1, 1, True),
        (1, 0, False),
    ],
)
def test_published_swap(visible, overlaps, crowded):
    published = {"left_eye": (0.01, 0.02), "right_elbow": (0.06, 0.15), "left_knee": (0.03, 0.10)}
    for name, (usual, in_crowds) in published.items():
        assert lookup(ErrorType.SWAP, name, visible, overlaps) == pytest.approx(in_crowds if crowded else usual)


@pytest.mark.parametrize("name", resources.available("skeletons"))
def test_tables_are_distributions_and_symmetric_for_every_shipped_skeleton(name):
    skeleton = skeletons.load(name)
    visible, overlaps = (a.ravel() for a in np.meshgrid(np.arange(len(skeleton) + 1), np.arange(6)))
    table = POSEFIX.probabilities(visible, overlaps, skeleton)
    assert table.shape == (len(visible), len(skeleton), 5)
    assert (table >= 0).all()
    np.testing.assert_allclose(table.sum(-1), 1)
    np.testing.assert_array_equal(table, table[:, skeleton.flip])


probabilities = st.floats(0, 0.25, allow_nan=False)
ranges = st.tuples(st.integers(0, 9), st.none() | st.integers(9, 17)).map(list)
rules = st.fixed_dictionaries(
    {
        "probability": st.dictionaries(st.sampled_from(["left_knee", "knee", "lower", "nose"]), probabilities).map(
            lambda table: {**table, "default": 0.1}
        )
    },
    optional={"when": st.dictionaries(st.sampled_from(["visible", "overlaps"]), ranges, min_size=1)},
)
tables = st.fixed_dictionaries(
    {}, optional={e: st.lists(rules, max_size=4) for e in ("jitter", "inversion", "swap", "miss")}
)


@settings(max_examples=40)
@given(spec=tables, seed=st.integers(0, 1000))
def test_saved_and_loaded_statistics_are_the_same(tmp_path_factory, spec, seed):
    statistics = Statistics.from_dict({"description": "drawn", **spec})
    path = tmp_path_factory.mktemp("statistics") / "drawn.yaml"
    statistics.save(path)
    again = Statistics.load(path)
    assert again.to_dict() == statistics.to_dict() == yaml.safe_load(path.read_text())
    rng = np.random.default_rng(seed)
    visible, overlaps = rng.integers(0, 18, 50), rng.integers(0, 12, 50)
    np.testing.assert_array_equal(
        again.probabilities(visible, overlaps, COCO), statistics.probabilities(visible, overlaps, COCO)
    )


def test_a_table_for_each_keypoint_comes_back(rng):
    """The form in which measured frequencies are written: every keypoint by name, in cells of conditions."""
    measured = rng.uniform(0, 0.2, (3, 17))
    cells = [
        {"visible": [0, 8], "overlaps": [0, 0]},
        {"visible": [0, 8], "overlaps": [1, None]},
        {"visible": [9, None]},
    ]
    rules = [
        {"when": when, "probability": dict(zip(COCO.keypoint_names, row.tolist(), strict=True))}
        for when, row in zip(cells, measured, strict=True)
    ]
    table = Statistics.from_dict({"miss": rules}).probabilities([8, 8, 9], [0, 4, 0], COCO)
    np.testing.assert_array_equal(table[..., ErrorType.MISS], measured)
    np.testing.assert_allclose(table[..., ErrorType.GOOD], 1 - measured)


def test_the_most_specific_name_wins_and_the_first_rule_that_fits():
    spec = {
        "miss": [
            {"when": {"visible": [3, 5]}, "probability": {"default": 0.5}},
            {"probability": {"default": 0.1, "lower": 0.2, "knee": 0.3, "left_knee": 0.4}},
        ]
    }
    table = Statistics.from_dict(spec).probabilities([2, 3, 5, 6], [0, 0, 0, 0], COCO)[..., ErrorType.MISS]
    assert (table[1:3] == 0.5).all()
    for name, expected in (("nose", 0.1), ("left_hip", 0.2), ("right_knee", 0.3), ("left_knee", 0.4)):
        assert (table[[0, 3], COCO.index(name)] == expected).all()


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"jiter": []}, "there is no option jiter; use one of description, jitter"),
        ({"jitter": {"nose": 0.1}}, "jitter: .*tuple"),
        ({"jitter": [{"nose": 0.1}]}, "jitter.0.probability: Field required"),
        ({"jitter": [{"probability": {}}]}, "jitter.0.probability: .* at least 1 item"),
        ({"jitter": [{"probability": {"tail": 0.1}}]}, "rule 1 of jitter: 'tail' is not a keypoint"),
        ({"jitter": [{"probability": {"nose": 1.1}}]}, r"jitter.0.probability.nose: .* less .* \(found 1.1\)"),
        ({"jitter": [{"probability": {"nose": float("nan")}}]}, "found nan"),
        ({"jitter": [{"probability": {"nose": "often"}}]}, "found 'often'"),
        ({"jitter": [{"probability": {"nose": True}}]}, "found True"),
        ({"swap": [{"when": {"crowd": [0, 1]}, "probability": {"default": 0.1}}]}, "crowd; .* visible, overlaps"),
        ({"swap": [{"when": {"visible": [3, 1]}, "probability": {"default": 0.1}}]}, "visible: .* most null"),
        ({"swap": [{"when": {"visible": 3}, "probability": {"default": 0.1}}]}, "visible: .*tuple"),
        ({"swap": [{"when": {"visible": [0, 1, 2]}, "probability": {"default": 0.1}}]}, "visible: .*at most 2"),
        ({"distance": {"good": 0.3}}, "distance.good; use one of jitter, miss"),
        ({"distance": {"miss": 1}}, "distance.miss"),
        ({"swap": [{"when": {"overlaps": [0, 10**9]}, "probability": {"default": 0.1}}]}, "overlaps.* 200"),
    ],
)
def test_wrong_tables_are_told_what_is_wrong(spec, words):
    with pytest.raises(InputError, match=words) as raised:
        Statistics.from_dict(spec, "mine.yaml").probabilities([17], [0], COCO)
    assert str(raised.value).startswith("mine.yaml") and "\n" not in str(raised.value)


def test_errors_that_sum_to_more_than_one_are_told_wherever_that_is() -> None:
    spec = {
        "swap": [{"probability": {"default": 0.6}}],
        "miss": [{"when": {"overlaps": [2, None]}, "probability": {"default": 0.1, "hip": 0.5}}],
    }
    said = "mine.yaml: the errors of 'left_hip' sum to 1.1, over 1, with 0 visible keypoints and 2 overlaps"
    with pytest.raises(InputError, match=said):
        Statistics.from_dict(spec, "mine.yaml").probabilities([17], [0], COCO)


def test_files_that_are_not_there_or_not_statistics(tmp_path):
    with pytest.raises(InputError, match=r"give a YAML file or one of .*posefix"):
        Statistics.load("nowhere")
    for content in ("[1, 2]", "jitter: [", "\x00"):
        path = tmp_path / "bad.yaml"
        path.write_text(content)
        with pytest.raises(InputError, match=r"bad\.yaml"):
            Statistics.load(path)


def test_skeletons_that_a_table_does_not_cover():
    table = Statistics.from_dict({"miss": [{"probability": {"face": 0.1, "upper": 0.1}}]})
    with pytest.raises(InputError, match="says nothing about 'left_hip' of skeleton coco17"):
        table.probabilities([3], [0], COCO)


def test_a_users_own_skeleton_brings_its_own_names():
    horse = skeletons.from_dict({"name": "horse", "keypoints": [{"name": "withers", "sigma": 0.1, "group": "upper"}]})
    spec = {"miss": [{"probability": {"withers": 0.3}}]}
    with pytest.raises(InputError, match="'withers' is not a keypoint"):
        Statistics.from_dict(spec).probabilities([1], [0], COCO)
    table = Statistics.from_dict(spec).probabilities([1], [0], horse)
    assert table[0, 0, ErrorType.MISS] == 0.3

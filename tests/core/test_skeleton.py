"""Skeletons: shipped ones are consistent, mappings go there and back, a user's YAML needs no code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from posefix.core import resources
from posefix.core.errors import InputError
from posefix.core.people import People
from posefix.core.skeleton import GROUPS, Skeleton, from_dict, load, with_keypoint_count

SHIPPED = {
    "coco17": 17,
    "mpii16": 16,
    "crowdpose14": 14,
    "halpe26": 26,
    "halpe136": 136,
    "coco_wholebody133": 133,
    "body25": 25,
    "openpose18": 18,
    "blazepose33": 33,
}
MINIMAL = {
    "keypoints": [
        {"name": "beak", "sigma": 0.03, "group": "face"},
        {"name": "left_wing", "sigma": 0.07, "group": "upper"},
        {"name": "right_wing", "sigma": 0.07, "group": "upper"},
    ],
    "limbs": [["beak", "left_wing"], ["beak", "right_wing"]],
}


@pytest.fixture(params=sorted(SHIPPED))
def skeleton(request: pytest.FixtureRequest) -> Skeleton:
    return load(request.param)


def other_side(name: str) -> str:
    if name.startswith("left_"):
        return "right_" + name.removeprefix("left_")
    return "left_" + name.removeprefix("right_") if name.startswith("right_") else name


def write_yaml(folder: Path, spec: object, name: str = "mine.yaml") -> Path:
    path = folder / name
    path.write_text(spec if isinstance(spec, str) else yaml.safe_dump(spec))
    return path


def test_all_skeletons_are_shipped_with_their_number_of_keypoints() -> None:
    assert {name: len(load(name)) for name in resources.available("skeletons")} == SHIPPED
    assert with_keypoint_count(16) == ["mpii16"]
    assert with_keypoint_count(15) == []


def test_flip_is_an_involution(skeleton: Skeleton) -> None:
    np.testing.assert_array_equal(skeleton.flip[skeleton.flip], np.arange(len(skeleton)))


def test_flip_exchanges_left_and_right_in_the_names(skeleton: Skeleton) -> None:
    for name, partner in zip(skeleton.keypoint_names, skeleton.flip, strict=True):
        if not name.startswith("face-"):
            assert skeleton.keypoint_names[partner] == other_side(name)


def test_flip_keeps_groups_parts_and_limbs(skeleton: Skeleton) -> None:
    np.testing.assert_array_equal(skeleton.groups[skeleton.flip], skeleton.groups)
    limbs = {frozenset(limb) for limb in skeleton.limbs.tolist()}
    assert {frozenset(skeleton.flip[list(limb)].tolist()) for limb in limbs} == limbs
    assert len(limbs) == len(skeleton.limbs)
    parts = np.array(skeleton.parts())
    sided = skeleton.flip != np.arange(len(skeleton))
    named = np.char.startswith(parts, "face-")
    np.testing.assert_array_equal(parts[skeleton.flip][sided & ~named], parts[sided & ~named])


def test_wholebody_face_is_symmetric_about_the_midline() -> None:
    skeleton = load("coco_wholebody133")
    midline = {int(n[5:]) for i, n in enumerate(skeleton.keypoint_names) if n[:5] == "face-" and skeleton.flip[i] == i}
    assert midline == {8, 27, 28, 29, 30, 33, 51, 57, 62, 66}  # chin, nose bridge, nose tip, lips' middle


def test_every_keypoint_has_a_limb_and_the_body_is_one_piece() -> None:
    for name in ("mpii16", "crowdpose14", "coco17"):
        skeleton = load(name)
        reached = {0}
        for _ in range(len(skeleton)):
            reached |= {b for a, b in skeleton.limbs.tolist() if a in reached}
            reached |= {a for a, b in skeleton.limbs.tolist() if b in reached}
        assert reached == set(range(len(skeleton))), name


def test_groups_cover_all_keypoints_once(skeleton: Skeleton) -> None:
    assert (sum(skeleton.group(g).astype(int) for g in GROUPS) == 1).all()
    assert set(np.array(skeleton.parts())[skeleton.group("lower")]) >= {"hip", "knee", "ankle"}


def test_yaml_form_round_trips(skeleton: Skeleton) -> None:
    again = from_dict(yaml.safe_load(yaml.safe_dump(skeleton.to_dict())))
    assert again == skeleton
    np.testing.assert_array_equal(again.flip, skeleton.flip)


def test_mapping_to_coco_and_back_keeps_what_both_have(skeleton: Skeleton, rng: np.random.Generator) -> None:
    coco, n = load("coco17"), 3
    people = People(coco, rng.uniform(0, 500, (n, 17, 2)), rng.uniform(0.1, 1, (n, 17)), np.arange(n))
    back = people.to_skeleton(skeleton).to_skeleton(coco)
    shared = skeleton.indices_from(coco)
    shared = shared[shared >= 0]
    assert len(shared) == len(set(shared)) == (12 if skeleton.name in ("mpii16", "crowdpose14") else 17)
    np.testing.assert_array_equal(back.keypoints[:, shared], people.keypoints[:, shared])
    np.testing.assert_array_equal(back.scores[:, shared], people.scores[:, shared])
    lost = np.setdiff1d(np.arange(17), shared)
    assert (back.scores[:, lost] == 0).all() and (back.keypoints[:, lost] == 0).all()


def test_mapping_commutes_with_flip(skeleton: Skeleton) -> None:
    theirs = load("coco17")
    source = skeleton.indices_from(theirs)
    mapped = source >= 0
    np.testing.assert_array_equal(mapped[skeleton.flip], mapped)
    np.testing.assert_array_equal(source[skeleton.flip][mapped], theirs.flip[source[mapped]])


def test_mapped_keypoints_have_cocos_sigma(skeleton: Skeleton) -> None:
    coco = load("coco17")
    source = skeleton.indices_from(coco)
    np.testing.assert_array_equal(skeleton.sigmas[source >= 0], coco.sigmas[source[source >= 0]])


def test_a_users_yaml_needs_no_code(tmp_path: Path) -> None:
    skeleton = load(write_yaml(tmp_path, {**MINIMAL, "mappings": {"coco17": {"nose": "beak"}}}, "bird.yaml"))
    assert skeleton.name == "bird"
    np.testing.assert_array_equal(skeleton.flip, [0, 2, 1])  # pairs found from the names
    np.testing.assert_array_equal(skeleton.indices_from(load("coco17")), [0, -1, -1])
    assert load("coco17").indices_from(skeleton)[0] == 0  # the inverse of the bird's mapping


def bad(**changes: object) -> dict:
    return {**MINIMAL, **changes}


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("", "holds a mapping"),
        ("[1, 2]", "holds a mapping"),
        ("a: [", "YAML"),
        ("\x00", "YAML"),
        ("[" * 5000, "YAML"),
        ({}, "keypoints"),
        (bad(keypoints=[]), "keypoints"),
        (bad(keypoints="nose"), "keypoints: .* valid list"),
        (bad(keypoints=[{"name": "beak", "group": "face"}]), "sigma"),
        (bad(keypoints=[{"name": "beak", "sigma": "wide", "group": "face"}]), "sigma"),
        (bad(keypoints=[{"name": "beak", "sigma": -1, "group": "face"}]), "sigma"),
        (bad(keypoints=[{"name": "beak", "sigma": float("nan"), "group": "face"}]), "sigma"),
        (bad(keypoints=[{"name": "beak", "sigma": 1, "group": "head"}]), "'head'"),
        (bad(keypoints=MINIMAL["keypoints"] * 2), "unique"),
        (bad(limbs=[["beak", "tail"]]), "limbs"),
        (bad(limbs=[["beak"]]), "limbs"),
        (bad(pairs=[["left_wing", "left_wing"]]), "pair"),
        (bad(pairs=[["left_wing", "right_wing"], ["beak", "left_wing"]]), "pair"),
        (bad(template={"beak": [0, 0]}), "template"),
        (bad(mappings={"coco17": {"nose": "tail"}}), "'tail'"),
        (bad(mappings={"coco17": {"nose": "beak", "left_eye": "beak"}}), "twice"),
        (bad(mappings={"coco17": ["nose"]}), "mappings"),
        (bad(mappings=["coco17"]), "mappings"),
        (bad(mappings={"coco17": {"nose": ["beak"]}}), "mapping"),
    ],
)
def test_a_bad_yaml_is_named_with_what_is_wrong(tmp_path: Path, spec: object, says: str) -> None:
    path = write_yaml(tmp_path, spec)
    with pytest.raises(InputError, match=says) as raised:
        load(path)
    assert str(path) in str(raised.value)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"coco17.*mpii16"):
        load("coco18")

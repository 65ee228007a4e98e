"""The sequence denoiser: motion, cameras, errors, network and training, without any data set."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

from posefix.cli.export import export
from posefix.cli.train import train
from posefix.core import skeleton as skeletons
from posefix.core.errors import InputError
from posefix.models.weights import read_weights
from posefix.motion.camera import project
from posefix.motion.mocap import HIPS, JOINTS, PARENTS, MotionCapture
from posefix.motion.network import MOTION, MotionConfig, MotionNetwork
from posefix.motion.training import MotionExperiment, MotionTrainer, draw_batch
from posefix.training import config
from synth.tracks import bursts, corrupt_tracks
from tests.motion_scenes import resumed, saved, standing

SKELETON = skeletons.load("coco17")
HIP_KEYPOINTS = [SKELETON.index("left_hip"), SKELETON.index("right_hip")]
SHORT = {"motion": {"width": 32, "keypoint_width": 8}, "frames": 16, "batch": 4}


def test_bodies_keep_their_bones_and_differ() -> None:
    points, _ = standing().draw(np.full(6, 30.0), 20, np.random.default_rng(0))
    names = SKELETON.keypoint_names
    thigh = np.linalg.norm(points[:, :, names.index("left_hip")] - points[:, :, names.index("left_knee")], axis=-1)
    other = np.linalg.norm(points[:, :, names.index("right_hip")] - points[:, :, names.index("right_knee")], axis=-1)
    assert np.ptp(thigh, axis=1).max() < 1e-4
    assert np.abs(thigh - other).max() < 0.15
    assert thigh.std(0).mean() > 0.01


def test_left_is_on_the_right_of_the_picture_when_the_face_is_seen() -> None:
    rng = np.random.default_rng(1)
    points, root = standing().draw(np.full(64, 30.0), 4, rng)
    seen = project(points, root, np.full(64, 30.0), HIP_KEYPOINTS, rng)
    nose, ears = seen.depths[:, :, 0], seen.depths[:, :, 3:5].mean(-1)
    left, right = seen.keypoints[:, :, 5, 0], seen.keypoints[:, :, 6, 0]
    clear = np.abs(left - right) > 0.2
    assert clear.mean() > 0.3
    assert (((nose < ears) == (left > right))[clear]).all()
    assert (seen.keypoints[:, :, 0, 1] < seen.keypoints[:, :, 15, 1]).all()  # y is down
    np.testing.assert_allclose(seen.depths[:, :, HIP_KEYPOINTS].mean(-1), 0, atol=1e-5)


def test_parents_come_before_their_children_in_the_body() -> None:
    assert all(PARENTS[hip] == JOINTS.index("pelvis") for hip in HIPS)
    assert (PARENTS >= 0).sum() == len(JOINTS) - 1


def test_bursts_have_their_share_and_duration() -> None:
    on = bursts(np.full(2000, 0.1), np.full(2000, 5.0), 200, np.random.default_rng(0))
    assert on.mean() == pytest.approx(0.1, abs=0.01)
    starts = (on[:, 1:] & ~on[:, :-1]).sum() + on[:, 0].sum()
    assert on.sum() / starts == pytest.approx(5, abs=0.4)


def test_errors_of_tracks_last_and_some_tracks_are_right() -> None:
    rng = np.random.default_rng(0)
    points, root = standing().draw(np.full(200, 30.0), 60, rng)
    seen = project(points, root, np.full(200, 30.0), HIP_KEYPOINTS, rng)
    found = corrupt_tracks(seen.keypoints, seen.sizes, SKELETON, rng)
    again = corrupt_tracks(seen.keypoints, seen.sizes, SKELETON, np.random.default_rng(7))
    same = corrupt_tracks(seen.keypoints, seen.sizes, SKELETON, np.random.default_rng(7))
    np.testing.assert_array_equal(again.keypoints, same.keypoints)
    off = np.where((found.scores > 0) & found.inside, np.linalg.norm(found.keypoints - seen.keypoints, axis=-1), np.nan)
    typical = np.nanmedian(off, axis=(1, 2))
    assert (typical < 0.01).mean() > 0.05
    assert 0.01 < np.median(typical) < 0.1
    large = np.nan_to_num(off) > 0.3
    assert large[:, 1:][large[:, :-1]].mean() > 3 * large.mean()
    assert ((found.scores >= 0) & (found.scores <= 1)).all()


def network() -> MotionNetwork:
    torch.manual_seed(0)
    made = MotionNetwork(MotionConfig(width=32, keypoint_width=8, dilations=(1, 2)), SKELETON).eval()
    for weights in made.parameters():
        weights.data += 0.05 * torch.randn_like(weights)
    return made


def test_the_past_alone_is_used_when_causal_but_for_the_latency() -> None:
    tracks, fps = torch.rand(2, 40, 17, 3), torch.full((2,), 30.0)
    changed = tracks.clone()
    changed[:, 25:] = torch.rand(2, 15, 17, 3)
    made = network()
    for latency in (0, 4):
        before, after = (made(x, fps, causal=True, latency=latency).keypoints for x in (tracks, changed))
        assert torch.equal(before[:, : 25 - latency], after[:, : 25 - latency])
        assert not torch.equal(before[:, 25 - latency], after[:, 25 - latency])
    before, after = (made(x, fps).keypoints for x in (tracks, changed))
    assert not torch.equal(before[:, 24], after[:, 24])


def test_untrained_it_is_a_filter_that_keeps_straight_lines_and_reduces_noise() -> None:
    made = MotionNetwork(MotionConfig(width=32, keypoint_width=8), SKELETON).eval()
    torch.nn.init.zeros_(made.out.weight)
    line = torch.linspace(-1, 1, 60)[None, :, None, None].expand(1, 60, 17, 2)
    noisy = line + 0.02 * torch.randn(line.shape, generator=torch.Generator().manual_seed(0))
    found = made(torch.cat([noisy, torch.ones(1, 60, 17, 1)], -1), torch.tensor([30.0])).keypoints
    inside = slice(10, -10)
    assert (found - line)[:, inside].std() < 0.6 * (noisy - line)[:, inside].std()


def test_training_goes_on_to_the_same_weights_and_learns(tmp_path: Path) -> None:
    path = saved(standing(), tmp_path)
    experiment = MotionExperiment.model_validate({**SHORT, "data": str(path), "steps": 6})
    resumed(MotionTrainer, experiment, tmp_path)
    changed = MotionExperiment.model_validate({**SHORT, "data": str(path), "steps": 7})
    with pytest.raises(InputError, match=r"another steps \(6, now 7\)"):
        MotionTrainer(changed, tmp_path / "parts", torch.device("cpu")).resume()


def test_batches_are_normalised_and_weights_are_one_on_average() -> None:
    batch = draw_batch(standing(), SKELETON, 16, 32, np.random.default_rng(0))
    given = batch.tracks[..., 2] > 0
    assert batch.tracks[..., :2].abs()[given].median() < 2
    assert batch.weights.mean() == pytest.approx(1, abs=1e-5)
    assert (batch.tracks[~given][:, :2] == 0).all()
    error = (batch.tracks[..., :2] - batch.keypoints).norm(dim=-1)[given]
    assert error.median() < 0.15


def test_unusable_motion_capture_and_checkpoints_are_named(tmp_path: Path) -> None:
    bad = tmp_path / "bad.npz"
    bad.write_bytes(b"no archive")
    with pytest.raises(InputError, match=r"bad\.npz"):
        MotionCapture.load(bad)
    with pytest.raises(InputError, match="not a checkpoint of the sequence denoiser"):
        MOTION.load("posefix-small")


def test_a_damaged_checkpoint_is_one_sentence(tmp_path: Path) -> None:
    damaged = {"text": "{", "none": "{}"}
    whole = MotionNetwork(MotionConfig(width=32, keypoint_width=8), SKELETON)
    MOTION.save(tmp_path / "whole.safetensors", whole, {}, {})
    described = json.loads(read_weights(tmp_path / "whole.safetensors")[1][MOTION.key])
    damaged |= {name: json.dumps({k: v for k, v in described.items() if k != name}) for name in described}
    damaged["steps"] = json.dumps({**described, "training_info": {"steps": "many"}})
    for name, text in damaged.items():
        path = tmp_path / f"{name}.safetensors"
        save_file(whole.state_dict(), path, {MOTION.key: text})
        result = CliRunner().invoke(export, [str(path), "--out", str(tmp_path / "out.safetensors")])
        assert result.exit_code == 2 and f"{name}.safetensors: no network can be built" in result.output, name
    assert not (tmp_path / "out.safetensors").exists()


def test_the_shipped_configuration_is_valid_and_says_all() -> None:
    spec, _ = config.read("motion", ["steps=5"])
    assert MotionExperiment.model_validate(spec).steps == 5


@pytest.mark.parametrize("name", ["motion", "lifting"])
def test_other_keypoints_than_those_of_the_motion_capture_are_no_option(name: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(train, ["--config", name, "--out", str(tmp_path / "out"), "skeleton=halpe26"])
    assert result.exit_code == 2 and "no option skeleton" in result.output


@pytest.mark.parametrize("option", [["--test_batch", "8"], ["--no_flip_test"]])
def test_options_of_the_evaluation_are_refused(option: list[str], tmp_path: Path) -> None:
    result = CliRunner().invoke(train, ["--config", "motion", "--out", str(tmp_path / "out"), *option])
    assert result.exit_code == 2 and "is for the evaluation of refiners" in result.output


def test_a_trained_checkpoint_is_made_small(tmp_path: Path) -> None:
    path, out = tmp_path / "trained.safetensors", tmp_path / "small.safetensors"
    MOTION.save(path, network(), {"steps": 3}, {"steps": 2})
    result = CliRunner().invoke(export, [str(path), "--out", str(out)])
    assert result.exit_code == 0 and "2 steps" in result.output
    assert out.stat().st_size < 0.8 * path.stat().st_size
    one, other = (MOTION.load(p).state_dict() for p in (path, out))
    assert all(torch.allclose(one[name], other[name], rtol=1e-3, atol=1e-3) for name in one)
    assert CliRunner().invoke(export, [str(path), "--to", "onnx", "--out", str(out)]).exit_code == 2

"""Train what others smooth tracks with on the data of the sequence denoiser, and smooth a folder of clips with it.

``smoothnet``: fully connected layers over a window of 32 frames, the same for each coordinate, residual (Zeng et al.,
ECCV 2022); ``tcn``: dilated convolutions over whole poses that put out poses (Pavllo et al., CVPR 2019). Both get
positions alone, interpolated where nothing was found, and are trained on position and acceleration.
"""

from __future__ import annotations

import time
from pathlib import Path

import click
import numpy as np
import torch
from rich.progress import track
from torch import nn

from posefix import formats
from posefix.cli.options import PATH, friendly, option
from posefix.core import skeleton as skeletons
from posefix.media.video import VideoFrames
from posefix.motion.denoise import normalized
from posefix.motion.filters import interpolated
from posefix.motion.mocap import MotionCapture
from posefix.motion.network import Denoised, TemporalBlock
from posefix.motion.smoothing import smooth_people
from posefix.motion.training import MotionLoss, draw_batch, losses

WINDOW, HIDDEN, WIDTH, DILATIONS = 32, 512, 224, (1, 2, 4, 8, 16, 1)
BATCH, FRAMES = 16, 64


class SmoothNet(nn.Module):
    """(N, T, K, 2) -> the same: windows of 32 frames, averaged where they overlap."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(WINDOW, HIDDEN), nn.LeakyReLU(0.1))
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(HIDDEN, 128), nn.LeakyReLU(0.1), nn.Linear(128, HIDDEN), nn.LeakyReLU(0.1))
            for _ in range(3)
        )
        self.last = nn.Linear(HIDDEN, WINDOW)

    def forward(self, xy: torch.Tensor) -> torch.Tensor:
        n, t, k, _ = xy.shape
        padded = nn.functional.pad(xy.reshape(n, t, 2 * k).transpose(1, 2), (WINDOW - 1, WINDOW - 1), mode="replicate")
        windows = padded.unfold(-1, WINDOW, 1)  # (N, 2K, T + 31, 32)
        x = self.first(windows - windows.mean(-1, keepdim=True))
        for block in self.blocks:
            x = x + block(x)
        windows = self.last(x) + windows
        columns = windows.permute(0, 1, 3, 2).reshape(n * 2 * k, WINDOW, -1)
        length = t + 2 * (WINDOW - 1)
        summed = nn.functional.fold(columns, (1, length), (1, WINDOW))[:, 0, 0] / WINDOW
        return summed[:, WINDOW - 1 : WINDOW - 1 + t].reshape(n, 2 * k, t).transpose(1, 2).reshape(n, t, k, 2)


class PoseTcn(nn.Module):
    """(N, T, K, 2) -> the same."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(34, WIDTH), nn.Linear(WIDTH, 34)
        self.blocks = nn.ModuleList(TemporalBlock(WIDTH, dilation) for dilation in DILATIONS)

    def forward(self, xy: torch.Tensor) -> torch.Tensor:
        x = self.first(xy.flatten(2))
        for block in self.blocks:
            x = block(x, causal=False)
        return xy + self.last(x).view(xy.shape)


@click.command(epilog="Example: python -m tools.experiments.smooth_baselines smoothnet raw videos --out smoothed")
@click.argument("kind", type=click.Choice(["smoothnet", "tcn"]))
@click.argument("results", type=PATH)
@click.argument("videos", type=PATH)
@option("--mocap", type=PATH, required=True, help="Motion capture to train on.")
@option("--minutes", type=float, default=10.0, help="Of training.")
@option("--out", type=PATH, required=True, help="Folder for the smoothed results, named as they were.")
@friendly
def main(kind: str, results: Path, videos: Path, mocap: Path, minutes: float, out: Path) -> None:
    """Train, then smooth RESULTS/*/CLIP.json of any number of estimators into OUT/ESTIMATOR/CLIP.json."""
    torch.manual_seed(0)
    network: nn.Module = SmoothNet() if kind == "smoothnet" else PoseTcn()
    train(network, MotionCapture.load(mocap), minutes)

    def denoise(times: np.ndarray, keypoints: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scaled, centre, size = normalized(filled(np.nan_to_num(keypoints))[None])
        with torch.inference_mode():
            found = network(torch.from_numpy(scaled[..., :2])).numpy()[0] * size[0] + centre[0]
        return np.concatenate([found, keypoints[..., 2:]], axis=-1), keypoints[..., 2]

    for path in track(sorted(results.glob("*/*.json"))):
        times = VideoFrames(next(videos.glob(f"{path.stem}.*"))).times
        target = out / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        formats.write(smooth_people(formats.read(path), denoise, times=times).people, target)


def train(network: nn.Module, motion: MotionCapture, minutes: float) -> None:
    """Adam, with the rate falling to 0 as time runs out."""
    optimizer = torch.optim.Adam(network.parameters())
    begun, step, skeleton = time.monotonic(), 0, skeletons.load("coco17")
    while (done := (time.monotonic() - begun) / (60 * minutes)) < 1:
        batch = draw_batch(motion, skeleton, BATCH, FRAMES, np.random.default_rng([1, step]))
        given = torch.from_numpy(np.stack([filled(window) for window in batch.tracks.numpy()])[..., :2]).float()
        found = network(given)
        nothing = torch.zeros_like(batch.depths)
        parts = losses(Denoised(found, nothing, batch.depths), batch, MotionLoss(velocity=0, spread=0, depth=0))
        optimizer.zero_grad()
        torch.stack(list(parts.values())).sum().backward()
        optimizer.param_groups[0]["lr"] = 1e-3 * (1 - done)
        optimizer.step()
        step += 1
    click.echo(f"{step} steps of {BATCH} windows")


def filled(track: np.ndarray) -> np.ndarray:
    """(T, K, 3) with what is missing on straight lines between what is there."""
    known = track[..., 2] > 0
    return np.where(known[..., None], track, interpolated(np.arange(len(track)), track, known))


if __name__ == "__main__":
    main()

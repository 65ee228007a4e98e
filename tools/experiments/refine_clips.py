"""Refine the results of a folder of annotated clips, each with its video, for ``posefix evaluate --video``."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from rich.progress import track

from posefix import Refiner, formats
from posefix.cli.options import PATH, friendly, option
from posefix.core.errors import InputError
from posefix.core.people import People
from posefix.media.video import VideoFrames
from posefix.motion.denoise import TrackDenoiser
from posefix.motion.network import DEFAULT
from posefix.motion.online import OnlineRefiner
from posefix.motion.refining import refine_video
from posefix.motion.smoothing import filter_by, smooth_people
from posefix.refine.settings import RefineSettings

WITH_IMAGES = ("refine", "live", "frames")
WAYS = (*WITH_IMAGES, "network", "oneeuro", "savgol", "butterworth", "gaussian", "median")


@click.command(epilog="Example: python -m tools.experiments.refine_clips raw videos --way refine --out refined")
@click.argument("results", type=PATH)
@click.argument("videos", type=PATH)
@option(
    "--way",
    type=click.Choice(WAYS),
    default="refine",
    help="With images: over time, live, frame by frame; or without.",
)
@option("--network", help="Sequence denoiser: a .safetensors file, or a shipped name; posefix-motion by default.")
@option("--checkpoint", help="Refiner; posefix-base by default.")
@option(
    "--latency",
    type=click.IntRange(0, 30),
    help="For --way network and live: use only past frames and this many later ones.",
)
@option("--out", type=PATH, required=True, help="Folder for the refined results, named as they were.")
@friendly
def main(
    results: Path,
    videos: Path,
    way: str,
    network: str | None,
    checkpoint: str | None,
    latency: int | None,
    out: Path,
) -> None:
    """Refine RESULTS/CLIP.json with VIDEOS/CLIP.* into OUT/CLIP.json."""
    for name, value, ways in (
        ("network", network, ("refine", "live", "network")),
        ("checkpoint", checkpoint, WITH_IMAGES),
        ("latency", latency, ("network", "live")),
    ):
        if value is not None and way not in ways:
            raise InputError(f"--{name} is not for --way {way}; use it with {', '.join(ways)}")
    network = network or DEFAULT
    refiner = Refiner.from_pretrained(checkpoint or "posefix-base") if way in WITH_IMAGES else None
    denoise = TrackDenoiser.from_pretrained(network, latency=latency) if way == "network" else filter_by(way, 6.0)
    settings = RefineSettings(rescore=False)
    out.mkdir(parents=True, exist_ok=True)
    for path in track(sorted(results.glob("*.json"))):
        video = VideoFrames(next(videos.glob(f"{path.stem}.*")))
        people: People = formats.read(path)
        if refiner is None:
            people = smooth_people(people, denoise, times=video.times).people
        elif way == "live":
            fps = 1 / float(np.diff(video.times).mean())
            people = refine_live(
                OnlineRefiner(refiner, fps, network, latency=latency or 0), people, video, latency or 0
            )
        elif way == "frames":
            people = refiner.refine(people, video, settings)
        else:
            people = refine_video(refiner, people, video, settings, network)
        formats.write(people, out / path.name)


def refine_live(online: OnlineRefiner, people: People, video: VideoFrames, latency: int) -> People:
    """Refine frame by frame; repeat the last frame until all delayed results are there."""
    keypoints, xyc = people.keypoints.copy(), people.xyc
    frames = list(video)
    for step in range(len(frames) + latency):
        index, frame = frames[min(step, len(frames) - 1)]
        refined = online(frame, xyc[people.image_ids == index])[..., :2]
        rows = np.flatnonzero(people.image_ids == frames[max(step - latency, 0)][0])
        if step >= latency and len(rows) == len(refined):
            keypoints[rows] = refined
    return people.with_keypoints(keypoints)


if __name__ == "__main__":
    main()

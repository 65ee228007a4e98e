"""Refine the results of a folder of annotated clips, each with its video, for ``posefix evaluate --video``."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from rich.progress import track

from posefix import Refiner, formats
from posefix.cli.options import PATH, friendly, option
from posefix.core.people import People
from posefix.media.video import VideoFrames
from posefix.motion.denoise import TrackDenoiser
from posefix.motion.online import OnlineRefiner
from posefix.motion.refining import refine_video
from posefix.motion.smoothing import filter_by, smooth_people
from posefix.refine.settings import RefineSettings

WAYS = ("refine", "live", "frames", "network", "oneeuro", "savgol", "butterworth", "gaussian", "median")


@click.command(epilog="Example: python -m tools.experiments.refine_clips raw videos --way refine --out refined")
@click.argument("results", type=PATH)
@click.argument("videos", type=PATH)
@option(
    "--way",
    type=click.Choice(WAYS),
    default="refine",
    help="With images: over time, live, frame by frame; or without.",
)
@option("--network", default="posefix-motion", help="The sequence denoiser: a .safetensors file, or a shipped name.")
@option("--checkpoint", default="posefix-base", help="The refiner.")
@option("--latency", type=click.IntRange(0, 30), help="Of the network: from the past and so many later frames alone.")
@option("--every", type=click.IntRange(1), default=1, help="Take every so manyth clip.")
@option("--first", type=click.IntRange(0), default=0, help="Begin with this clip.")
@option("--out", type=PATH, required=True, help="Folder for the refined results, named as they were.")
@friendly
def main(
    results: Path,
    videos: Path,
    way: str,
    network: str,
    checkpoint: str,
    latency: int | None,
    every: int,
    first: int,
    out: Path,
) -> None:
    """Refine RESULTS/CLIP.json with VIDEOS/CLIP.* into OUT/CLIP.json."""
    refiner = Refiner.from_pretrained(checkpoint) if way in ("refine", "live", "frames") else None
    denoise = TrackDenoiser.from_pretrained(network, latency=latency) if way == "network" else filter_by(way, 6.0)
    settings = RefineSettings(rescore=False)
    out.mkdir(parents=True, exist_ok=True)
    for path in track(sorted(results.glob("*.json"))[first::every]):
        video = VideoFrames(next(videos.glob(f"{path.stem}.*")))
        people: People = formats.read(path)
        if refiner is None:
            people = smooth_people(people, denoise, times=video.times).people
        elif way == "live":
            people = refine_live(OnlineRefiner(refiner, 1 / float(np.diff(video.times).mean()), network), people, video)
        elif way == "frames":
            people = refiner.refine(people, video, settings)
        else:
            people = refine_video(refiner, people, video, settings, network)
        formats.write(people, out / path.name)


def refine_live(online: OnlineRefiner, people: People, video: VideoFrames) -> People:
    """Give a refiner one frame after the other."""
    keypoints = people.keypoints.copy()
    xyc = np.concatenate([keypoints, people.scores[..., None]], axis=-1)
    for index, frame in video:
        rows = np.flatnonzero(people.image_ids == index)
        keypoints[rows] = online(frame, xyc[rows])[..., :2]
    return people.with_keypoints(keypoints)


if __name__ == "__main__":
    main()

"""``posefix evaluate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from posefix.cli.options import FINITE_POSITIVE, JSON, friendly, on_results, option, read_measured
from posefix.core.errors import InputError


@click.command(epilog="Example: posefix evaluate results.json --annotations person_keypoints_val2017.json")
@on_results
@option("--video", is_flag=True, help="Measure videos, also their movement: files, or folders with one file per video.")
@option("--fps", type=FINITE_POSITIVE, help="Frames per second of videos, 30 by default.")
@JSON
@friendly
def evaluate(as_json: bool, video: bool, fps: float | None, **inputs: Any) -> None:
    """Measure results, or compare two files on the same images, with a 95 % interval.

    With --video, image ids are frame numbers, and the interval is by bootstrap over the videos.
    """
    from rich.console import Console
    from rich.markup import escape

    from posefix.motion.measures import LOWER_IS_BETTER, UNITS
    from posefix.report.tables import summary_table, with_unit

    if fps and not video:
        raise InputError("--fps is for videos: add --video")
    names = [Path(path).name for path in inputs["results"]]
    units = UNITS if video else None
    metrics = _measure_videos(fps=fps or 30.0, **inputs) if video else _measure_images(**inputs)
    if as_json:
        click.echo(json.dumps(metrics))
    elif "gain" in metrics:
        title = f"{names[0]} to {names[1]}"
        Console().print(summary_table(metrics, escape(title), LOWER_IS_BETTER if video else (), units))
        gain = metrics["gain"]
        if any(gain.values()) and all(
            gain[name] == gain[name.replace("_low", "_high")] for name in gain if name.endswith("_low")
        ):
            click.echo(f"no intervals: they need more than one {'video' if video else 'image'}")
        if filled := gain.get("filled"):
            click.echo(f"{names[1]} has the person in {filled:.2f} % more of the annotated frames")
    else:
        labels = [with_unit(name, units) for name in metrics]
        width = max(map(len, labels)) + 1
        shown = ["-" if value is None else f"{value:.2f}" for value in metrics.values()]
        values = (f"{label:{width}}{value}" for label, value in zip(labels, shown, strict=True))
        click.echo("\n".join(values))


def _measure_images(**inputs: Any) -> Any:
    import numpy as np

    from posefix.evaluation.coco import evaluate as measure
    from posefix.evaluation.comparison import compare

    truth, ((_, before), *others) = read_measured(**inputs, most=2)
    if others:
        return compare(truth, before, others[0][1], rng=np.random.default_rng(0))
    return measure(truth, before).metrics()


def _measure_videos(results: tuple[Path, ...], annotations: Path, format: str, skeleton: str, fps: float) -> Any:
    import numpy as np

    from posefix.core.skeleton import load
    from posefix.motion.clips import read_clips
    from posefix.motion.measures import compare_clips, measure_clips

    if len(results) > 2:
        raise click.UsageError(f"give at most 2 files or folders of results, not {len(results)}")
    before, *after = (read_clips(annotations, path, load(skeleton), fps, format) for path in results)
    return compare_clips(before, after[0], rng=np.random.default_rng(0)) if after else measure_clips(before)

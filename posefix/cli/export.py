"""``posefix export``."""

from __future__ import annotations

from pathlib import Path

import click

from posefix.cli.options import PATH, friendly


@click.command(epilog="Example: posefix export runs/mine/model.safetensors --keep_margin 0.01 --out mine.safetensors")
@click.argument("checkpoint")
@click.option("--keep_margin", type=click.FloatRange(0, 1), help="Expected gain in KS below which a keypoint stays.")
@click.option("--out", type=PATH, required=True, help="File to write.")
@friendly
def export(checkpoint: str, keep_margin: float | None, out: Path) -> None:
    """Make a trained checkpoint ready to ship: weights in half precision."""
    from dataclasses import replace

    from posefix.models.checkpoint import load_checkpoint, save_checkpoint

    loaded = load_checkpoint(checkpoint)
    if keep_margin is not None:
        loaded = replace(loaded, config=loaded.config.model_copy(update={"keep_margin": keep_margin}))
    save_checkpoint(out, loaded, half=True)
    steps = loaded.training_info.get("steps", 0)
    click.echo(f"{out}: {out.stat().st_size / 2**20:.2f} MiB, trained for {steps:,} steps")

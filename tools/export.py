"""Make a checkpoint ready to ship: fp16 weights, and the margin below which keypoints stay.

python -m tools.export runs/small_mobilenetv2/model.safetensors --keep_margin 0.01 --out posefix-small.safetensors
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from posefix.cli.options import friendly
from posefix.core.files import require_distinct
from posefix.models.checkpoint import load_checkpoint, save_checkpoint


@click.command(help=__doc__.splitlines()[0])
@click.argument("checkpoint")
@click.option("--keep_margin", type=click.FloatRange(0, 1), help="Expected gain in KS below which a keypoint stays.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="File to write.")
@friendly
def main(checkpoint: str, keep_margin: float | None, out: Path) -> None:
    """Load, set, write in half precision."""
    require_distinct([out], [Path(checkpoint)])
    loaded = load_checkpoint(checkpoint)
    if keep_margin is not None:
        loaded = replace(loaded, config=loaded.config.model_copy(update={"keep_margin": keep_margin}))
    save_checkpoint(out, loaded, half=True)
    click.echo(f"{out}: {out.stat().st_size / 2**20:.2f} MiB, {loaded.training_info}")


if __name__ == "__main__":
    main()

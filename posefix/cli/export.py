"""``posefix export``."""

from __future__ import annotations

from pathlib import Path

import click

from posefix.cli.options import PATH, FiniteRange, friendly, option
from posefix.core.errors import InputError
from posefix.refine.settings import ESTIMATOR_AP


@click.command(epilog="Example: posefix export posefix-base --to onnx --out posefix.onnx")
@click.argument("checkpoint")
@option("--keep_margin", type=FiniteRange(0, 1), help="Leave keypoints whose expected gain in KS is below this.")
@option(
    "--to",
    "kind",
    type=click.Choice(["checkpoint", "onnx"]),
    default="checkpoint",
    help="A half-precision checkpoint, or an ONNX file that needs neither torch nor posefix.",
)
@option(
    "--estimator_ap",
    type=FiniteRange(1, 100),
    help=f"For ONNX: AP that the estimator reaches, in percent; {ESTIMATOR_AP:g} by default.",
)
@option("--out", type=PATH, required=True, help="File to write.")
@friendly
def export(checkpoint: str, keep_margin: float | None, kind: str, estimator_ap: float | None, out: Path) -> None:
    """Write a trained checkpoint as a small file, or as ONNX."""
    from dataclasses import replace

    from posefix.core.files import require_distinct, write_atomically
    from posefix.lifting.network import LIFTING
    from posefix.models.checkpoint import load_checkpoint, save_checkpoint
    from posefix.models.weights import resolve
    from posefix.motion.network import MOTION
    from posefix.refine.exported import export_onnx

    if out.suffix == {"onnx": ".safetensors", "checkpoint": ".onnx"}[kind]:
        raise InputError(f"{out}: --to {kind} writes no {out.suffix} file")
    if estimator_ap is not None and kind != "onnx":
        raise InputError("--estimator_ap is for --to onnx; a checkpoint is told when it refines")
    path = resolve(checkpoint)
    require_distinct([out], [path])
    for sequence in (MOTION, LIFTING):
        if sequence.holds(path):
            if kind == "onnx" or keep_margin is not None:
                raise InputError(f"{path}: is of {sequence.title}, which has neither ONNX nor a margin")
            _report(out, sequence.export(path, out))
            return
    model = load_checkpoint(checkpoint)
    if keep_margin is not None:
        model = replace(model, config=model.config.model_copy(update={"keep_margin": keep_margin}))
    if kind == "onnx":
        write_atomically(out, export_onnx(model, estimator_ap or ESTIMATOR_AP))
    else:
        save_checkpoint(out, model, half=True)
    _report(out, model.training_info.get("steps", 0))


def _report(out: Path, steps: int) -> None:
    click.echo(f"{out}: {out.stat().st_size / 2**20:.2f} MiB, trained for {steps:,} steps")

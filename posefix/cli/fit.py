"""``posefix fit``."""

from __future__ import annotations

from pathlib import Path

import click

from posefix.cli.options import ANNOTATIONS, EXISTING, FORMAT, SKELETON, friendly, results_on
from posefix.core.errors import InputError


@click.command(epilog="Example: posefix fit results.json --annotations person_keypoints_train2017.json --out mine.yaml")
@click.argument("results", type=EXISTING, nargs=-1, required=True)
@ANNOTATIONS
@click.option("--out", type=EXISTING, required=True, help="The statistics file to write (YAML).")
@FORMAT
@SKELETON
@click.option("--description", default="", help="A line that says where the numbers come from.")
@friendly
def fit(
    results: tuple[Path, ...], annotations: Path, out: Path, format_name: str, skeleton: str, description: str
) -> None:
    """Measure an estimator's errors, so that training can synthesise them; of several files, all of them pooled.

    The file that it writes goes into a configuration as synthesis.statistics.
    """
    import numpy as np

    from posefix.core.files import require_writable
    from posefix.core.skeleton import load
    from posefix.evaluation.diagnosis import diagnose as find_errors
    from posefix.evaluation.ground_truth import load_ground_truth
    from synth import Statistics, fit_statistics, pool

    if out.resolve() in {path.resolve() for path in (*results, annotations)}:
        raise InputError(f"{out}: is named twice, as an output and as another file of this run")
    require_writable(out)
    chosen = load(skeleton)
    truth = load_ground_truth(annotations, len(chosen))
    seen = []
    for path in results:
        seen.append(find_errors(truth, results_on(path, format_name, chosen, annotations)).observation())
        known = int((seen[-1].types >= 0).sum())
        if not known:
            raise InputError(f"{path}: no result matches an annotated person, so there is nothing to measure")
        click.echo(f"{path}: {len(seen[-1].types):,} people found, {known:,} annotated keypoints")
    measured = pool(seen) if len(seen) > 1 else seen[0]
    fitted = fit_statistics(measured, description or f"fitted to {', '.join(path.stem for path in results)}")
    written = Statistics.from_dict(fitted.to_dict(), str(out), chosen)
    written.probabilities_by_kind(measured.visible[:1], measured.overlaps[:1], chosen, np.zeros(1, int))
    written.save(out)
    click.echo(f"{out}: written")

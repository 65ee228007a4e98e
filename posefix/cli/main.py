"""``posefix``: the group of all commands."""

from __future__ import annotations

import click

from posefix import __version__
from posefix.cli.convert import convert
from posefix.cli.diagnose import diagnose
from posefix.cli.evaluate import evaluate
from posefix.cli.evaluate_3d import evaluate_3d
from posefix.cli.export import export
from posefix.cli.fit import fit
from posefix.cli.lift import lift
from posefix.cli.measure import measure
from posefix.cli.refine import refine
from posefix.cli.smooth import smooth
from posefix.cli.train import train


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Refine human poses, whatever estimator they come from."""


for command in (refine, smooth, lift, convert, evaluate, evaluate_3d, diagnose, fit, train, measure, export):
    main.add_command(command)

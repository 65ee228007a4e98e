"""The command line: ``python -m posefix --help``."""

from posefix.cli.main import main

main(prog_name="posefix")

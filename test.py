"""Refine an estimator's results and measure the gain: ``python test.py --help``."""

from posefix.cli.refine import refine

if __name__ == "__main__":
    refine(prog_name="test.py")

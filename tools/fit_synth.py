"""Measure an estimator's errors for the synthesis: `python -m tools.fit_synth --help`; the same as `posefix fit`."""

from posefix.commands import fit

if __name__ == "__main__":
    fit(prog_name="tools.fit_synth")

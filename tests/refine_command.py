"""Run ``posefix refine`` in the world that ``write_world`` makes."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner, Result

from posefix.cli.refine import refine


def arguments(world: dict[str, Path], *more: object) -> list[str]:
    chosen = ["--detection_json", world["results"], "--images", world["images"], "--checkpoint", world["checkpoint"]]
    return [str(a) for a in [*chosen, "--device", "cpu", "--test_batch", 4, *more]]


def run(world: dict[str, Path], *more: object) -> Result:
    return CliRunner().invoke(refine, arguments(world, *more))


def assert_clear(result: Result, out: Path) -> None:
    assert result.exit_code == 2, (result.exit_code, result.output)
    assert isinstance(result.exception, SystemExit)
    said = result.stderr.strip().splitlines()
    assert said[-1].startswith("Error: ")
    assert "Traceback" not in result.output
    assert not out.exists()

"""The tool that refines clips takes no option that its way does not use."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from tools.experiments.refine_clips import main


@pytest.mark.parametrize(
    ("way", "option", "value"),
    [
        ("refine", "--latency", "1"),
        ("median", "--latency", "1"),
        ("frames", "--network", "x"),
        ("network", "--checkpoint", "x"),
    ],
)
def test_an_option_of_another_way_is_refused(way: str, option: str, value: str, tmp_path: Path) -> None:
    arguments = [str(tmp_path), str(tmp_path), "--way", way, "--out", str(tmp_path / "out"), option, value]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2 and f"{option} is not for --way {way}" in result.output
    assert not (tmp_path / "out").exists()

"""README and pages: links lead somewhere, and the site builds without a warning."""

from __future__ import annotations

import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")


def test_links_of_the_readme_lead_somewhere() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = [link for link in LINK.findall(text) if "://" not in link]
    assert links and not [link for link in links if not (ROOT / link).exists()]


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 130


def test_configurations_that_are_named_exist() -> None:
    page = (ROOT / "docs" / "train.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    names = [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert names and not [name for name in names if not (ROOT / "configs" / f"{name}.yaml").exists()]


def test_what_the_walk_names_exists() -> None:
    page = (ROOT / "docs" / "inside.md").read_text(encoding="utf-8")
    names = re.findall(r"`(posefix(?:\.\w+)+)`", page)
    assert len(names) > 30
    for name in names:
        assert pkgutil.resolve_name(name) is not None


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "site" / "model_card" / "index.html").exists()

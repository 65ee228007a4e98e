"""The synthesis could be installed on its own: it needs the core alone, and no file of it needs itself."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import synth

FILES = sorted(Path(synth.__file__).parent.glob("*.py"))


def imported(path: Path) -> set[str]:
    """Names of the modules that a file imports."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}


def test_of_posefix_only_the_core_is_needed() -> None:
    needed = {name for path in FILES for name in imported(path) if name.split(".")[0] == "posefix"}
    assert needed and all(name.startswith("posefix.core") for name in needed), needed


def test_no_file_needs_itself_by_way_of_others() -> None:
    graph = {f"synth.{path.stem}": {n for n in imported(path) if n.startswith("synth")} for path in FILES}
    list(TopologicalSorter(graph).static_order())  # raises CycleError

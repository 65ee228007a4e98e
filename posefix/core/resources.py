"""Find, read and validate the files of the package: configurations, statistics, skeletons, weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from posefix.core.errors import InputError

Group = TypeVar("Group", bound=BaseModel)
_PACKAGE = Path(__file__).resolve().parents[1]


def configs_dir() -> Path:
    """Return the folder of the shipped YAML files: in the installed package, or next to it in a source tree."""
    installed = _PACKAGE / "configs"
    return installed if installed.is_dir() else _PACKAGE.parent / "configs"


def weights_dir() -> Path:
    """Return the folder of the shipped checkpoints."""
    return _PACKAGE / "weights"


def read_yaml(kind: str, name_or_path: str | Path, what: str) -> tuple[dict[str, Any], Path]:
    """Read a YAML file by path or shipped name (``"coco17"``); returns its content and path.

    ``kind`` is the folder of shipped files: ``"skeletons"``, ``"statistics"``, or ``"."`` for experiments; ``what``
    names the content in messages. Raises InputError when there is no such file, or it does not hold a mapping.
    """
    candidates = (Path(name_or_path), configs_dir() / kind / f"{name_or_path}.yaml")
    try:
        path = next((candidate for candidate in candidates if candidate.is_file()), None)
    except OSError:  # name too long
        path = None
    if path is None:
        known = ", ".join(available(kind))
        raise InputError(f"no {what} {str(name_or_path)!r:.80}: give a YAML file or one of {known}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{path}: not a readable YAML file ({type(error).__name__})") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: a {what} file holds a mapping of names to values")
    return content, path


def available(kind: str) -> list[str]:
    """List the names of the shipped YAML files of a kind, sorted."""
    return sorted(p.stem for p in (configs_dir() / kind).glob("*.yaml"))


class StrictModel(BaseModel):
    """Base of option groups: immutable, without unknown names, with finite numbers only."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def validated(kind: type[Group], spec: Any, source: str) -> Group:
    """Build a group of options from plain data.

    Raises:
        InputError: naming ``source`` and the first invalid option, and for an unknown option the known ones.
    """
    try:
        return kind.model_validate(spec)
    except ValidationError as error:
        first = error.errors()[0]
    except RecursionError:
        raise InputError(f"{source}: nested too deep, or within itself") from None
    option = ".".join(str(part) for part in first["loc"]) or "the whole"
    if first["type"] == "extra_forbidden":
        known = ", ".join(_options_at(kind, first["loc"][:-1]))
        raise InputError(f"{source}: there is no option {option:.80}; use one of {known}")
    raise InputError(f"{source}: {option:.80}: {first['msg']} (found {first.get('input')!r:.60})")


def _options_at(kind: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """List the options of the group at ``path`` in ``kind``."""
    schema = kind.model_json_schema()
    definitions, node = schema.get("$defs", {}), schema
    for part in path:
        node = node["items"] if isinstance(part, int) else node["properties"][part]
        node = next(choice for choice in node.get("anyOf", [node]) if choice.get("type") != "null")
        if "$ref" in node:
            node = definitions[node["$ref"].rsplit("/", 1)[1]]
    return list(node["properties"])

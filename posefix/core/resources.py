"""Files that belong to the package (configurations, statistics, skeletons, weights), and the options in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from posefix.core.errors import InputError

Group = TypeVar("Group", bound=BaseModel)
_PACKAGE = Path(__file__).resolve().parents[1]


def configs_dir() -> Path:
    """Folder of the shipped YAML files: inside the package when installed, next to it in a source tree."""
    installed = _PACKAGE / "configs"
    return installed if installed.is_dir() else _PACKAGE.parent / "configs"


def weights_dir() -> Path:
    """Folder of the checkpoints that come with the package."""
    return _PACKAGE / "weights"


def read_yaml(kind: str, name_or_path: str | Path, what: str) -> tuple[dict[str, Any], Path]:
    """Read the YAML file that a path, or the name of a shipped one (``"coco17"``), stands for; also returns its path.

    ``kind`` is the folder below the configurations (``"skeletons"``, ``"statistics"``, or ``"."`` for experiments),
    ``what`` is what the file holds, for messages: ``"configuration"``.

    Raises:
        InputError: when there is no such file, or it does not hold a mapping.
    """
    places = (Path(name_or_path), configs_dir() / kind / f"{name_or_path}.yaml")
    try:
        path = next((place for place in places if place.is_file()), None)
    except OSError:  # a name longer than any file's
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
    """Names of the shipped YAML files of a kind, sorted."""
    return sorted(p.stem for p in (configs_dir() / kind).glob("*.yaml"))


class StrictModel(BaseModel):
    """A group of options: frozen, with no unknown names and only finite numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def validated(kind: type[Group], spec: Any, source: str) -> Group:
    """Build a group of options from plain data.

    Raises:
        InputError: naming ``source``, the first option that does not fit, and for an unknown one those that there are.
    """
    try:
        return kind.model_validate(spec)
    except ValidationError as error:
        first = error.errors()[0]
    except RecursionError:
        raise InputError(f"{source}: nested too deep, or within itself") from None
    where = ".".join(str(part) for part in first["loc"]) or "the whole"
    if first["type"] == "extra_forbidden":
        known = ", ".join(_options_at(kind, first["loc"][:-1]))
        raise InputError(f"{source}: there is no option {where:.80}; use one of {known}")
    raise InputError(f"{source}: {where:.80}: {first['msg']} (found {first.get('input')!r:.60})")


def _options_at(kind: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """Names of the options in the group at ``path`` inside ``kind``."""
    schema = kind.model_json_schema()
    definitions, node = schema.get("$defs", {}), schema
    for part in path:
        node = node["items"] if isinstance(part, int) else node["properties"][part]
        node = next(choice for choice in node.get("anyOf", [node]) if choice.get("type") != "null")
        if "$ref" in node:
            node = definitions[node["$ref"].rsplit("/", 1)[1]]
    return list(node["properties"])

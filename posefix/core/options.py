"""Groups of options that are read from files: typed, checked, and refused in one sentence."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from posefix.core.errors import InputError

Group = TypeVar("Group", bound=BaseModel)


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

"""docs/parameters.md, written from the models."""

import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from medimg.params import Params


def reference() -> str:
    """Every parameter with its meaning, its default and what is allowed, as Markdown."""
    lines = ["# Parameters", "", "Every key of `params.yaml`. `medimg params` prints this page.", ""]
    for name, field in Params.model_fields.items():
        lines += [f"## {name}", "", f"{_block(field.annotation).__doc__}", ""]
        lines += [
            "| key | meaning | default | allowed |",
            "|---|---|---|---|",
            *_rows(_block(field.annotation), ""),
            "",
        ]
    return "\n".join(lines).rstrip() + "\n"


def _rows(block: type[BaseModel], prefix: str) -> Iterator[str]:
    properties = block.model_json_schema()["properties"]
    for key, field in block.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _rows(field.annotation, f"{prefix}{key}.")
        else:
            default = "required" if field.is_required() else f"`{json.dumps(field.default)}`"
            yield f"| `{prefix}{key}` | {field.description} | {default} | {_allowed(properties[key])} |"


BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def _allowed(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return ", or ".join(_allowed(option) for option in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    if "items" in schema:
        return f"list of {_allowed(schema['items'])}"
    if "prefixItems" in schema:
        return "[" + ", ".join(_allowed(item) for item in schema["prefixItems"]) + "]"
    if schema.get("type") == "array":
        return f"list of {_allowed(schema['items'])}"
    kind = {"null": "`null`", "boolean": "`true`, `false`", "string": "text"}.get(schema["type"], schema["type"])
    return " ".join([kind, *(f"{sign} {schema[name]:g}" for name, sign in BOUNDS.items() if name in schema)])


def _block(annotation: Any) -> type[BaseModel]:
    assert isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return annotation

"""Changing values of params.yaml in place: every comment and every other line stays as it is."""

from typing import Any

import yaml


def edited(text: str, changes: dict[str, Any]) -> str:
    """The text of a params.yaml with other values.

    Args:
        text: YAML, a mapping of blocks.
        changes: parameter, such as ``train.learning_rate`` or ``augment.affine.rotate`` → value; a key or block that
            is not there is added.
    """
    for name, value in changes.items():
        block, *keys = name.split(".")
        text = _set(text, block, keys, yaml.safe_dump(value, width=10**6).removesuffix("...\n").strip())
    return text


def _set(text: str, block: str, keys: list[str], value: str) -> str:
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)
    inside = _entry(root, block)
    while len(keys) > 1 and isinstance(inside, yaml.MappingNode) and _entry(inside, keys[0]):
        inside, keys = _entry(inside, keys[0]), keys[1:]
    for key in reversed(keys[1:]):  # blocks within that are not there yet
        value = f"{{{key}: {value}}}"
    key = keys[0]
    if not isinstance(inside, yaml.MappingNode):
        return f"{text.rstrip()}\n\n{block}:\n  {key}: {value}\n"
    node = _entry(inside, key)
    at = inside.start_mark.index
    if node is None and inside.flow_style:
        return f"{text[: at + 1]}{key}: {value}{', ' if inside.value else ''}{text[at + 1 :]}"
    if node is None:
        return f"{text[:at]}{key}: {value}\n{' ' * inside.start_mark.column}{text[at:]}"
    start, end = node.start_mark.index, node.end_mark.index
    rest, _, after = text[end:].partition("\n")
    if rest.lstrip().startswith("#"):  # the comment keeps its column where there is room
        rest = " " * max(1, end - start + len(rest) - len(rest.lstrip()) - len(value)) + rest.lstrip()
    return f"{text[:start]}{value}{rest}\n{after}"


def _entry(mapping: yaml.MappingNode, key: str) -> yaml.Node | None:
    return next((value for name, value in mapping.value if name.value == key), None)

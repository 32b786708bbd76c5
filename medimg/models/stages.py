"""A network as a row of stages, from the input to the last layer: what is frozen, freed and slowed by depth."""

from collections.abc import Iterator

from torch import nn


def stages(body: nn.Module) -> list[nn.ModuleList]:
    """The stages that hold parameters, from the input on; the last is the last layer.

    A residual or dense block is one stage, whatever it holds; a norm belongs to the stage before it.
    """
    found: list[nn.ModuleList] = []
    for unit in _units(body):
        parameters = list(unit.parameters())
        if not parameters:
            continue
        if found and all(values.ndim <= 1 for values in parameters):
            found[-1].append(unit)
        else:
            found.append(nn.ModuleList([unit]))
    return found


def _units(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        if isinstance(child, nn.Sequential | nn.ModuleList):
            yield from _units(child)
        else:
            yield child

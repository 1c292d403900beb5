"""Groups of parameters as optimizers get them, and how levels of other periods part them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Literal, NotRequired, TypedDict

import torch

from jenga.errors import ConfigError, suggest

PERIODS = ("period", "level_period")
"""Keys of groups that hold a number of steps after which something happens once: a rehearsal shortens it."""

Reduction = Literal["mean", "sum"]
"""What a level makes of the gradients of its period."""


class Group(TypedDict):
    """Parameters with one rate and one decay; `name`: the part of the model that they are of.

    Of several backbones, the backbone's name stands before it: ``audio.adapters``. Layers with rates of their own share
    a name. `use_muon`: whether they are hidden matrices, where the optimizer has a way of its own with these. The keys
    `level_...` are there where `jenga.optimizers.levels.Levels` trains the group: steps of a period, those of them that
    are done, what is made of the gradients of them, and the norm to which that is scaled down.
    """

    params: Sequence[torch.nn.Parameter]
    lr: float
    weight_decay: float
    name: str
    use_muon: NotRequired[bool]
    level_period: NotRequired[int]
    level_clock: NotRequired[int]
    level_reduction: NotRequired[Reduction]
    level_max_grad_norm: NotRequired[float | None]


def levels_of(names: Sequence[str], patterns: Sequence[str]) -> tuple[dict[str, int], dict[str, list[int]]]:
    """Return the level of each of `names` by the first of `patterns` that it matches, and those that match several.

    Patterns are globs over whole names, with case: ``*`` is any characters, dots too, ``?`` is one, ``[0-5]`` is one of
    these. Names that none matches are of the level ``len(patterns)``. Raises ConfigError where a pattern has no name.
    """
    found, several = {}, {}
    for name in names:
        matching = [at for at, pattern in enumerate(patterns) if fnmatchcase(name, pattern)]
        found[name] = matching[0] if matching else len(patterns)
        if len(matching) > 1:
            several[name] = matching
    for at, pattern in enumerate(patterns):
        if at not in found.values():
            raise ConfigError(f"levels[{at}].match: {_why_none(pattern, names, found)}")
    return found, several


def _why_none(pattern: str, names: Sequence[str], found: Mapping[str, int]) -> str:
    if taken := [name for name in names if fnmatchcase(name, pattern)]:
        return (
            f"all {len(taken)} parameters that '{pattern}' matches are of an earlier level (such as '{taken[0]}' of "
            f"levels[{found[taken[0]]}]); put it before that one, or remove it"
        )
    near = suggest(pattern.replace("*", ""), names)
    some = ", ".join(names[:: max(1, len(names) // 6)])
    return (
        f"'{pattern}' matches no trained parameter{near or '.'} It is a glob over whole names, in which * also matches "
        f"dots; some of the {len(names)} names: {some}"
    )


def part(groups: Sequence[Group], level: Mapping[torch.nn.Parameter, int]) -> dict[int, list[Group]]:
    """Return by level, in their order, `groups` with the parameters of that level alone; empty ones are left out."""
    found: dict[int, list[Group]] = {
        each: [] for each in sorted({level[p] for group in groups for p in group["params"]})
    }
    for group in groups:
        for each, parted in found.items():
            if params := [p for p in group["params"] if level[p] == each]:
                parted.append({**group, "params": params})
    return found

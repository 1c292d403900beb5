"""Groups of parameters, and levels that part them."""

from __future__ import annotations

import pytest
import torch

from jenga.errors import ConfigError
from jenga.optimizers.groups import Group, levels_of, part

NAMES = [f"encoder.layer.{at}.{which}" for at in range(3) for which in ("weight", "bias")] + ["head.Weight"]


def test_the_first_pattern_that_a_name_matches_has_it_and_the_rest_are_a_last_level() -> None:
    found, several = levels_of(NAMES, ["*.layer.[01].*", "*.weight"])
    assert list(found.values()) == [0, 0, 0, 0, 1, 2, 2]
    assert several == {name: [0, 1] for name in ("encoder.layer.0.weight", "encoder.layer.1.weight")}


def test_a_pattern_is_of_a_whole_name_and_minds_case() -> None:
    assert levels_of(NAMES, ["head.*"])[0]["head.Weight"] == 0
    for pattern in ("layer.0.weight", "head.weight", "encoder"):
        with pytest.raises(ConfigError, match=rf"levels\[0\].match: '{pattern}' matches no trained parameter"):
            levels_of(NAMES, [pattern])


def test_a_level_without_parameters_is_told_with_near_names() -> None:
    with pytest.raises(ConfigError, match=r"levels\[1\].match: .* did you mean 'encoder.layer.0.weight'\?"):
        levels_of(NAMES, ["*bias", "encodr.layer.0.weight*"])


def test_a_level_behind_one_that_has_all_of_its_parameters_is_told() -> None:
    with pytest.raises(ConfigError, match=r"levels\[1\].match: all 1 parameters .* 'head.Weight' of levels\[0\]\)"):
        levels_of(NAMES, ["*", "head.*"])


def test_groups_are_parted_by_level_and_keep_their_settings() -> None:
    one, two, three = (torch.nn.Parameter(torch.zeros(1)) for _ in range(3))
    groups: list[Group] = [
        {"params": [one, two], "lr": 0.1, "weight_decay": 0.2, "name": "backbone"},
        {"params": [three], "lr": 0.3, "weight_decay": 0.0, "name": "heads"},
    ]
    parted = part(groups, {one: 1, two: 0, three: 1})
    assert list(parted) == [0, 1]
    assert [(group["lr"], group["name"], len(group["params"])) for group in parted[1]] == [
        (0.1, "backbone", 1),
        (0.3, "heads", 1),
    ]
    assert parted[0][0]["params"][0] is two
    assert groups[0]["params"] == [one, two]

"""Registries of named parts."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from jenga import registry as module
from jenga.registry import Registry


class Part:
    """A registered part."""


class Other:
    """Another one."""


@pytest.fixture
def parts() -> Registry[Any]:
    made: Registry[Any] = Registry("part", entry_point_group="jenga.tests.none")
    made.register("classification", config=int, aliases=("single", "multi"))(Part)
    return made


@pytest.mark.parametrize("name", ["classification", "single"])
def test_register_refuses_a_name_or_alias_that_is_taken(parts: Registry[Any], name: str) -> None:
    with pytest.raises(ValueError, match=f"part '{name}' is registered already; assign registry"):
        parts.register(name)(Other)
    with pytest.raises(ValueError, match="registered already"):
        parts.register("fresh", aliases=(name,))(Other)
    assert "fresh" not in parts


def test_register_returns_the_class_itself(parts: Registry[Any]) -> None:
    assert parts.register("other")(Other) is Other


def test_item_assignment_replaces_with_a_warning(parts: Registry[Any], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        parts["single"] = Other
    assert parts["classification"] is Other
    assert "'classification' (Part) is replaced by Other" in caplog.text
    assert list(parts) == ["classification"]


def test_assigning_a_new_name_does_not_warn(parts: Registry[Any], caplog: pytest.LogCaptureFixture) -> None:
    parts["vision"] = Other
    assert parts["vision"] is Other
    assert not caplog.records
    assert parts.config_of("vision") is None


def test_aliases_reach_part_and_config(parts: Registry[Any]) -> None:
    assert parts["multi"] is Part
    assert parts.config_of("multi") is int
    assert parts.canonical("multi") == "classification"
    assert parts.aliases_of("classification") == ("single", "multi")
    assert list(parts) == ["classification"], "aliases are not listed twice"
    assert len(parts) == 1


def test_an_unknown_name_is_answered_with_the_nearest_and_all_known(parts: Registry[Any]) -> None:
    with pytest.raises(
        KeyError, match=r"unknown part 'classfication'; did you mean 'classification'\? Known: classification"
    ):
        parts["classfication"]
    with pytest.raises(KeyError, match=r"unknown part 'zzz'\. Known: classification"):
        parts["zzz"]


def test_deleting_takes_config_and_aliases_along(parts: Registry[Any]) -> None:
    del parts["classification"]
    assert "single" not in parts
    parts.register("single")(Other)
    assert parts["single"] is Other


def test_entry_points_are_loaded_once_and_do_not_displace(
    parts: Registry[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = []

    class Point:
        def __init__(self, name: str) -> None:
            self.name = name

        def load(self) -> type:
            loads.append(self.name)
            return Other

    groups = []

    def entry_points(*, group: str) -> list[Point]:
        groups.append(group)
        return [Point("extra"), Point("classification")]

    monkeypatch.setattr(module, "entry_points", entry_points)
    parts.load_entry_points()
    parts.load_entry_points()
    assert groups == ["jenga.tests.none"]
    assert loads == ["extra", "classification"]
    assert (parts["extra"], parts["classification"]) == (Other, Part)


def test_a_part_without_settings_of_its_own_has_those_of_the_registry() -> None:
    registry: Registry[Any] = Registry("part", entry_point_group="jenga.tests.none", default_config=dict)
    registry.register("plain")(object)
    registry.register("own", config=list)(object)
    assert registry.config_of("plain") is dict
    assert registry.config_of("own") is list


def test_registered_changes_with_every_part_class_model_and_alias(parts: Registry[Any]) -> None:
    seen = {parts.registered()}
    parts["classification"] = Other
    seen.add(parts.registered())
    parts.register("other", config=int)(Other)
    seen.add(parts.registered())
    del parts["other"]
    parts.register("other", config=str)(Other)
    seen.add(parts.registered())
    del parts["other"]
    parts.register("other", config=str, aliases=("more",))(Other)
    seen.add(parts.registered())
    assert len(seen) == 5

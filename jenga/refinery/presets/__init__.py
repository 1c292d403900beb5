"""Schemas of well-known event formats."""

from __future__ import annotations

from importlib.resources import files

from jenga.errors import ConfigError, suggest
from jenga.refinery.schema import RefinerySchema, parse_schema

PRESETS = ("cicflowmeter", "ecs", "nsl_kdd", "ocsf", "suricata", "sysmon", "unsw_nb15", "winlog", "zeek")
"""Names that `load_preset` knows; each is a YAML file beside this one."""


def load_preset(name: str) -> RefinerySchema:
    """Return the schema of a well-known format. Raises ConfigError for a name that is none of `PRESETS`."""
    return parse_schema(preset_text(name), file=f"preset {name}")


def preset_text(name: str) -> str:
    """Return the YAML text of a preset, to be copied and edited. Raises ConfigError for an unknown name."""
    if name not in PRESETS:
        raise ConfigError(f"preset: unknown '{name}'{suggest(name, PRESETS) or '.'} Known: {', '.join(PRESETS)}")
    return files(__package__).joinpath(f"{name}.yml").read_text(encoding="utf-8")

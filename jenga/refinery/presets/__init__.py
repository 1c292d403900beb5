"""Schemas of well-known event formats."""

from __future__ import annotations

from importlib.resources import files

from jenga.errors import ConfigError, suggest
from jenga.refinery.schema import RefinerySchema, parse_schema

PRESETS = ("cicflowmeter", "cloudtrail", "ecs", "nsl_kdd", "ocsf", "suricata", "sysmon", "unsw_nb15", "winlog", "zeek")
"""Names that `load_preset` knows; each is a YAML file beside this one."""
_ALSO = {"cic_ids2017": "cicflowmeter", "cse_cic_ids2018": "cicflowmeter"}
"""Data sets, by the preset of the program that wrote them."""


def load_preset(name: str) -> RefinerySchema:
    """Return the schema of a well-known format. Raises ConfigError for a name that is none of `PRESETS`."""
    return parse_schema(preset_text(name), file=f"preset {name}")


def preset_text(name: str) -> str:
    """Return the YAML text of a preset, to be copied and edited. Raises ConfigError for an unknown name."""
    name = _ALSO.get(name, name)
    if name not in PRESETS:
        known = (*PRESETS, *_ALSO)
        raise ConfigError(f"preset: unknown '{name}'{suggest(name, known) or '.'} Known: {', '.join(known)}")
    return files(__package__).joinpath(f"{name}.yml").read_text(encoding="utf-8")

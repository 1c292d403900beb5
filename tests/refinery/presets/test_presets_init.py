"""The presets: valid, complete, and right on real rows."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from jenga.errors import ConfigError
from jenga.refinery import presets
from jenga.refinery.plan import CompiledPlan, compile_plan
from jenga.refinery.presets import PRESETS, load_preset, preset_text
from jenga.refinery.sample import read_columns
from jenga.refinery.schema import RefinerySchema, parse_schema
from jenga.refinery.statistics import MISMATCH, PRESENT, RawBlock, Statistics

REAL_DATA = Path(__file__).parents[3].parent / "shared" / "data"
REAL = {
    "nsl_kdd": "nsl-kdd/KDDTrain+",
    "zeek": "zeek/zeek",
    "sysmon": "sysmon/metasploit_sharpdump_lsass_memory_dump",
}
needs_real_rows = pytest.mark.skipif(
    not REAL_DATA.is_dir(), reason="the real rows (../shared/data) are not beside this checkout"
)


def real_rows(name: str) -> list[dict[str, Any]]:
    """Return some 700 rows from all over the file."""
    step = {"nsl_kdd": 180, "zeek": 205, "sysmon": 85}[name]
    with gzip.open(REAL_DATA / f"{REAL[name]}.jsonl.gz") as lines:
        return [json.loads(line) for line in islice(lines, 0, None, step)]


def test_every_file_is_a_preset() -> None:
    assert sorted(path.stem for path in Path(presets.__file__).parent.glob("*.yml")) == list(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_a_schema_that_reads_back_and_says_what_it_leaves_out(name: str) -> None:
    schema = load_preset(name)
    assert schema.name == name
    assert len(schema.fields) >= 40
    assert schema.left_out
    assert preset_text(name).startswith("# ")
    assert parse_schema(schema.to_yaml(), file="x") == schema


@pytest.mark.parametrize("name", PRESETS)
def test_no_preset_reads_a_label_an_id_or_a_raw_address(name: str) -> None:
    last = {field.path.split(".")[-1].lower() for field in load_preset(name).fields}
    forbidden = {"label", "class", "attack_cat", "difficulty", "uid", "uuid", "flow_id", "md5", "sha1", "sha256", "id"}
    assert not last & forbidden
    assert all(field.prefix_bits == 0 for field in load_preset(name).fields if field.kind == "ip")


def test_an_unknown_preset_is_told_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"unknown 'nsl-kdd'; did you mean 'nsl_kdd'\? Known: cicflowmeter, ecs,"):
        load_preset("nsl-kdd")


def test_nsl_kdd_reads_the_41_features() -> None:
    kinds = [field.kind for field in load_preset("nsl_kdd").fields]
    assert (kinds.count("numeric"), kinds.count("categorical"), len(kinds)) == (38, 3, 41)


def test_winlog_has_the_columns_of_sysmon() -> None:
    flat, nested = load_preset("sysmon").fields, load_preset("winlog").fields
    assert [(field.name, field.kind) for field in nested] == [(field.name, field.kind) for field in flat]


@needs_real_rows
@pytest.mark.parametrize("name", REAL)
def test_every_path_of_the_real_rows_is_read_or_left_out_with_a_reason(name: str) -> None:
    schema = load_preset(name)
    columns, left_out = read_columns(real_rows(name))
    known = {path for field in schema.fields for path in field.all_paths} | schema.left_out.keys()
    unknown = {column.path for column in columns} | left_out.keys()
    unknown = {path for path in unknown if path.removesuffix("[*]") not in known}
    # Windows has hundreds of rare fields of single services.
    assert len(unknown - known) <= (60 if name == "sysmon" else 0), sorted(unknown - known)


@needs_real_rows
@pytest.mark.parametrize("name", REAL)
def test_real_rows_become_finite_features_and_few_values_are_of_another_type(
    name: str,
    raw_block: Callable[[RefinerySchema, Sequence[Any]], RawBlock],
    features: Callable[[CompiledPlan, Sequence[Any]], dict[str, list[float]]],
) -> None:
    schema, rows = load_preset(name), real_rows(name)
    assert len(rows) > 650
    statistics = Statistics(schema)
    statistics.update(raw_block(schema, rows))
    for known in statistics.fields:
        assert known.states[MISMATCH] <= 0.01 * len(rows), known.field.path
    read = [known.field.path for known in statistics.fields if known.states[PRESENT]]
    assert len(read) >= {"nsl_kdd": 41, "zeek": 30, "sysmon": 25}[name]
    found = features(compile_plan(schema, statistics), rows[:50])
    assert len(found) >= len(schema.fields)

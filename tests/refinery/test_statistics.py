"""Fitted statistics: what they hold, and that they add up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import seeds

from jenga.errors import ConfigError, DataError
from jenga.refinery import sketches
from jenga.refinery.schema import RefinerySchema, read_schema
from jenga.refinery.statistics import RawBlock, Statistics, join_blocks, reblock

Block = Callable[[RefinerySchema, Sequence[Any]], RawBlock]

MIXED = read_schema(
    {
        "fields": [
            {"path": "bytes", "kind": "numeric", "log1p": True, "clip": [0, 1000]},
            {"path": "ok", "kind": "boolean"},
            {"path": "proto", "kind": "categorical"},
            {"path": "agent", "kind": "categorical", "encoding": "hash"},
            {"path": "host", "kind": "ip"},
            {"path": "port", "kind": "port"},
            {"path": "ts", "kind": "timestamp"},
            {"path": "url", "kind": "text"},
        ]
    }
)


def events(count: int, seed: int = 0) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seeds.derived(seed))
    made = []
    for at in range(count):
        row = {
            "bytes": float(rng.lognormal(5, 3)) - 5, "ok": bool(rng.integers(2)), "proto": f"p{rng.integers(4)}",
            "agent": f"agent{rng.integers(9)}", "host": f"10.0.0.{rng.integers(9)}", "port": int(rng.integers(1, 5)),
            "ts": 1.7e9 + at * 1.5 + float(rng.normal()), "url": "/" + "a" * int(rng.integers(0, 7)),
        }  # fmt: skip
        made.append({key: value for key, value in row.items() if rng.random() > 0.1})
    return made


def fitted(schema: RefinerySchema, *blocks: RawBlock) -> Statistics:
    made = Statistics(schema)
    for block in blocks:
        made.update(block)
    return made


def contents(statistics: Statistics) -> dict[str, bytes]:
    return {key: array.tobytes() for key, array in statistics.to_arrays().items()}


# -------------------------------------------------------------------------------------------------------------- blocks


@pytest.mark.parametrize("cuts", [[], [1], [7, 7, 50], [32, 64, 96], list(range(1, 100))])
def test_chunks_do_not_change_a_byte_of_the_state(cuts: list[int], raw_block: Block) -> None:
    rows = events(100)
    chunks = [raw_block(MIXED, rows[a:b]) for a, b in zip([0, *cuts], [*cuts, 100], strict=True)]
    found = list(reblock(chunks, n_rows=32))
    assert [block.n_rows for block in found] == [32, 32, 32, 4]
    wanted = [raw_block(MIXED, rows[a : a + 32]) for a in range(0, 100, 32)]
    for one, other in zip(found, wanted, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)
    assert contents(fitted(MIXED, *found)) == contents(fitted(MIXED, *wanted))


def test_no_rows_make_no_block(raw_block: Block) -> None:
    assert list(reblock([])) == []
    assert list(reblock([raw_block(MIXED, [])])) == []


def test_joined_blocks_hold_the_rows_of_both(raw_block: Block) -> None:
    rows = events(30)
    whole, joined = raw_block(MIXED, rows), join_blocks([raw_block(MIXED, rows[:11]), raw_block(MIXED, rows[11:])])
    for a, b in zip(whole, joined, strict=True):
        np.testing.assert_array_equal(a, b)


# --------------------------------------------------------------------------------------------------------------- parts


def test_numbers_are_counted_raw_and_their_moments_taken_after_clip_and_log1p(raw_block: Block) -> None:
    rows = [{"bytes": value} for value in (-5, 0, 3, 3, 5000)]
    known = fitted(MIXED, raw_block(MIXED, rows))["bytes"]
    assert known.numbers is not None
    assert known.moments is not None
    assert known.numbers.values.tolist() == [-5, 0, 3, 5000]
    y = np.log1p([0, 0, 3, 3, 1000])
    assert known.moments.mean == pytest.approx(y.mean(), rel=1e-14)
    assert known.moments.deviation == pytest.approx(y.std(), rel=1e-14)


def test_a_signed_log1p_is_odd(raw_block: Block) -> None:
    schema = read_schema({"fields": [{"path": "x", "kind": "numeric", "log1p": True}]})
    known = fitted(schema, raw_block(schema, [{"x": value} for value in (-7, 7, -0.5, 0.5)]))["x"]
    assert known.moments is not None
    assert known.moments.mean == 0.0
    assert known.moments.greatest == np.log1p(7)


def test_missing_values_are_counted_by_state_and_enter_nothing_else(raw_block: Block) -> None:
    rows = [b'{"bytes": 1}', b"{}", b'{"bytes": null}', b'{"bytes": "x"}', b'{"bytes": 1e999}', b'{"bytes": ""}']
    known = fitted(MIXED, raw_block(MIXED, rows))["bytes"]
    assert known.states.tolist() == [1, 1, 2, 1, 1, 0]
    assert (known.n, known.n_missing, known.missing_rate) == (6, 5, 5 / 6)
    assert known.numbers is not None
    assert known.numbers.n == 1


def test_texts_are_counted_by_what_their_kind_keeps(raw_block: Block) -> None:
    rows = [
        {"proto": p, "url": u, "agent": "Mozilla", "host": "::1"} for p, u in (("tcp", "/a"), ("tcp", ""), (6, "/é"))
    ]
    statistics = fitted(MIXED, raw_block(MIXED, [*rows, {}]))
    tokens = statistics["proto"].tokens
    assert isinstance(tokens, sketches.TokenCounts)
    assert tokens.counts == {b"tcp": 2, b"6": 1}
    lengths = statistics["url"].numbers
    assert lengths is not None
    assert (lengths.values.tolist(), lengths.counts.tolist()) == ([0, 2, 3], [1, 1, 1])
    stored = b"".join(contents(statistics).values())
    assert b"tcp" in stored
    assert not any(text in stored for text in (b"Mozilla", b"::1", b"/a"))


def test_times_between_rows_go_on_over_blocks_until_a_restart(raw_block: Block) -> None:
    def gaps(statistics: Statistics) -> list[float]:
        numbers = statistics["ts"].numbers
        assert numbers is not None
        return np.repeat(numbers.values, numbers.counts).tolist()

    first, second = ([{"ts": 10}, {}, {"ts": 13}], [{}, {"ts": 20}, {"ts": 19}])
    blocks = raw_block(MIXED, first), raw_block(MIXED, second)
    statistics = fitted(MIXED, *blocks)
    assert gaps(statistics) == [0, 3, 7]
    assert statistics["ts"].moments is not None
    assert statistics["ts"].moments.mean == pytest.approx(np.log1p([0, 3, 7]).mean())
    statistics = fitted(MIXED, blocks[0])
    statistics.restart()
    statistics.update(blocks[1])
    assert gaps(statistics) == [0, 3]


def test_numbers_whose_squares_overflow_keep_the_statistics_finite(raw_block: Block) -> None:
    schema = read_schema({"fields": [{"path": "x", "kind": "numeric"}]})
    known = fitted(schema, raw_block(schema, [{"x": value} for value in (1.7e308, -1.7e308, 1e200)] * 2))["x"]
    assert known.moments is not None
    assert np.isfinite([known.moments.mean, known.moments.m2]).all()


def test_a_category_with_too_many_values_names_its_field(raw_block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sketches, "TOKEN_LIMIT", 3)
    with pytest.raises(DataError, match="proto: more than 3 different values"):
        fitted(MIXED, raw_block(MIXED, events(50)))


# --------------------------------------------------------------------------------------------------------------- merge


def test_shards_add_up_to_the_whole(raw_block: Block) -> None:
    rows = events(400)
    whole = fitted(MIXED, raw_block(MIXED, rows))
    parts = [fitted(MIXED, raw_block(MIXED, rows[a:b])) for a, b in ((250, 400), (0, 100), (100, 250))]
    found = parts[0]
    for part in parts[1:]:
        found.merge(part)
    assert found.n_rows == whole.n_rows == 400
    wanted, sums = contents(whole), contents(found)
    exact = [key for key in wanted if not key.startswith("6.") and not key.endswith("moments.moments")]
    assert len(exact) > 20
    assert [key for key in exact if wanted[key] != sums[key]] == []
    for one, other in zip(found.fields, whole.fields, strict=True):
        if one.moments is not None and other.moments is not None and one.field.kind == "numeric":
            assert one.moments.n == other.moments.n
            assert one.moments.mean == pytest.approx(other.moments.mean, rel=1e-12)
            assert one.moments.m2 == pytest.approx(other.moments.m2, rel=1e-12)
    times = found["ts"].numbers, whole["ts"].numbers
    assert times[0] is not None
    assert times[1] is not None
    assert times[0].n == times[1].n - 2, "the first time of each later shard has no time before it"


def test_states_of_different_schemas_do_not_add_up() -> None:
    def one(**options: Any) -> Statistics:
        return Statistics(read_schema({"fields": [{"path": "a", "kind": "numeric", **options}]}))

    one().merge(one())
    with pytest.raises(
        ConfigError, match=r"different schemas do not add up: 'a' \(numeric\) and 'a' \(numeric\) differ"
    ):
        one().merge(one(log1p=True))
    more = Statistics(RefinerySchema(fields=[*one().schema.fields, *MIXED.fields[1:]]))
    with pytest.raises(ConfigError, match="1 and 8 fields"):
        one().merge(more)


# ----------------------------------------------------------------------------------------------------------- questions


def test_a_raw_value_has_a_place_in_the_training_rows(raw_block: Block) -> None:
    rows = [{"bytes": at, "proto": "tcp" if at < 3 else "udp", "port": 80, "ok": at > 0, "ts": at} for at in range(4)]
    statistics = fitted(MIXED, raw_block(MIXED, rows))
    assert statistics["bytes"].places_of(np.array([3.0, 99.0])).tolist() == [0.875, 1.0]
    assert statistics["proto"].places_of([b"tcp", b"icmp"]).tolist() == [0.75, 0.0]
    assert statistics["port"].places_of(np.array([80.0])).tolist() == [1.0]
    assert statistics["ok"].places_of(np.array([0.0])).tolist() == [0.25]
    assert np.isnan(statistics["ts"].places_of(np.array([3.0]))).all()
    assert np.isnan(statistics["url"].places_of([b"/a"])).all()


def test_arrays_read_back_as_the_same_statistics(raw_block: Block) -> None:
    statistics = fitted(MIXED, raw_block(MIXED, events(50)))
    again = Statistics.from_arrays(MIXED, statistics.to_arrays())
    assert contents(again) == contents(statistics)
    again.merge(statistics)
    assert again.n_rows == 100


def test_each_value_of_a_set_is_counted_and_its_place_is_that_of_its_rarest_value(raw_block: Block) -> None:
    schema = read_schema({"fields": [{"path": "t[*]", "kind": "categorical"}]})
    known = Statistics(schema)
    known.update(raw_block(schema, [{"t": ["b", "a", "b"]}, {"t": ["a"]}, {"t": []}, {}]))
    (field,) = known.fields
    assert field.states.tolist() == [3, 1, 0, 0, 0, 0]
    assert field.tokens is not None
    assert field.tokens.to_arrays()["counts"].tolist() == [2, 1]
    places = field.places_of([b"a\xffb\xff", b"a\xff", b"", b"c\xff"])
    np.testing.assert_allclose(places, [1 / 3, 2 / 3, np.nan, 0.0])

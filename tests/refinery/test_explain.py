"""Contributions come back as fields, values and quantiles; collisions as tokens."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas
import pytest
import seeds

from jenga.kernels.refinery.reference import hash64
from jenga.refinery.engine import Engine
from jenga.refinery.estimator import SecurityRefinery
from jenga.refinery.explain import collisions, explain_as_dicts, explain_rows, fold

Rows = list[dict[str, Any]]


@pytest.fixture(scope="session")
def rows(make_events: Callable[..., Rows]) -> Rows:
    return make_events(200)


@pytest.fixture(scope="session")
def fitted(rows: Rows, event_schema: dict[str, Any]) -> SecurityRefinery:
    return SecurityRefinery(schema=event_schema).fit(rows)


def test_contributions_of_columns_add_up_to_their_field(fitted: SecurityRefinery) -> None:
    given = np.random.default_rng(seeds.derived(0)).normal(size=(3, fitted.n_features_out_))
    found = fold(fitted, given, n_rows=3)
    paths = [field.path for field in fitted.schema_.fields]
    assert found.shape == (3, len(paths))
    np.testing.assert_allclose(found.sum(axis=1), given.sum(axis=1))
    own = [at for at, source in enumerate(fitted.feature_sources_) if source == "id.orig_h"]
    assert len(own) > 5
    np.testing.assert_allclose(found[:, paths.index("id.orig_h")], given[:, own].sum(axis=1))


def test_contributions_as_dicts_are_those_of_the_rows(fitted: SecurityRefinery, rows: Rows) -> None:
    given = np.random.default_rng(seeds.derived(1)).normal(size=(len(rows), fitted.n_features_out_))
    for top, digits in ((3, None), (5, 2)):
        told = explain_rows(fitted, rows, given, top=top, digits=digits)
        assert explain_as_dicts(fitted, rows, given, top=top, digits=digits) == [
            [each.to_dict() for each in of_row] for of_row in told
        ]


def test_rows_are_read_once_for_their_places_and_once_for_their_values(
    fitted: SecurityRefinery, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    plain = Engine.raw
    monkeypatch.setattr(Engine, "raw", lambda *given: calls.append(1) or plain(*given))
    explain_rows(fitted, rows, np.ones((len(rows), fitted.n_features_out_)))
    assert len(calls) == 2


def test_largest_fields_come_with_the_value_and_its_place_in_training(fitted: SecurityRefinery, rows: Rows) -> None:
    highest = max(row.get("bytes", 0) for row in rows)
    alerts: Rows = [{"bytes": highest + 1, "proto": "udp", "ok": True}, {"proto": "new", "query": ["a"]}]
    contributions = np.zeros((2, fitted.n_features_out_))
    names = fitted.feature_names_
    contributions[0, names.index("bytes")] = -2.0
    contributions[0, names.index("proto=udp")] = 1.5
    contributions[:, names.index("ok")] = 0.5
    contributions[1, names.index("proto=<unknown>")] = 3.0
    contributions[1, names.index("query:length")] = 1.0
    for source in (alerts, iter(alerts), [json.dumps(row) for row in alerts]):
        first, second = explain_rows(fitted, source, contributions, top=3)
        assert [(each.field, each.contribution, each.value) for each in first] == [
            ("bytes", -2.0, highest + 1), ("proto", 1.5, "udp"), ("ok", 0.5, True),
        ]  # fmt: skip
        assert first[0].quantile == 1.0
        assert first[1].share == pytest.approx(1 / 3, abs=0.05)
        assert (first[2].share, first[2].quantile) == (0.5, None)
        assert [(each.field, each.value, each.share) for each in second] == [
            ("proto", "new", 0.0), ("query", ["a"], None), ("ok", None, None),
        ]  # fmt: skip
    assert json.dumps(first[0].to_dict())


def test_a_set_is_told_as_its_list_and_another_path_by_what_stands_there() -> None:
    fields = [
        {"path": "tags[*]", "kind": "categorical"},
        {"path": "args[*]", "kind": "categorical", "encoding": "hash", "n_buckets": 8},
        {"path": "ttl[*]", "kind": "numeric", "reduce": "max"},
        {"paths": ["n", "m.n", "k"], "kind": "numeric"},
    ]
    train = [{"tags": ["a", "b"] if at % 4 else ["a"], "args": ["-v"], "ttl": [1, at], "n": at} for at in range(8)]
    refinery = SecurityRefinery(schema={"fields": fields}).fit(train)
    rows = [
        {"tags": ["b", "a"], "args": ["-v", "-x"], "ttl": [9, 2], "n": "-", "m": {"n": [1]}, "k": "3"},
        {"tags": "a", "args": [], "m": {"n": 5}, "k": 3},
    ]
    first, second = explain_rows(refinery, rows, np.ones((2, refinery.n_features_out_)), top=4)
    told = {each.field: (each.value, each.share, each.quantile) for each in first}
    assert told["tags[*]"] == (["b", "a"], 0.75, None)
    assert told["args[*]"] == (["-v", "-x"], 0.0, None)
    assert told["ttl[*]"] == ([9, 2], None, 1.0)
    assert (told["n"][0], {each.field: each.value for each in second}["n"]) == ("3", 5)
    assert {each.field: each.share for each in second}["args[*]"] is None
    found = {each.field: each.n_tokens for each in collisions(refinery, rows)}
    assert found == {"args[*]": 2}


def test_rows_are_those_that_are_kept(fitted: SecurityRefinery) -> None:
    refinery = fitted.set_params(max_bad_fraction=1.0)
    found = explain_rows(refinery, [b"{", b'{"bytes": 1}'], np.ones((1, refinery.n_features_out_)), top=99)
    assert len(found) == 1
    assert len(found[0]) == len(refinery.schema_.fields)
    with pytest.raises(ValueError, match=r"needs the shape \(rows kept, columns\) \(1, "):
        explain_rows(refinery, [b"{", b'{"bytes": 1}'], np.ones((2, refinery.n_features_out_)))


def test_collisions_are_tokens_that_share_a_bucket() -> None:
    schema = {
        "fields": [
            {"path": "c", "kind": "categorical", "encoding": "hash", "n_buckets": 4, "signed": False},
            {"path": "p", "kind": "port", "n_buckets": 8}, {"path": "s", "kind": "text", "ngram": 2, "n_buckets": 16},
            {"path": "o", "kind": "categorical"}, {"path": "q", "kind": "port", "n_buckets": 0},
        ]
    }  # fmt: skip
    rows = [{"c": f"v{at % 6}", "p": at, "s": "AbcAb", "o": "x", "q": at} for at in range(30)]
    for source in (rows, pandas.DataFrame(rows)):
        found = {each.field: each for each in collisions(SecurityRefinery(schema=schema).fit(rows), source)}
        assert list(found) == ["c", "p", "s"]
        for name, tokens, n_buckets in (
            ("c", [f"v{at}".encode() for at in range(6)], 4), ("p", [str(at).encode() for at in range(30)], 8),
            ("s", [b"ab", b"bc", b"ca"], 16),
        ):  # fmt: skip
            buckets = [(hash64(token) & 0xFFFFFFFF) * n_buckets >> 32 for token in tokens]
            sizes = np.bincount(buckets)
            assert found[name].n_tokens == len(tokens)
            assert found[name].largest == sizes.max()
            assert found[name].n_colliding == sizes[sizes > 1].sum()
            together = [token.decode() for token, place in zip(tokens, buckets, strict=True) if place == sizes.argmax()]
            assert set(found[name].examples) <= set(together)
    assert json.dumps(found["c"].to_dict())


def test_only_the_values_that_are_told_are_parsed(
    fitted: SecurityRefinery, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jenga.refinery import inputs

    parsed: list[str] = []

    def loads(text: str) -> Any:
        parsed.append(text)
        return json.loads(text)

    monkeypatch.setattr(inputs, "json", type("Json", (), {"loads": staticmethod(loads)}))
    contributions = np.zeros((len(rows), fitted.n_features_out_))
    contributions[:, fitted.feature_names_.index("share")] = 1.0
    told = explain_rows(fitted, [json.dumps(row) for row in rows], contributions, top=1)
    assert [each.value for (each,) in told] == [row["share"] for row in rows]
    assert len(parsed) == len(rows)


def test_figures_are_rounded_where_digits_are_given(fitted: SecurityRefinery, rows: Rows) -> None:
    contributions = np.full((2, fitted.n_features_out_), 1 / 3)
    for of_row in explain_rows(fitted, rows[:2], contributions, digits=2):
        for each in of_row:
            figures = [each.contribution, each.quantile, each.share]
            assert all(figure is None or figure == round(figure, 2) for figure in figures)

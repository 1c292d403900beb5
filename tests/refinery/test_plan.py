"""The compiled plan: its columns, its numbers, and that they equal sklearn's."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import seeds
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, QuantileTransformer, RobustScaler, StandardScaler

from jenga.errors import ConfigError
from jenga.kernels.refinery.reference_encode import width
from jenga.refinery.fields import KINDS, CategoricalField
from jenga.refinery.plan import CompiledPlan, compile_plan, extraction_plan
from jenga.refinery.schema import RefinerySchema, read_schema
from jenga.refinery.sketches import TokenCounts
from jenga.refinery.statistics import RawBlock, Statistics

Block = Callable[[RefinerySchema, Sequence[Any]], RawBlock]
Features = Callable[[CompiledPlan, Sequence[Any]], dict[str, list[float]]]


def schema_of(*fields: dict[str, Any]) -> RefinerySchema:
    return read_schema({"fields": list(fields)})


@pytest.fixture
def fit(raw_block: Block) -> Callable[..., CompiledPlan]:
    """Return a function that fits a schema (or one field `x` of it) to rows."""

    def make(schema: RefinerySchema | dict[str, Any], rows: Sequence[Any]) -> CompiledPlan:
        if isinstance(schema, dict):
            schema = schema_of({"path": "x", **schema})
        statistics = Statistics(schema)
        statistics.update(raw_block(schema, rows))
        return compile_plan(schema, statistics)

    return make


def x_rows(values: Any) -> list[dict[str, Any]]:
    return [{"x": value} for value in (values.tolist() if isinstance(values, np.ndarray) else values)]


def entries(compiled: CompiledPlan) -> list[dict[str, Any]]:
    return json.loads(compiled.plan)["fields"]


EVERYTHING = schema_of(
    {"path": "n", "kind": "numeric"},
    {"path": "q", "kind": "numeric", "scale": "quantile", "indicator": True},
    {"path": "b", "kind": "boolean"},
    {"path": "c", "kind": "categorical"},
    {"path": "h", "kind": "categorical", "encoding": "hash", "n_buckets": 3, "indicator": False},
    {"path": "f", "kind": "categorical", "encoding": "frequency"},
    {"path": "i", "kind": "ip", "prefix_bits": 2},
    {"path": "p", "kind": "port", "n_buckets": 2},
    {"path": "t", "kind": "timestamp"},
    {"path": "u", "kind": "timestamp", "inter_arrival": False},
    {"path": "s", "kind": "text", "n_buckets": 2, "required": True},
)
ROWS = [
    {"n": 1, "q": 2, "b": True, "c": "é", "h": "v", "f": "v", "i": "::1", "p": 80, "t": 1, "u": 2, "s": "text"},
    {"n": 2, "q": 3, "b": False, "c": "z", "f": "v", "i": "::1", "p": 80, "t": 1, "s": "text"},
]


# ------------------------------------------------------------------------------------------------------------- columns


def test_columns_are_named_after_what_they_hold_and_follow_the_schema(fit: Callable[..., CompiledPlan]) -> None:
    compiled = fit(EVERYTHING, ROWS)
    assert compiled.feature_names == (
        "n", "q", "q:missing", "b", "c=z", "c=é", "c=<unknown>", "h#0", "h#1", "h#2", "f:frequency",
        "i:v6", "i:private", "i:loopback", "i:multicast", "i:link_local", "i:reserved", "i:global", "i:bit0", "i:bit1",
        "p:well_known", "p:registered", "p:ephemeral", "p#0", "p#1",
        "t:hour_sin", "t:hour_cos", "t:weekday_sin", "t:weekday_cos", "t:inter_arrival",
        "u:hour_sin", "u:hour_cos", "u:weekday_sin", "u:weekday_cos", "u:missing",
        "s:length", "s:entropy", "s:digit", "s:upper", "s:symbol", "s:non_ascii", "s#0", "s#1",
    )  # fmt: skip
    assert [source[0] for source in compiled.feature_sources] == [name[0] for name in compiled.feature_names]
    assert compiled.n_features == len(compiled.feature_names)


def test_a_plan_lays_fields_out_without_gaps_as_wide_as_the_reference_reads_them(
    fit: Callable[..., CompiledPlan],
) -> None:
    compiled = fit(EVERYTHING, ROWS)
    at = 0
    for entry in entries(compiled):
        assert entry["column"] == at
        at += width(entry)
        if entry["indicator"] >= 0:
            assert entry["indicator"] == at
            at += 1
    assert at == compiled.n_features == json.loads(compiled.plan)["n_features"]
    assert [entry["required"] for entry in entries(compiled)] == [False] * 10 + [True]


def test_a_plan_without_statistics_only_extracts() -> None:
    compiled = compile_plan(EVERYTHING, None)
    assert (
        {entry["column"] for entry in entries(compiled)} == {entry["indicator"] for entry in entries(compiled)} == {-1}
    )
    assert (compiled.n_features, compiled.feature_names) == (0, ())
    assert (compiled.n_fields, compiled.n_numbers, compiled.n_texts) == (11, 6, 5)


def test_a_plan_of_no_rows_makes_finite_columns(fit: Callable[..., CompiledPlan], features: Features) -> None:
    found = features(fit(EVERYTHING, []), ROWS)
    assert found["c=<unknown>"] == [1.0, 1.0]
    assert found["n"] == [1.0, 2.0]


def test_the_same_fit_gives_the_same_bytes(fit: Callable[..., CompiledPlan]) -> None:
    assert fit(EVERYTHING, ROWS).plan == fit(EVERYTHING, ROWS).plan


def test_policies_stand_in_the_plan() -> None:
    plan = json.loads(compile_plan(EVERYTHING, None, validate="fast", nan="missing", duplicates="quarantine").plan)
    assert (plan["version"], plan["validate"], plan["nan"], plan["duplicates"]) == (2, "fast", "missing", "quarantine")


def test_raw_values_are_taken_out_by_path() -> None:
    compiled = extraction_plan(["label", "id.orig_h"], nan="missing")
    assert [(entry["path"], entry["kind"], entry["column"]) for entry in entries(compiled)] == [
        ("label", "raw", -1),
        ("id.orig_h", "raw", -1),
    ]
    assert (compiled.n_texts, compiled.n_numbers, compiled.n_features) == (2, 0, 0)


def test_two_columns_of_one_name_are_refused(fit: Callable[..., CompiledPlan]) -> None:
    schema = schema_of({"path": "a", "kind": "categorical"}, {"path": "b", "kind": "numeric", "name": "a=x"})
    with pytest.raises(ConfigError, match="fields 'a' and 'b' both make a column 'a=x'; give one another 'name'"):
        fit(schema, [{"a": "x", "b": 1}])


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "history"])
def test_a_missing_value_in_training_makes_an_indicator(
    kind: str, fit: Callable[..., CompiledPlan], features: Features
) -> None:
    value = {"ip": "::1", "timestamp": 1, "boolean": True, "port": 1}.get(kind, 7)
    assert "x:missing" not in fit({"kind": kind}, [{"x": value}]).feature_names
    compiled = fit({"kind": kind}, [{"x": value}, {}])
    assert compiled.feature_names[-1] == "x:missing"
    found = features(compiled, [{"x": value}, {"x": None}])
    assert found["x:missing"] == [0.0, 1.0]
    assert [column[1] for column in found.values()] == [0.0] * (compiled.n_features - 1) + [1.0]


# ------------------------------------------------------------------------------------------------------------- numbers

SCALERS = {
    "standard": StandardScaler(),
    "minmax": MinMaxScaler(),
    "robust": RobustScaler(),
    "quantile": QuantileTransformer(n_quantiles=50),
}
SAMPLES = {
    "normal": np.random.default_rng(seeds.derived(0)).normal(3, 2, 400),
    "ties": np.random.default_rng(seeds.derived(1)).integers(0, 5, 300).astype(float),
    "few": np.array([1.0, 2.0, 2.0]),
    "constant": np.full(9, 0.1),
}


@pytest.mark.parametrize("sample", SAMPLES)
@pytest.mark.parametrize("scale", SCALERS)
@pytest.mark.filterwarnings("ignore:n_quantiles .* is greater than the total number:UserWarning")
def test_scaling_equals_sklearns(scale: str, sample: str, fit: Callable[..., CompiledPlan], features: Features) -> None:
    train = SAMPLES[sample]
    test = np.concatenate([train, train.mean() + np.linspace(-3, 3, 41)])
    compiled = fit({"kind": "numeric", "scale": scale, "n_knots": 50}, x_rows(train))
    wanted = SCALERS[scale].fit(train[:, None]).transform(test[:, None])[:, 0]
    np.testing.assert_allclose(features(compiled, x_rows(test))["x"], wanted, rtol=1e-5, atol=1e-5)


def test_scaling_sees_numbers_after_clip_and_log1p(fit: Callable[..., CompiledPlan], features: Features) -> None:
    train = np.random.default_rng(seeds.derived(2)).lognormal(3, 3, 300)
    y = np.log1p(np.clip(train, 1, 500))
    compiled = fit({"kind": "numeric", "clip": [1, 500], "log1p": True}, x_rows(train))
    np.testing.assert_allclose(features(compiled, x_rows(train))["x"], (y - y.mean()) / y.std(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scale", ["standard", "minmax", "robust", "none"])
def test_bounds_from_quantiles_hold_before_scaling(
    scale: str, fit: Callable[..., CompiledPlan], features: Features
) -> None:
    train = np.random.default_rng(seeds.derived(3)).standard_cauchy(500)
    low, high = np.quantile(train, [0.05, 0.9])
    clipped = np.clip(train, low, high)[:, None]
    compiled = fit({"kind": "numeric", "clip_quantiles": [0.05, 0.9], "scale": scale}, x_rows(train))
    assert entries(compiled)[0]["clip"] == pytest.approx([low, high])
    wanted = clipped if scale == "none" else SCALERS[scale].fit_transform(clipped)
    np.testing.assert_allclose(features(compiled, x_rows(train))["x"], wanted[:, 0], rtol=1e-5, atol=1e-5)


def test_a_limit_holds_after_scaling(fit: Callable[..., CompiledPlan], features: Features) -> None:
    compiled = fit({"kind": "numeric", "limit": 1.5}, x_rows([-1, 0, 1]))
    assert features(compiled, x_rows([-9, 0, 9]))["x"] == [-1.5, 0.0, 1.5]


@pytest.mark.parametrize("scale", [*SCALERS, "none"])
@pytest.mark.parametrize("values", [[5e-324, 1e-323], [1.7e308, -1.7e308], [1e308], [0.0, -0.0]], ids=str)
def test_no_training_value_makes_a_plan_that_is_not_finite(
    scale: str, values: list[float], fit: Callable[..., CompiledPlan]
) -> None:
    for clip in ({}, {"clip_quantiles": [0.1, 0.9]}):
        entry = entries(fit({"kind": "numeric", "scale": scale, **clip}, x_rows(values * 3)))[0]
        numbers = [entry["offset"], entry["scale"], *entry["knots"], *filter(None, entry["clip"])]
        assert np.isfinite(numbers).all()
        assert entry["scale"] > 0


def test_times_between_rows_are_scaled_by_their_logarithm(fit: Callable[..., CompiledPlan], features: Features) -> None:
    times = np.cumsum(np.random.default_rng(seeds.derived(4)).lognormal(0, 2, 50)) + 1.7e9
    compiled = fit({"kind": "timestamp"}, x_rows(times))
    gaps = np.log1p(np.diff(times))
    found = features(compiled, x_rows(times))["x:inter_arrival"]
    assert found[0] == 0.0
    np.testing.assert_allclose(found[1:], (gaps - gaps.mean()) / gaps.std(), rtol=1e-5, atol=1e-5)


# ---------------------------------------------------------------------------------------------------------- categories


def test_categories_equal_sklearns_one_hot(fit: Callable[..., CompiledPlan], features: Features) -> None:
    train = ["b", "é", "a", "b", "Z"]
    found = features(fit({"kind": "categorical"}, x_rows(train)), x_rows([*train, "?"]))
    assert list(found) == ["x=Z", "x=a", "x=b", "x=é", "x=<unknown>"]
    encoder = OneHotEncoder(categories=[["Z", "a", "b", "é"]], handle_unknown="ignore", sparse_output=False)
    wanted = encoder.fit(np.array(train)[:, None]).transform(np.array([*train, "?"])[:, None])
    np.testing.assert_array_equal(np.array(list(found.values())[:-1]).T, wanted)
    assert found["x=<unknown>"] == [0, 0, 0, 0, 0, 1]


def test_the_most_frequent_categories_are_kept(fit: Callable[..., CompiledPlan]) -> None:
    rows = x_rows(["z"] * 3 + ["b", "b", "a", "a", "c"])
    assert fit({"kind": "categorical", "max_categories": 2}, rows).feature_names == ("x=a", "x=z", "x=<unknown>")
    assert fit({"kind": "categorical", "min_count": 3}, rows).feature_names == ("x=z", "x=<unknown>")
    assert fit({"kind": "categorical", "min_count": 9}, rows).feature_names == ("x=<unknown>",)


def test_a_category_called_like_the_unknown_column_is_unknown(
    fit: Callable[..., CompiledPlan], features: Features
) -> None:
    compiled = fit({"kind": "categorical"}, x_rows(["<unknown>", "a"]))
    assert compiled.feature_names == ("x=a", "x=<unknown>")
    assert features(compiled, x_rows(["<unknown>"]))["x=<unknown>"] == [1.0]


def test_a_frequency_is_the_share_of_rows_that_have_the_field(
    fit: Callable[..., CompiledPlan], features: Features
) -> None:
    compiled = fit({"kind": "categorical", "encoding": "frequency"}, [*x_rows(["a", "b", "a", "a"]), {}])
    assert features(compiled, x_rows(["a", "b", "c"]))["x:frequency"] == [0.75, 0.25, 0.0]


def test_numbers_and_words_are_categories_by_their_raw_text(fit: Callable[..., CompiledPlan]) -> None:
    rows = [b'{"x": 1}', b'{"x": 1.0}', b'{"x": true}', b'{"x": "1"}', b'{"x": 18446744073709551616}']
    names = fit({"kind": "categorical"}, rows).feature_names
    assert names == ("x=1", "x=1.0", "x=18446744073709551616", "x=true", "x=<unknown>")


class Walked(dict[bytes, int]):
    """Counts that know how many of them were walked over."""

    steps = 0

    def values(self) -> Any:
        Walked.steps += len(self)
        return super().values()

    def items(self) -> Any:
        Walked.steps += len(self)
        return super().items()

    def __iter__(self) -> Any:
        Walked.steps += len(self)
        return super().__iter__()


@pytest.mark.parametrize("after", ["fit", "partial_fit", "merge", "load"])
def test_frequencies_take_work_that_grows_with_the_different_values(after: str) -> None:
    schema = RefinerySchema(fields=[CategoricalField(path="c", encoding="frequency")])

    def steps(count: int) -> int:
        tokens = {f"v{at}".encode(): 1 + at % 3 for at in range(count)}
        statistics = Statistics(schema)
        statistics.fields[0].tokens = TokenCounts(Walked(tokens))
        Walked.steps = 0
        if after == "partial_fit":
            statistics.fields[0].tokens.update([b"v1", b"new"], [1, 1])
        elif after == "merge":
            other = Statistics(schema)
            other.fields[0].tokens = TokenCounts(Walked(tokens))
            statistics.merge(other)
        elif after == "load":
            statistics = Statistics.from_arrays(schema, statistics.to_arrays())
        compiled = compile_plan(schema, statistics)
        assert compiled.n_features == 1
        return Walked.steps

    assert 0 < steps(200) <= 2.1 * steps(100) < 2000

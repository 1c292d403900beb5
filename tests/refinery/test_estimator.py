"""SecurityRefinery as a whole: one result for every source, chunk size and number of threads."""

import io
import json
import pickle
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow
import pytest
import seeds
import torch
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from jenga.errors import ConfigError, DataError
from jenga.kernels.refinery import reference
from jenga.refinery.estimator import SecurityRefinery

Rows = list[dict[str, Any]]


@pytest.fixture(scope="session")
def rows(make_events: Callable[..., Rows]) -> Rows:
    return make_events(400)


@pytest.fixture(scope="session")
def fitted(rows: Rows, event_schema: dict[str, Any]) -> SecurityRefinery:
    return SecurityRefinery(schema=event_schema).fit(rows)


def write(path: Path, rows: Rows) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def state_of(refinery: SecurityRefinery, path: Path) -> bytes:
    refinery.save(path)
    return path.read_bytes()


# ------------------------------------------------------------------------------------------------------------- results


def test_features_are_those_of_the_python_reference(fitted: SecurityRefinery, make_events: Callable[..., Rows]) -> None:
    rows = make_events(60, nested=True, seed=1)
    written = [json.dumps(row).encode() for row in rows]
    ends = np.cumsum([len(row) for row in written])
    offsets = np.stack([ends - [len(row) for row in written], ends], axis=1)
    wanted = reference.refine(b"".join(written), offsets, fitted.plan_)
    found = fitted.refine(rows)
    assert found.features.dtype == np.float32
    assert found.features.shape == (60, fitted.n_features_out_)
    # The reference rounds from float64 once; native code may differ in the last digit.
    np.testing.assert_allclose(found.features, wanted.features, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(found.states, wanted.states)
    np.testing.assert_array_equal(found.counters.counts, wanted.counters)


def test_every_source_gives_the_same_features_and_state(
    rows: Rows, event_schema: dict[str, Any], fitted: SecurityRefinery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "rows.jsonl", rows)
    array = tmp_path / "rows.json"
    array.write_text(json.dumps(rows), encoding="utf-8")
    frame = pandas.DataFrame(rows).drop(columns="share")
    frame["share"] = [row["share"] for row in rows]
    wanted, state = fitted.transform(rows), state_of(fitted, tmp_path / "state")
    sources: list[Callable[[], Any]] = [
        lambda: path, lambda: array, path.read_bytes, lambda: iter(rows), lambda: [json.dumps(row) for row in rows],
        lambda: frame, lambda: pyarrow.Table.from_pylist([row | {"share": str(row["share"])} for row in rows]),
    ]  # fmt: skip
    for make in sources:
        other = SecurityRefinery(schema=event_schema).fit(make())
        np.testing.assert_array_equal(other.transform(make()), wanted)
        np.testing.assert_array_equal(other.fit_transform(make()), wanted)
        if make in sources[:5]:
            # In a table, a value that is absent is null, so its state is another one.
            assert state_of(other, tmp_path / "other") == state
    monkeypatch.setattr(sys, "stdin", type("Stdin", (), {"buffer": io.BytesIO(path.read_bytes())}))
    np.testing.assert_array_equal(SecurityRefinery(schema=event_schema).fit_transform("-"), wanted)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_files_of_columns_give_the_same_features(
    rows: Rows, event_schema: dict[str, Any], fitted: SecurityRefinery, tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"rows{suffix}"
    frame = pandas.DataFrame([row | {"share": float(row["share"])} for row in rows])
    if suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if suffix == ".tsv" else ",")
    np.testing.assert_array_equal(fitted.transform(path), fitted.transform(rows))


def test_chunks_and_threads_change_no_byte(
    make_events: Callable[..., Rows], event_schema: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Blocks of the statistics that end in the midst of chunks.
    monkeypatch.setattr(sys.modules["jenga.refinery.statistics"].reblock, "__kwdefaults__", {"n_rows": 64})
    path = write(tmp_path / "rows.jsonl", make_events(300))
    made = []
    for chunk_bytes in (50, 1000, 1 << 20):
        for n_threads in (1, 3):
            refinery = SecurityRefinery(schema=event_schema, chunk_bytes=chunk_bytes, n_threads=n_threads)
            features = refinery.fit_transform(path)
            made.append((features.tobytes(), state_of(refinery, tmp_path / "state")))
    assert len(set(made)) == 1


def test_chunks_of_one_call_carry_the_time_on_and_calls_begin_anew(fitted: SecurityRefinery, rows: Rows) -> None:
    at = fitted.feature_names_.index("ts:inter_arrival")
    parts = clone(fitted).set_params(chunk_bytes=100)
    parts.__dict__.update({name: value for name, value in vars(fitted).items() if name.endswith("_")})
    streamed = np.concatenate([part.features for part in parts.stream(iter(rows))])
    np.testing.assert_array_equal(streamed, fitted.transform(rows))
    assert streamed[0, at] == 0.0
    assert fitted.transform(rows[5:])[0, at] == 0.0


BY_USER: dict[str, Any] = {
    "fields": [
        {"path": "ts", "kind": "timestamp", "by": "user.name"},
        {"paths": ["user.name", "user"], "kind": "entity"},
        {"path": "n", "kind": "numeric"},
    ]
}


def of_users(count: int, *, users: int = 5) -> Rows:
    draw = random.Random(seeds.derived(5))
    names = [*(f"user-{number}" for number in range(users)), "-", None]
    rows: Rows = [{"ts": 1.7e9 + 3 * at, "n": at, "user": {"name": draw.choice(names)}} for at in range(count)]
    rows[7]["user"] = "user-0"
    return rows


def test_the_pace_of_each_entity_is_fitted_and_transformed_alike_whatever_the_form_and_the_chunks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys.modules["jenga.refinery.statistics"].reblock, "__kwdefaults__", {"n_rows": 64})
    rows = of_users(300)
    last: dict[str, float] = {}
    gaps: list[float | None] = []
    for row in rows:
        user = row["user"] if isinstance(row["user"], str) else row["user"]["name"]
        before = last.get(user)
        gaps.append(None if before is None or user in ("-", None) else row["ts"] - before)
        last[user] = row["ts"]
    logs = np.log1p([gap for gap in gaps if gap is not None])
    assert 200 < len(logs) < 300 - 5
    wanted = [0.0 if gap is None else (np.log1p(gap) - logs.mean()) / logs.std() for gap in gaps]
    path = write(tmp_path / "rows.jsonl", rows)
    for source in (rows, path, pandas.DataFrame([pandas.json_normalize(row).iloc[0] for row in rows])):
        fitted = SecurityRefinery(schema=BY_USER, chunk_bytes=500, n_threads=3).fit(source)
        at = fitted.feature_names_.index("ts:inter_arrival")
        assert "user.name:missing" in fitted.feature_names_
        np.testing.assert_allclose(fitted.transform(source)[:, at], wanted, atol=1e-5)
        streamed = np.concatenate([part.features for part in fitted.stream(source)])
        np.testing.assert_array_equal(streamed, fitted.transform(source))
        np.testing.assert_array_equal(load_again(fitted, tmp_path).transform(source), streamed)
    assert "user-1" not in (tmp_path / "again").read_bytes().decode("latin-1"), "a state keeps no names of users"


def load_again(fitted: SecurityRefinery, folder: Path) -> SecurityRefinery:
    fitted.save(folder / "again")
    return SecurityRefinery.load(folder / "again")


def test_more_entities_than_are_remembered_are_told_of() -> None:
    fields = [{**BY_USER["fields"][0], "max_entities": 5}, *BY_USER["fields"][1:]]
    fitted = SecurityRefinery(schema={"fields": fields}).fit(of_users(60))
    with pytest.warns(UserWarning, match=r"'ts': as many 'user.name' as are remembered \(max_entities: 5\) were"):
        fitted.transform(of_users(60))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted.transform(of_users(60, users=4))


def test_output_is_numpy_or_torch_or_memory_that_was_given(fitted: SecurityRefinery, rows: Rows) -> None:
    wanted = fitted.transform(rows)
    tensor = clone(fitted).set_params(output="torch").fit(rows).transform(rows)
    assert isinstance(tensor, torch.Tensor)
    np.testing.assert_array_equal(tensor.numpy(), wanted)
    for out in (np.full((500, fitted.n_features_out_), 7.0, np.float32), torch.zeros(400, fitted.n_features_out_)):
        given = fitted.transform(rows, out=out)
        assert given.ctypes.data == (out.ctypes.data if isinstance(out, np.ndarray) else out.data_ptr())
        np.testing.assert_array_equal(given, wanted)
        assert np.asarray(out)[400:].min(initial=7.0) == 7.0
    frame = pandas.DataFrame(rows)
    np.testing.assert_array_equal(fitted.transform(frame, out=np.empty((400, wanted.shape[1]), np.float32)), wanted)


def test_no_rows_give_no_features_and_cannot_be_fitted(fitted: SecurityRefinery) -> None:
    assert fitted.transform([]).shape == (0, fitted.n_features_out_)
    assert len(fitted.raw([])) == 0
    assert list(fitted.stream(b"")) == [] or sum(len(part.numbers) for part in fitted.stream(b"")) == 0
    with pytest.raises(DataError, match="there is no row to fit on"):
        clone(fitted).fit([])


# ------------------------------------------------------------------------------------------------------------ bad rows


def test_bad_rows_are_recorded_and_the_kept_ones_say_where_they_were(
    fitted: SecurityRefinery, rows: Rows, tmp_path: Path
) -> None:
    lines = [json.dumps(row).encode() for row in rows[:4]]
    content = b"\n".join([lines[0], b"", b'{"bytes": tru}', lines[1], b'{"id": {"resp_p": 01}}', lines[2], b"\xff"])
    path = tmp_path / "bad.jsonl"
    path.write_bytes(content)
    refinery = clone(fitted).set_params(max_bad_fraction=1.0).fit(rows)
    found = refinery.refine(path)
    assert found.numbers.tolist() == [1, 4, 6]
    assert refinery.kept_rows_.tolist() == [0, 3, 5]
    assert (found.n_blank, refinery.n_quarantined_) == (1, 3)
    assert [(each.number, each.code, each.pointer) for each in found.quarantine] == [
        (3, "bad_literal", "/bytes"), (5, "bad_number", "/id/resp_p"), (7, "invalid_utf8", ""),
    ]  # fmt: skip
    for each in found.quarantine:
        assert each.file == str(path)
        assert each.raw is not None
        line = content.split(b"\n")[each.number - 1]
        assert each.raw == line
        begin = content.index(line)
        assert begin <= each.byte_offset <= begin + len(line)
    assert refinery.set_params(redact=True).refine(path).quarantine[0].raw is None
    np.testing.assert_array_equal(found.features, refinery.transform(rows[:3]))


def test_too_many_bad_rows_end_the_call_and_the_first_are_named(fitted: SecurityRefinery, rows: Rows) -> None:
    text = [json.dumps(row) for row in rows]
    assert len(fitted.transform([*text, "{"])) == 400
    with pytest.raises(DataError) as error:
        fitted.transform([*text[:100], "{", "[]", *text[100:], "{", "{", "nope"])
    assert str(error.value).splitlines() == [
        "5 of 405 rows are bad, more than max_bad_fraction=0.01 allows",
        "  row 101: truncated (byte 1)", "  row 102: not an object (byte 0)", "  row 403: truncated (byte 1)",
        "  and 2 more", "Mend the rows, or raise max_bad_fraction (0 to 1)",
    ]  # fmt: skip
    assert len(fitted.quarantine_) == 5


def test_stream_stops_once_a_thousand_rows_were_seen(fitted: SecurityRefinery, rows: Rows) -> None:
    text = [json.dumps(row) for row in rows]
    taken = 0

    def lines() -> Iterator[str]:
        nonlocal taken
        for line in [*text, *["{"] * 10] * 100:
            taken += 1
            yield line

    with pytest.raises(DataError, match="of 8,192 rows are bad"):
        next(fitted.stream(lines()))
    assert taken == 8192


def test_required_field_that_rows_lack_is_named(rows: Rows) -> None:
    schema = {"fields": [{"path": "bytes", "kind": "numeric", "required": True}]}
    for source in (rows, pandas.DataFrame(rows)):
        with pytest.raises(DataError, match="The required field 'bytes' is missing in 40 rows; set required: false"):
            SecurityRefinery(schema=schema).fit(source)
        refinery = SecurityRefinery(schema=schema, max_bad_fraction=0.2).fit(source)
        assert {each.code for each in refinery.quarantine_} == {"missing_field"}
        assert len(refinery.transform(source)) == 360


def test_field_that_no_row_has_gives_one_warning_with_near_names(event_schema: dict[str, Any], rows: Rows) -> None:
    renamed = [{"byte": 1, "id": {"orig": 2}, "Query": "x"} for _ in range(5)]
    fitted = SecurityRefinery(schema=event_schema).fit(rows)
    with pytest.warns(UserWarning, match="none of 5 rows has the 9 fields") as caught:
        fitted.transform(renamed)
    [warning] = caught
    assert "9 fields 'id.orig_h' (did you mean 'id.orig'?), 'bytes' (did you mean 'byte'?), " in str(warning.message)
    assert str(warning.message).endswith(", and 1 more")
    assert warning.filename == __file__


# --------------------------------------------------------------------------------------------------------- fitted state


def test_partial_fit_and_merge_add_up(event_schema: dict[str, Any], rows: Rows, fitted: SecurityRefinery) -> None:
    whole = fitted.statistics_
    parts = SecurityRefinery(schema=event_schema).partial_fit(rows[:150]).partial_fit(rows[150:])
    merged = SecurityRefinery(schema=event_schema).fit(rows[:150])
    assert merged.merge(SecurityRefinery(schema=event_schema).fit(rows[150:])) is merged
    for other in (parts, merged):
        assert other.n_rows_seen_ == 400
        assert other.feature_names_ == fitted.feature_names_
        for name in ("states", "numbers.values", "numbers.counts", "tokens.counts"):
            for key, array in other.statistics_.to_arrays().items():
                # The time between the last row of one part and the first of the next is not known.
                if key.endswith(f".{name}") and not key.startswith("0."):
                    np.testing.assert_array_equal(array, whole.to_arrays()[key])
        np.testing.assert_allclose(other.transform(rows), fitted.transform(rows), rtol=1e-4, atol=1e-4)
    with pytest.raises(ConfigError, match="different schemas"):
        merged.merge(SecurityRefinery(schema={"fields": [{"path": "ts", "kind": "numeric"}]}).fit(rows))


def test_failed_partial_fit_leaves_what_was_learnt(event_schema: dict[str, Any], rows: Rows, tmp_path: Path) -> None:
    refinery = SecurityRefinery(schema=event_schema).fit(rows)
    before = state_of(refinery, tmp_path / "state")
    with pytest.raises(DataError, match="rows are bad"):
        refinery.partial_fit([*map(json.dumps, rows), *["{"] * 50])
    assert state_of(refinery, tmp_path / "state") == before


def test_state_comes_back_from_its_file(fitted: SecurityRefinery, rows: Rows, tmp_path: Path) -> None:
    before = state_of(fitted, tmp_path / "state.safetensors")
    loaded = SecurityRefinery.load(tmp_path / "state.safetensors")
    np.testing.assert_array_equal(loaded.transform(rows), fitted.transform(rows))
    assert state_of(loaded, tmp_path / "again") == before
    assert loaded.feature_names_ == fitted.feature_names_
    strict = SecurityRefinery(schema=fitted.schema_, nan="missing", duplicates="quarantine", max_bad_fraction=0.5)
    strict.fit(rows).save(tmp_path / "strict")
    assert SecurityRefinery.load(tmp_path / "strict").plan_ == strict.plan_
    assert SecurityRefinery.load(tmp_path / "strict").max_bad_fraction == 0.01
    with pytest.raises(ConfigError, match=r"there is no folder .*nowhere"):
        strict.save(tmp_path / "nowhere" / "state")


def test_policies_reach_the_rows(rows: Rows) -> None:
    schema = {"fields": [{"path": "bytes", "kind": "numeric"}]}
    odd = ['{"bytes": 1, "bytes": 2}', '{"bytes": NaN}', '{"bytes": 3}']
    default = SecurityRefinery(schema=schema, max_bad_fraction=1).fit(odd)
    assert [each.code for each in default.quarantine_] == ["nan_token"]
    assert default.counters_["bytes"]["duplicate"] == 1
    other = SecurityRefinery(schema=schema, max_bad_fraction=1, nan="missing", duplicates="quarantine").fit(odd)
    assert [each.code for each in other.quarantine_] == ["duplicate_key"]
    assert other.counters_["bytes"]["null"] == 1
    assert len(SecurityRefinery(schema=schema, validate="fast").fit(rows).transform(rows)) == 400


def test_preset_or_inferred_schema_is_settled_by_fit(rows: Rows) -> None:
    inferred = SecurityRefinery().fit(rows)
    assert {field.path for field in inferred.schema_.fields} >= {"ts", "bytes", "proto", "query"}
    assert "uid" in inferred.schema_.left_out
    wanted = inferred.schema_.to_dict()
    assert SecurityRefinery(chunk_bytes=100).fit(iter(rows)).schema_.to_dict() == wanted
    with pytest.warns(UserWarning, match="none of 400 rows"):
        assert SecurityRefinery(preset="zeek").fit(rows).schema_.name == "zeek"
    with pytest.raises(ConfigError, match="did you mean 'zeek'"):
        SecurityRefinery(preset="zeke").fit(rows)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"validate": "lazy"}, "validate: got 'lazy'; allowed: strict, fast"),
        ({"output": "jax"}, "output: got 'jax'; allowed: numpy, torch"),
        ({"max_bad_fraction": 2}, "max_bad_fraction: got 2; allowed: 0 to 1"),
        ({"n_threads": 0}, "n_threads: got 0; allowed: 1 or more"),
        ({"preset": "zeek", "schema": {}}, "preset and schema are both given"),
    ],
)
def test_wrong_settings_say_what_is_allowed(options: dict[str, Any], words: str, rows: Rows) -> None:
    with pytest.raises(ConfigError, match=words):
        SecurityRefinery(**options).fit(rows)


# ---------------------------------------------------------------------------------------------------------- raw values


def test_columns_are_the_values_of_the_rows_that_are_kept(fitted: SecurityRefinery, rows: Rows) -> None:
    text = [*map(json.dumps, rows[:5]), "{", '{"uid": ["a", 1e400], "id": {"orig_h": 5}}']
    refinery = clone(fitted).set_params(max_bad_fraction=1.0).fit(rows)
    found = refinery.columns(text, ["uid", "id.orig_h", "ok", "nope"])
    assert found["uid"] == [*(row["uid"] for row in rows[:5]), ["a", float("inf")]]
    assert found["id.orig_h"] == [*(row["id.orig_h"] for row in rows[:5]), 5]
    assert found["ok"] == [row["ok"] for row in rows[:5]] + [None]
    assert found["nope"] == [None] * 6
    frame = pandas.DataFrame(rows[:5])
    assert refinery.columns(frame, ["uid", "bytes", "nope"])["uid"] == found["uid"][:5]
    assert refinery.columns(frame, ["bytes"])["bytes"][3] is None


def test_raw_values_are_typed_and_aligned(fitted: SecurityRefinery, rows: Rows) -> None:
    for source in (rows, pandas.DataFrame(rows)):
        raw = fitted.raw(source)
        assert len(raw) == 400
        assert raw.values("bytes") == [float(row["bytes"]) if "bytes" in row else None for row in rows]
        assert raw.values("proto") == [row["proto"].encode() if row["proto"] else None for row in rows]
        assert raw.row_numbers.tolist() == list(range(1, 401))
    with pytest.raises(KeyError):
        raw.values("nope")


# -------------------------------------------------------------------------------------------------------- scikit-learn


def test_it_works_in_a_pipeline_and_can_be_cloned_and_pickled(rows: Rows, event_schema: dict[str, Any]) -> None:
    labels = [at % 3 == 0 for at in range(400)]
    pipeline = make_pipeline(SecurityRefinery(schema=event_schema), LogisticRegression(max_iter=500)).fit(rows, labels)
    assert pipeline.score(rows, labels) > 0.9
    assert pipeline[:-1].get_feature_names_out().tolist() == pipeline[0].feature_names_
    copy = clone(pipeline)
    with pytest.raises(NotFittedError):
        copy[0].transform(rows)
    again = pickle.loads(pickle.dumps(pipeline))
    np.testing.assert_array_equal(again.predict(rows), pipeline.predict(rows))


def test_names_and_sources_tell_every_column(fitted: SecurityRefinery, rows: Rows) -> None:
    names = fitted.get_feature_names_out()
    assert len(set(names)) == len(names) == len(fitted.feature_sources_) == fitted.n_features_out_
    assert fitted.feature_sources_[list(names).index("id.orig_h:v6")] == "id.orig_h"
    frame = clone(fitted).set_output(transform="pandas").fit(rows).transform(rows)
    assert list(frame.columns) == list(names)


EXPECTED_FAILURES = {
    "check_dict_unchanged": "every call leaves its quarantine_, counters_ and kept_rows_, which only it can know",
}


@parametrize_with_checks([SecurityRefinery()], expected_failed_checks=lambda _: EXPECTED_FAILURES)
def test_it_keeps_the_rules_of_scikit_learn(estimator: SecurityRefinery, check: Callable[..., None]) -> None:
    check(estimator)


def test_arrays_are_numeric_columns_of_a_fixed_number(tmp_path: Path) -> None:
    array = np.random.default_rng(seeds.derived(0)).normal(size=(50, 3))
    array[0, 0] = np.nan
    refinery = SecurityRefinery().fit(array)
    assert [field.kind for field in refinery.schema_.fields] == ["numeric"] * 3
    assert refinery.feature_names_ == ["x0", "x0:missing", "x1", "x2"]
    np.testing.assert_allclose(refinery.transform(array)[:, 2], (array[:, 1] - array[:, 1].mean()) / array[:, 1].std(),
                               rtol=1e-5, atol=1e-6)  # fmt: skip
    refinery.save(tmp_path / "state")
    for each in (refinery, SecurityRefinery.load(tmp_path / "state")):
        with pytest.raises(ValueError, match="X has 2 features, but SecurityRefinery is expecting 3"):
            each.transform(array[:, :2])
    frame = pandas.DataFrame(array, columns=["a", "b", "c"])
    named = SecurityRefinery(schema={"fields": [{"path": "b", "kind": "numeric"}]}).fit(frame)
    assert (named.n_features_in_, named.feature_names_in_.tolist()) == (3, ["a", "b", "c"])
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        np.testing.assert_array_equal(named.transform(array), named.transform(frame))
    assert not hasattr(named.fit([{"b": 1}, {"b": 2}]), "n_features_in_")


# ------------------------------------------------------------------------------------------- rows that keep their place


def test_a_bad_row_keeps_its_place_with_every_value_missing(fitted: SecurityRefinery, rows: Rows) -> None:
    lines = [json.dumps(row) for row in rows[:60]]
    keeps = clone(fitted).set_params(on_bad="missing", max_bad_fraction=0.2, chunk_bytes=2000).fit(lines)
    broken = [*lines[:7], "{", *lines[7:50], "[1]", *lines[50:], '{"a": NaN}']
    features = keeps.transform(broken)
    kept = keeps.refine(broken)
    np.testing.assert_array_equal(np.delete(features, [7, 51, 62], axis=0)[:7], keeps.transform(lines)[:7])
    with pytest.warns(UserWarning, match="the only row does not have"):
        np.testing.assert_array_equal(features[[7, 51, 62]], keeps.transform([{}])[[0, 0, 0]])
    assert kept.numbers.tolist() == list(range(1, 64))
    assert (kept.states[[7, 51, 62]] == 1).all()
    assert [each.number for each in kept.quarantine] == [8, 52, 63]
    np.testing.assert_array_equal(kept.features, features)


def test_answers_of_a_pipeline_stay_beside_their_rows(event_schema: dict[str, Any], rows: Rows) -> None:
    lines = [json.dumps(row) for row in rows[:200]]
    lines[77] = "{"
    labels = np.arange(200) % 2
    refinery = SecurityRefinery(schema=event_schema, on_bad="missing")
    pipeline = make_pipeline(refinery, DummyClassifier()).fit(lines, labels)
    assert len(pipeline.predict(lines)) == 200
    learnt = SecurityRefinery(schema=event_schema).fit(lines)
    assert refinery.feature_names_ == learnt.feature_names_
    assert refinery.n_rows_seen_ == learnt.n_rows_seen_ == 199


def test_lines_that_are_too_long_and_table_rows_keep_their_places_too(tmp_path: Path) -> None:
    schema = {"fields": [{"path": "n", "kind": "numeric", "scale": "none", "required": True}]}
    refinery = SecurityRefinery(schema=schema, on_bad="missing", max_bad_fraction=1.0).fit([{"n": 1}])
    (tmp_path / "rows.csv").write_text("n,m\n1,a\n2\n,b\n4,c\n")
    out = np.full((6, refinery.n_features_out_), 9.0, np.float32)
    found = refinery.transform(str(tmp_path / "rows.csv"), out=out)
    assert found[:, 0].tolist() == [1.0, 0.0, 0.0, 4.0]
    assert refinery.kept_rows_.tolist() == [0, 1, 2, 3]


def test_threads_that_share_a_refinery_get_the_counts_of_their_own_call(fitted: SecurityRefinery, rows: Rows) -> None:
    other = clone(fitted).fit(rows)
    refined = []
    parts = other.stream([json.dumps(row) for row in rows[:9]])
    refined.append(other.refine([json.dumps(rows[0]), "{"] + [json.dumps(row) for row in rows[:300]]))
    next(parts)
    assert refined[0].counters["bytes"] != other.counters_["bytes"]
    assert len(refined[0].quarantine) == 1
    assert other.quarantine_ == []
    assert sum(refined[0].counters["bytes"][state] for state in ("present", "absent", "null")) == 301


def test_lists_are_inferred_saved_and_read_again_from_json_and_tables(tmp_path: Path) -> None:
    rows = [
        {"event": {"category": ["network", "dns"] if at % 3 else ["file"]}, "args": [f"a{at}", "-v"], "n": at}
        for at in range(80)
    ]
    refinery = SecurityRefinery().fit(rows)
    assert {field.path for field in refinery.schema_.fields} == {"event.category[*]", "args[*]", "n"}
    names = refinery.feature_names_
    features = refinery.transform(rows)
    columns = [names.index(f"event.category[*]={value}") for value in ("dns", "file", "network", "<unknown>")]
    assert features[:2, columns].tolist() == [[0, 1, 0, 0], [1, 0, 1, 0]]
    refinery.save(tmp_path / "state.safetensors")
    loaded = SecurityRefinery.load(tmp_path / "state.safetensors")
    assert loaded.transform(rows).tobytes() == features.tobytes()
    assert loaded.transform(pyarrow.Table.from_pylist(rows)).tobytes() == features.tobytes()

"""The refinery over batches, shards and workers gives what it gives in one go."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow
import pytest

from jenga.errors import ConfigError, DataError, SetupError
from jenga.refinery import distributed
from jenga.refinery.distributed import RefineBatches, fit_files, fit_shards, merge_states, refine_record_batches
from jenga.refinery.estimator import SecurityRefinery

Rows = list[dict[str, Any]]


@pytest.fixture(scope="session")
def rows(make_events: Callable[..., Rows]) -> Rows:
    return [row | {"share": float(row["share"])} for row in make_events(60)]


@pytest.fixture(scope="session")
def fitted(rows: Rows, event_schema: dict[str, Any]) -> SecurityRefinery:
    return SecurityRefinery(schema=event_schema, n_threads=1).fit(rows)


@pytest.fixture
def state(fitted: SecurityRefinery, tmp_path: Path) -> Path:
    fitted.save(tmp_path / "state.safetensors")
    return tmp_path / "state.safetensors"


def test_batches_of_fields_in_every_format_give_features_and_what_is_kept(
    state: Path, fitted: SecurityRefinery, rows: Rows
) -> None:
    frame = pandas.DataFrame(rows)
    batches = (
        frame, pyarrow.Table.from_pandas(frame), {name: frame[name].to_numpy() for name in frame},
    )  # fmt: skip
    for batch in batches:
        found = RefineBatches(state, keep=["uid"], output="x")(batch)
        np.testing.assert_array_equal(found["x"], fitted.transform(frame))
        assert found["uid"].tolist() == [row["uid"] for row in rows]


def test_batches_of_json_leave_bad_rows_out_until_they_are_too_many(
    state: Path, fitted: SecurityRefinery, rows: Rows
) -> None:
    text = [json.dumps(row) for row in rows]
    text[7] = "{"
    batch = {"event": np.array(text, dtype=object), "n": np.arange(60)}
    refine = RefineBatches(state, column="event", keep=["n"])
    found = refine(batch)
    assert found["n"].tolist() == [at for at in range(60) if at != 7]
    np.testing.assert_array_equal(found["features"], fitted.transform([row for at, row in enumerate(rows) if at != 7]))
    for _ in range(15):
        refine(batch)
    with pytest.raises(DataError, match="17 of 1,020 rows are bad"):
        refine(batch)


def test_record_batches_are_one_stream(fitted: SecurityRefinery, rows: Rows) -> None:
    batches = pyarrow.Table.from_pylist(rows).to_batches(max_chunksize=13)
    found = list(refine_record_batches(fitted, batches, output="f"))
    assert [batch.num_rows for batch in found] == [13, 13, 13, 13, 8]
    features = np.concatenate([np.stack(batch.column("f").to_numpy(zero_copy_only=False)) for batch in found])
    np.testing.assert_array_equal(features, fitted.transform(rows))


def test_states_of_shards_add_up(event_schema: dict[str, Any], rows: Rows, tmp_path: Path) -> None:
    paths = [tmp_path / f"{at}.safetensors" for at in range(3)]
    for at, path in enumerate(paths):
        SecurityRefinery(schema=event_schema).fit(rows[at * 20 : at * 20 + 20]).save(path)
    merged = merge_states(paths)
    assert merged.n_rows_seen_ == 60
    assert merged.feature_names_ == SecurityRefinery(schema=event_schema).fit(rows).feature_names_
    SecurityRefinery(schema={"fields": [{"path": "ts", "kind": "numeric"}]}).fit(rows).save(paths[2])
    with pytest.raises(ConfigError, match="different schemas"):
        merge_states(paths)


@pytest.fixture
def shards(rows: Rows, tmp_path: Path) -> list[str]:
    paths = [tmp_path / f"{at}.jsonl" for at in range(3)]
    for at, path in enumerate(paths):
        path.write_text("\n".join(map(json.dumps, rows[at * 20 : at * 20 + 20])))
    return [str(path) for path in paths]


def test_files_fitted_apart_count_what_one_fit_counts(
    event_schema: dict[str, Any], rows: Rows, shards: list[str]
) -> None:
    found = fit_files(SecurityRefinery(schema=event_schema), shards)
    one = SecurityRefinery(schema=event_schema).fit(rows)
    assert found.feature_names_ == one.feature_names_
    timed = {at for at, field in enumerate(one.schema_.fields) if field.kind == "timestamp"}
    assert timed
    wanted = one.statistics_.to_arrays()
    for key, array in found.statistics_.to_arrays().items():
        field, *what = key.split(".")
        if field.isdigit() and int(field) in timed and what != ["states"]:
            continue  # the time from one file to the next is none
        if what[-1:] == ["moments"]:
            np.testing.assert_allclose(array, wanted[key], rtol=1e-12)  # the order of additions
        else:
            np.testing.assert_array_equal(array, wanted[key], err_msg=key)
    for at in timed:
        n_gaps = [len(rows) - 1, len(rows) - len(shards)]
        of_both = [each.statistics_.fields[at].numbers for each in (one, found)]
        assert [known and known.n for known in of_both] == n_gaps
    assert found.counters_.to_dict() == one.counters_.to_dict()


def test_bad_rows_and_absent_fields_are_judged_over_all_files(
    event_schema: dict[str, Any], rows: Rows, shards: list[str]
) -> None:
    lines = Path(shards[1]).read_text().splitlines()
    Path(shards[1]).write_text("\n".join(["{", *lines]))
    (absent, *_) = rows[0]
    left = [{name: value for name, value in row.items() if name != absent} for row in rows[:20]]
    Path(shards[0]).write_text("\n".join(map(json.dumps, left)))
    schema = {"fields": [{"path": absent, "kind": "text"}, *event_schema["fields"][-3:]]}
    found = fit_files(SecurityRefinery(schema=schema, max_bad_fraction=0.02), shards)
    assert (found.n_rows_seen_, found.n_quarantined_, len(found.quarantine_)) == (60, 1, 1)
    assert found.max_bad_fraction == 0.02
    with pytest.raises(DataError, match=r"1 of 61 rows are bad, more than max_bad_fraction=0\.01"):
        fit_files(SecurityRefinery(schema=schema), shards)
    schema["fields"].append({"path": "nowhere", "kind": "numeric"})
    with pytest.warns(UserWarning, match="none of 60 rows has the field 'nowhere'"):
        fit_files(SecurityRefinery(schema=schema, max_bad_fraction=0.02), shards)


@pytest.mark.slow
def test_processes_fit_files_to_the_same_bytes(event_schema: dict[str, Any], shards: list[str], tmp_path: Path) -> None:
    states = [tmp_path / f"state{processes}.safetensors" for processes in (1, 2)]
    for processes, state in enumerate(states, start=1):
        fit_files(SecurityRefinery(schema=event_schema), shards, processes=processes).save(state)
    assert states[0].read_bytes() == states[1].read_bytes()


def test_ray_that_is_not_there_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch, rows: Rows) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SetupError, match=r"pip install 'jenga\[ray\]'"):
        fit_shards(SecurityRefinery(), [rows])
    assert "ray" not in vars(distributed)


RAY = """
import json, sys, warnings
warnings.simplefilter("ignore")
import numpy as np, ray
from jenga.refinery import RefineBatches, SecurityRefinery, fit_shards
folder, schema = sys.argv[1], json.loads(sys.argv[2])
ray.init(num_cpus=2, include_dashboard=False, logging_level="error", log_to_driver=False,
         object_store_memory=80 << 20, _temp_dir=sys.argv[3])
try:
    shards = [f"{folder}/{at}.jsonl" for at in range(3)]
    fitted = fit_shards(SecurityRefinery(schema=schema, n_threads=1), shards)
    fitted.save(folder + "/state.safetensors")
    data = ray.data.from_items([{"event": line} for path in shards for line in open(path)])
    data = data.map_batches(RefineBatches, fn_constructor_args=[folder + "/state.safetensors"],
                            fn_constructor_kwargs={"column": "event"}, batch_size=20, concurrency=1)
    np.save(folder + "/features.npy", np.stack([row["features"] for row in data.take_all()]))
finally:
    ray.shutdown()
"""


@pytest.mark.slow
def test_ray_fits_shards_and_maps_batches_as_one_process_does(
    event_schema: dict[str, Any], rows: Rows, tmp_path: Path
) -> None:
    pytest.importorskip("ray")
    shards = [rows[at * 20 : at * 20 + 20] for at in range(3)]
    for at, shard in enumerate(shards):
        (tmp_path / f"{at}.jsonl").write_text("\n".join(map(json.dumps, shard)))
    # Nothing leaves this machine, and nothing is asked of it.
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DATA_DISABLE_PROGRESS_BARS": "1", "RAY_DEDUP_LOGS": "0",
             "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_NODE_IP_ADDRESS": "127.0.0.1"}  # fmt: skip
    # Ray's sockets need a short path.
    with tempfile.TemporaryDirectory(prefix="ray") as scratch:
        done = subprocess.run(
            [sys.executable, "-P", "-c", RAY, str(tmp_path), json.dumps(event_schema), scratch],
            # Ray's workers import from the folder of their driver, and the clone's jenga/ has no compiled kernels.
            cwd=tmp_path, env={**os.environ, **quiet}, capture_output=True, text=True, check=False, timeout=240,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    wanted = SecurityRefinery(schema=event_schema).fit(shards[0])
    for shard in shards[1:]:
        wanted.merge(SecurityRefinery(schema=event_schema).fit(shard))
    wanted.save(tmp_path / "wanted.safetensors")
    assert (tmp_path / "state.safetensors").read_bytes() == (tmp_path / "wanted.safetensors").read_bytes()
    features = np.load(tmp_path / "features.npy")
    order = np.lexsort(features.T)
    expected = np.concatenate([wanted.transform(shard) for shard in shards])
    np.testing.assert_array_equal(features[order], expected[np.lexsort(expected.T)])

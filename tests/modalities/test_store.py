"""Features on disk: what is put is got, what is harmed is computed again, and a full disk loses nothing."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest

from jenga.modalities.store import FeatureStore, PassingStore

KEY = "ab" * 32


def test_what_is_put_is_there_for_the_next_run(tmp_path: Path) -> None:
    features = np.arange(6, dtype=np.float16).reshape(2, 3)
    FeatureStore(tmp_path).put(KEY, features)
    again = FeatureStore(tmp_path)
    assert again.shape(KEY) == (2, 3)
    found = again.get(KEY)
    assert found is not None
    assert found.numpy().tolist() == features.tolist()
    assert again.get("cd" * 32) is again.shape("cd" * 32) is None


def test_what_is_harmed_counts_as_absent_with_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = FeatureStore(tmp_path)
    store.put(KEY, np.zeros(3, np.float16))
    (path,) = tmp_path.rglob("*.safetensors")
    path.write_bytes(path.read_bytes()[:20])
    assert store.get(KEY) is store.shape(KEY) is None
    assert "computing them again" in caplog.text


def test_without_room_on_the_disk_features_stay_in_memory(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("no folder")
    store = FeatureStore(tmp_path / "file")
    store.put(KEY, np.ones(2, np.float16))
    found = store.get(KEY)
    assert found is not None
    assert found.tolist() == [1, 1]
    assert store.shape(KEY) == (2,)
    assert "they stay in memory" in caplog.text


def test_what_passes_is_kept_in_memory_then_in_files_that_go_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    store = PassingStore(most_bytes=10)
    keys = [f"{digit}" * 64 for digit in "abc"]
    for at, key in enumerate(keys):
        store.put(key, np.full(2, at, np.float32))
        assert len(list(tmp_path.rglob("*.safetensors"))) == at, "the first alone has room in memory"
    assert [store.get(key).tolist() for key in keys] == [[0, 0], [1, 1], [2, 2]]  # type: ignore[union-attr]
    del store
    assert not list(tmp_path.iterdir())


def test_without_a_place_for_temporary_files_what_passes_stays_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    store = PassingStore(most_bytes=0)
    store.put(KEY, np.ones(2, np.float16))
    assert store.shape(KEY) == (2,)
    assert "features stay in memory" in caplog.text

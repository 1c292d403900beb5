"""Files that unpack out of all proportion."""

from __future__ import annotations

import gzip

import pytest

from jenga import packed
from jenga.errors import ConfigError, DataError
from jenga.packed import RATIO_VARIABLE, UnpackLimit, gunzipped

BOMB = gzip.compress(bytes(2_000_000))
WORDS = r"its 1,9\d\d bytes unpack to more than 200 times as many .* set JENGA_MAX_UNPACK_RATIO=2000 in the environment"


@pytest.fixture(autouse=True)
def _little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "HARMLESS_BYTES", 100_000)
    monkeypatch.setattr(packed, "_STEP_BYTES", 10_000)
    monkeypatch.delenv(RATIO_VARIABLE, raising=False)


def test_data_that_unpack_out_of_proportion_are_stopped_long_before_their_end() -> None:
    with pytest.raises(DataError, match=r"a\.gz: " + WORDS):
        gunzipped("a.gz", BOMB)


def test_the_limit_is_reached_at_the_step_that_goes_beyond_it() -> None:
    limit = UnpackLimit("a.gz", 1000)
    limit.add(200_000)
    with pytest.raises(DataError, match=r"its 1,000 bytes unpack to more than 200 times as many \(200,001 and no end"):
        limit.add(1)


def test_the_environment_raises_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RATIO_VARIABLE, "2000")
    assert gunzipped("a.gz", BOMB) == bytes(2_000_000)


def test_what_is_small_unpacks_whatever_its_ratio() -> None:
    assert gunzipped("a.gz", gzip.compress(bytes(100_000))) == bytes(100_000)


def test_members_one_after_the_other_are_one_file() -> None:
    assert gunzipped("a.gz", gzip.compress(b"one ") + gzip.compress(b"two")) == b"one two"


@pytest.mark.parametrize("given", ["many", "0", "nan", ""])
def test_an_environment_that_gives_no_number_is_refused(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv(RATIO_VARIABLE, given)
    with pytest.raises(ConfigError, match=rf"JENGA_MAX_UNPACK_RATIO: got '{given}'; allowed: a number from 1"):
        UnpackLimit("a.gz", 1)

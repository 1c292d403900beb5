"""The refinery, from the bytes of a file to float32 features, against whole pipelines and against simdjson alone.

K: NSL-KDD's training rows; Z: Zeek logs, Z0: their addresses, ports and queries alone; S: Sysmon events
(`--data-root`). Features are compared before anything is timed. Pairs are timed in alternation in one process;
everything has one thread unless it says otherwise, and is counted in processor time, which other jobs leave alone; two
threads are timed by the clock on the wall.

pytest benchmarks/bench_refinery.py [--paired-json ratios.json]
"""

import ctypes
import gzip
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from os import sched_getaffinity
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import refinery_rivals as rivals
import torch
from paired import SMOKE, PairedRatio, compare
from refinery_rivals import Columns, Rival

from jenga.kernels.refinery import reference, refine, split_rows
from jenga.refinery import SecurityRefinery

Report = Callable[[str, PairedRatio], None]
N_BUCKETS = 64

FILES = {
    "K": "nsl-kdd/KDDTrain+.jsonl.gz",
    "Z": "zeek/zeek.jsonl.gz",
    "Z0": "zeek/zeek.jsonl.gz",
    "S": "sysmon/metasploit_sharpdump_lsass_memory_dump.jsonl.gz",
}

COLUMNS = {
    "K": Columns(
        logged=("duration", "src_bytes", "dst_bytes", "num_compromised", "num_root", "count", "srv_count"),
        scaled=(
            "land", "wrong_fragment", "urgent", "hot", "num_failed_logins", "logged_in", "root_shell", "su_attempted",
            "num_file_creations", "num_shells", "num_access_files", "num_outbound_cmds", "is_host_login",
            "is_guest_login", "serror_rate", "srv_serror_rate", "rerror_rate", "srv_rerror_rate", "same_srv_rate",
            "diff_srv_rate", "srv_diff_host_rate", "dst_host_count", "dst_host_srv_count", "dst_host_same_srv_rate",
            "dst_host_diff_srv_rate", "dst_host_same_src_port_rate", "dst_host_srv_diff_host_rate",
            "dst_host_serror_rate", "dst_host_srv_serror_rate", "dst_host_rerror_rate", "dst_host_srv_rerror_rate",
        ),
        onehot=("protocol_type", "service", "flag"),
    ),
    "Z": Columns(
        logged=("rtt",),
        onehot=("_path", "proto", "qtype_name", "rcode_name", "version", "cipher", "curve", "validation_status"),
        flags=("AA", "TC", "RD", "RA", "rejected", "resumed", "established"),
        addresses=("id.orig_h", "id.resp_h"),
        ports=("id.orig_p", "id.resp_p"),
        texts=("query", "server_name"),
    ),
    "Z0": Columns(
        addresses=("id.orig_h", "id.resp_h"), ports=("id.orig_p", "id.resp_p"), texts=("query",)
    ),
}  # fmt: skip

SYSMON = {
    "categorical": (
        "EventID", "Level", "Channel", "SourceName", "Task", "Hostname", "User", "GrantedAccess", "SignatureStatus",
        "Protocol",
    ),
    "timestamp": ("@timestamp",),
    "numeric": ("ProcessId", "SourceThreadId"),
    "boolean": ("Signed",),
    "text": ("Image", "CommandLine", "SourceImage", "TargetImage", "ImageLoaded"),
    "ip": ("SourceIp", "DestinationIp"),
    "port": ("DestinationPort",),
}  # fmt: skip
"""The 22 fields of S: no n-grams, all else that the kinds make."""

ONLY_OURS = ("=<unknown>", ":digit", ":upper", ":symbol", ":non_ascii")
"""Columns of the refinery, by the ends of their names, that the rivals do without: they are spared that work."""


def schema_of(name: str) -> dict[str, Any]:
    if name == "S":
        fields = [{"path": path, "kind": kind} for kind, paths in SYSMON.items() for path in paths]
        return {"fields": [{**each, **({"n_buckets": 0} if each["kind"] == "text" else {}), "indicator": False}
                           for each in fields]}  # fmt: skip
    columns = COLUMNS[name]
    text = {"kind": "text", "n_buckets": N_BUCKETS, "hash": "murmur3"}
    settings = [
        (columns.logged, {"kind": "numeric", "log1p": True}),
        (columns.scaled, {"kind": "numeric"}),
        (columns.onehot, {"kind": "categorical"}),
        (columns.flags, {"kind": "boolean"}),
        (columns.addresses, {"kind": "ip"}),
        (columns.ports, {"kind": "port", "n_buckets": 0}),
        (columns.texts, text),
    ]
    return {"fields": [{"path": path, **options, "indicator": False} for paths, options in settings for path in paths]}


# ---------------------------------------------------------------------------------------------------- rows and measures


@pytest.fixture(scope="module")
def rows_of(pytestconfig: pytest.Config) -> Callable[..., bytes]:
    """Return a function that gives a file's bytes, or n rows of it, taken evenly from all over the file."""
    root = pytestconfig.getoption("--data-root")

    @lru_cache(maxsize=1)
    def read(name: str) -> bytes:
        path = root / FILES[name]
        if not path.is_file():
            pytest.skip("the real rows (../shared/data) are not beside this checkout")
        return gzip.decompress(path.read_bytes())

    def take(name: str, n_rows: int | None = None) -> bytes:
        data = read(name)
        n_rows = 2000 if SMOKE else n_rows
        if n_rows is None:
            return data
        lines = data.splitlines(keepends=True)
        return b"".join(lines[at] for at in np.linspace(0, len(lines) - 1, n_rows).astype(int))

    return take


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield


@pytest.fixture(scope="module")
def simdjson(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    if shutil.which("g++") is None:
        pytest.skip("simdjson alone is compiled here, and there is no g++")
    try:
        return rivals.compile_simdjson(tmp_path_factory.mktemp("simdjson"))
    except FileNotFoundError as error:
        pytest.skip(str(error))


class Ours:
    """The refinery, fitted on the rows that it is timed on, as are the rivals."""

    def __init__(self, name: str, data: bytes) -> None:
        self.data = data
        self.refinery = SecurityRefinery(schema=schema_of(name), n_threads=1).fit(data)
        self.bytes = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        self.plan = torch.frombuffer(bytearray(self.refinery.plan_), dtype=torch.uint8)
        self.n_rows = data.count(b"\n")
        self.out = torch.empty(self.n_rows, self.refinery.n_features_out_)
        assert len(self.native(1)()) == self.n_rows, "no row may be lost"
        np.testing.assert_array_equal(self.transform(), self.out.numpy())

    def native(self, n_threads: int) -> Callable[[], torch.Tensor]:
        """Bytes to features by the native functions: split, then refine into a tensor that is there already."""

        def run() -> torch.Tensor:
            rows = split_rows(self.bytes, final=True, n_threads=n_threads).row_offsets
            return refine(self.bytes, rows, self.plan, n_threads=n_threads, out=self.out).features

        return run

    def transform(self) -> np.ndarray:
        """Bytes to a new array by the estimator."""
        return self.refinery.transform(self.data)

    def check_against(self, rival: Rival) -> None:
        """The features are the same, column by column, but for those that only the refinery has."""
        place = {name: at for at, name in enumerate(self.refinery.feature_names_)}
        assert set(rival.names) <= place.keys()
        extra = place.keys() - set(rival.names)
        assert all(name.endswith(ONLY_OURS) for name in extra), sorted(extra)
        found = self.native(1)()[:, [place[name] for name in rival.names]].numpy()
        np.testing.assert_allclose(found, rival.run(), rtol=1e-5, atol=1e-5)


@dataclass(frozen=True)
class Speed(PairedRatio):
    """A ratio of two that go through the same bytes, with the speed of each."""

    n_bytes: int = 0
    n_rows: int = 0

    @classmethod
    def of(cls, ratio: PairedRatio, ours: Ours) -> "Speed":
        return cls(**ratio.as_dict(), n_bytes=len(ours.data), n_rows=ours.n_rows)

    def __str__(self) -> str:
        times = (self.candidate_s, self.baseline_s)
        speeds = [f"{self.n_bytes / s / 1e9:.3f} GB/s, {self.n_rows / s:,.0f} rows/s" for s in times]
        return f"{self.ratio:.2f} [{self.low:.2f}, {self.high:.2f}]  ({' against '.join(speeds)})"

    def as_dict(self) -> dict[str, float | int]:
        times = {"candidate": self.candidate_s, "baseline": self.baseline_s}
        speeds = {f"{name}_gb_per_s": self.n_bytes / s / 1e9 for name, s in times.items()}
        return {**super().as_dict(), **speeds, **{f"{name}_rows_per_s": self.n_rows / s for name, s in times.items()}}


@pytest.fixture
def measure(report_ratio: Report) -> Callable[..., None]:
    """Return a function that times two, reports the ratio, and fails where it lies under a floor.

    The floor is loose, for shared machines: below it lies a regression, not noise. The bars stand in README.md.
    """

    def run(
        name: str,
        slow: Callable[[], object],
        fast: Callable[[], object],
        ours: Ours,
        *,
        rounds: int,
        floor: float,
        clock: Callable[[], float] = time.process_time,
    ) -> None:
        ratio = compare(slow, fast, rounds=rounds, min_round_s=0, warmup=1, clock=clock)
        speed = Speed.of(ratio, ours)
        report_ratio(f"refinery-{name}", speed)
        assert SMOKE or speed.ratio > floor, speed

    return run


# ------------------------------------------------------------------------------------------------------ whole pipelines


def parts(*, slice_of: tuple[int, int], whole_rounds: int) -> list[Any]:
    """Rows and rounds: a slice of a file, and, but in a smoke run, all of it."""
    whole = [] if SMOKE else [pytest.param(None, whole_rounds, id="whole")]
    return [pytest.param(*slice_of, id="slice"), *whole]


@pytest.mark.parametrize(("n_rows", "rounds"), parts(slice_of=(40_000, 9), whole_rounds=3))
def test_k_against_pandas_and_sklearn(
    rows_of: Callable[..., bytes], measure: Callable[..., None], n_rows: int | None, rounds: int
) -> None:
    """Bar: 25 times as fast."""
    data = rows_of("K", n_rows)
    ours, rival = Ours("K", data), rivals.pandas_and_sklearn(data, COLUMNS["K"])
    ours.check_against(rival)
    measure(f"K-{ours.n_rows}: pandas + sklearn (A) / ours", rival.run, ours.native(1), ours, rounds=rounds, floor=12)


def test_a_file_of_k_against_pandas_and_sklearn(
    rows_of: Callable[..., bytes], measure: Callable[..., None], tmp_path: Path
) -> None:
    """The estimator reads a file, the rival what is in memory. Bar: 25 times as fast."""
    data, path = rows_of("K"), tmp_path / "rows.jsonl"
    path.write_bytes(data)
    ours, rival = Ours("K", data), rivals.pandas_and_sklearn(data, COLUMNS["K"])
    name = f"K-{ours.n_rows}: pandas + sklearn (A) / transform(path)"
    measure(name, rival.run, lambda: ours.refinery.transform(path), ours, rounds=5, floor=12)


@pytest.mark.parametrize(("n_rows", "rounds"), parts(slice_of=(40_000, 15), whole_rounds=7))
def test_k_against_polars(
    rows_of: Callable[..., bytes], measure: Callable[..., None], n_rows: int | None, rounds: int
) -> None:
    """Bar: 5 times as fast."""
    polars = pytest.importorskip("polars", reason="pip install .[test] brings polars")
    if polars.thread_pool_size() != 1:
        pytest.skip("polars was imported before POLARS_MAX_THREADS=1 could be set; set it outside")
    data = rows_of("K", n_rows)
    ours, rival = Ours("K", data), rivals.polars_expressions(data, COLUMNS["K"])
    ours.check_against(rival)
    measure(f"K-{ours.n_rows}: polars (B) / ours", rival.run, ours.native(1), ours, rounds=rounds, floor=2.5)


@pytest.mark.parametrize(("n_rows", "rounds"), parts(slice_of=(20_000, 9), whole_rounds=3))
@pytest.mark.parametrize("name", ["Z", "Z0"])
def test_z_against_orjson_and_python(
    rows_of: Callable[..., bytes],
    measure: Callable[..., None],
    name: str,
    n_rows: int | None,
    rounds: int,
) -> None:
    """Bar: 50 times as fast."""
    ours, rival = against_python(name, rows_of(name, n_rows), rivals.address_flags)
    measure(
        f"{name}-{ours.n_rows}: orjson + Python (D) / ours", rival.run, ours.native(1), ours, rounds=rounds, floor=15
    )


@pytest.mark.parametrize("name", ["Z", "Z0"])
def test_z_against_python_that_remembers_addresses(
    rows_of: Callable[..., bytes], measure: Callable[..., None], name: str
) -> None:
    """The same with the flags of each address looked up once. Not in the bar: live traffic repeats itself less."""
    flags_of = lru_cache(maxsize=None)(rivals.address_flags)
    ours, rival = against_python(name, rows_of(name, 20_000), flags_of)
    words = "orjson + Python, addresses cached"
    measure(f"{name}-{ours.n_rows}: {words} / ours", rival.run, ours.native(1), ours, rounds=9, floor=8)


def against_python(name: str, data: bytes, flags_of: Callable[[str | None], rivals.Flags]) -> tuple[Ours, Rival]:
    pytest.importorskip("orjson", reason="pip install .[test] brings orjson")
    ours = Ours(name, data)
    rival = rivals.orjson_and_python(data, COLUMNS[name], n_buckets=N_BUCKETS, flags_of=flags_of)
    ours.check_against(rival)
    return ours, rival


# ----------------------------------------------------------------------------------------- simdjson, threads, estimator


@pytest.mark.parametrize("name", ["K", "Z", "S"])
def test_against_simdjson_alone(
    rows_of: Callable[..., bytes], measure: Callable[..., None], simdjson: ctypes.CDLL, name: str
) -> None:
    """Our speed over that of simdjson decoding every value and doing nothing with it. Bar for S: 0.7."""
    data = rows_of(name)
    ours, alone = Ours(name, data), rivals.simdjson_alone(simdjson, data)
    check_against_the_reference(ours)
    assert alone() == ours.n_rows
    measure(f"{name}-{ours.n_rows}: simdjson alone / ours", alone, ours.native(1), ours, rounds=25, floor=0.3)


def check_against_the_reference(ours: Ours) -> None:
    """Compare with the plain Python implementation on some 200 rows."""
    lines = ours.data.splitlines(keepends=True)
    some = b"".join(lines[:: max(1, len(lines) // 200)])
    encoded = torch.frombuffer(bytearray(some), dtype=torch.uint8)
    rows = split_rows(encoded, final=True).row_offsets
    expected = reference.refine(some, rows.numpy(), ours.refinery.plan_).features
    np.testing.assert_allclose(refine(encoded, rows, ours.plan).features, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["K", "Z", "S"])
def test_two_threads_over_one(rows_of: Callable[..., bytes], measure: Callable[..., None], name: str) -> None:
    """Bar: 1.8 times as fast, where the machine gives two cores."""
    if len(sched_getaffinity(0)) < 2:
        pytest.skip("this process may use one core only")
    ours = Ours(name, rows_of(name))
    measure(f"{name}-{ours.n_rows}: one thread / two", ours.native(1), ours.native(2), ours, rounds=25, floor=0.7,
            clock=time.perf_counter)  # fmt: skip


@pytest.mark.parametrize("name", ["K", "Z", "S"])
def test_the_estimator_over_the_native_functions(
    rows_of: Callable[..., bytes], measure: Callable[..., None], name: str
) -> None:
    """What `transform(bytes)` costs over split and refine: the new array, chunks, counters."""
    ours = Ours(name, rows_of(name))
    measure(f"{name}-{ours.n_rows}: transform(bytes) / split + refine", ours.transform, ours.native(1), ours,
            rounds=15, floor=0.0)  # fmt: skip

"""Windows over bytes: whole, in order, and of bounded size."""

import gzip
import io
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow
import pytest
import torch

from jenga.errors import DataError
from jenga.refinery.streams import MemoryWindows, StreamWindows, Windows, memory_windows, open_windows, writable_view

CONTENT = bytes(range(256)) * 40


def read_all(windows: Windows, *, keep: int, size: int) -> bytes:
    """Read windows that overlap by `keep` bytes, and check that they do."""
    whole = b""
    kept = 0
    while True:
        data, final = windows.window(kept, size)
        assert whole.endswith(data[:kept].tobytes())
        assert len(data) - kept <= size
        whole += data[kept:].tobytes()
        if final:
            return whole
        kept = min(keep, len(data))


def gz(content: bytes) -> bytes:
    return gzip.compress(content)


def zst(content: bytes) -> bytes:
    packed: bytes = pyarrow.compress(content, codec="zstd", asbytes=True)
    return packed


@pytest.mark.parametrize("keep", [0, 3])
@pytest.mark.parametrize("size", [1, 7, 1000, 10**6])
@pytest.mark.parametrize("pack", [bytes, gz, zst, lambda content: gz(content[:99]) + gz(content[99:])])
def test_windows_show_every_byte_of_a_file_and_the_kept_ones_again(
    tmp_path: Path, pack: Callable[[bytes], bytes], size: int, keep: int
) -> None:
    content = CONTENT if size > 1 else CONTENT[:300]
    path = tmp_path / "data"
    path.write_bytes(pack(content))
    with open_windows(str(path)) as windows:
        assert isinstance(windows, MemoryWindows) == (pack is bytes)
        assert read_all(windows, keep=keep, size=size) == content
    assert read_all(memory_windows(pack(content)), keep=keep, size=size) == content


def test_pipe_and_empty_file_are_read_like_any_other(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    code = f"open({str(pipe)!r}, 'wb').write(bytes(range(256)) * 40)"
    with subprocess.Popen([sys.executable, "-c", code]), open_windows(str(pipe)) as windows:
        assert isinstance(windows, StreamWindows)
        assert read_all(windows, keep=2, size=100) == CONTENT
    (tmp_path / "empty").touch()
    with open_windows(str(tmp_path / "empty")) as windows:
        assert windows.window(0, 10)[1]


def test_standard_input_is_unpacked_by_its_first_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    for raw in (io.BytesIO(gz(CONTENT)), io.BufferedReader(io.BytesIO(gz(CONTENT)))):  # type: ignore[arg-type]
        monkeypatch.setattr(sys, "stdin", type("Stdin", (), {"buffer": raw}))
        with open_windows("-") as windows:
            assert read_all(windows, keep=1, size=999) == CONTENT


def test_views_of_read_only_memory_are_not_copied_and_do_not_make_torch_warn() -> None:
    view = writable_view(CONTENT)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tensor = torch.from_numpy(view)
    assert tensor.data_ptr() == np.frombuffer(CONTENT, np.uint8).ctypes.data
    assert bytes(tensor.tolist()) == CONTENT
    assert len(writable_view(b"")) == 0


@pytest.mark.parametrize("pack", [gz, zst])
def test_damaged_compression_is_an_error_with_a_fix(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "cut.gz"
    path.write_bytes(pack(os.urandom(10_000))[:-2000])
    with open_windows(str(path)) as windows, pytest.raises(DataError, match=r"cut\.gz: .*damaged or cut short"):
        read_all(windows, keep=0, size=100)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff\xfe{\x00", "UTF-16; convert it with: iconv"), (b"BZh91AY", "bzip2-compressed"),
        (b"\xfd7zXZ\x00", "xz-compressed"), (b"PK\x03\x04", "a zip archive; unpack it first"),
    ],
)  # fmt: skip
def test_files_of_other_kinds_are_refused_by_name(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "other.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=words), open_windows(str(path)):
        pass
    with pytest.raises(DataError, match=words):
        memory_windows(content)


def test_missing_files_and_folders_are_named_with_a_fix(tmp_path: Path) -> None:
    (tmp_path / "zeek.jsonl").touch()
    for path, words in (
        (tmp_path / "zek.jsonl", r"no such file; did you mean 'zeek\.jsonl'\?"),
        (tmp_path, "this is a folder; name a file in it"),
        ('{"a": 1}', "JSON text is given as bytes"),
    ):
        with pytest.raises(DataError, match=words), open_windows(str(path)):
            pass


def test_file_that_shrinks_while_it_is_read_is_an_error_not_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(CONTENT)
    with open_windows(str(path)) as windows:
        windows.window(0, 10)
        os.truncate(path, 5)
        with pytest.raises(DataError, match="cut short while it was read"):
            windows.window(0, 10)


@pytest.mark.serial
def test_a_mapped_file_gives_its_pages_back(tmp_path: Path) -> None:
    path = tmp_path / "large"
    size = 256 << 20
    with path.open("wb") as file:
        file.truncate(size)
    code = (
        "import resource, sys; from jenga.refinery.streams import open_windows\n"
        "with open_windows(sys.argv[1]) as windows:\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "    final = False; total = 0\n"
        "    while not final:\n"
        "        data, final = windows.window(0, 4 << 20); total += int(data.sum()) + len(data)\n"
        "    print(total, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    total, grown_kib = map(int, done.stdout.split())
    assert total == size
    assert grown_kib < 64 << 10


def test_a_device_which_has_no_end_is_refused() -> None:
    with (
        pytest.raises(DataError, match="/dev/zero: this is a device, whose bytes may never end; "),
        open_windows("/dev/zero"),
    ):
        pass

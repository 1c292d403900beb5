"""Bytes in windows of bounded size: mapped files, memory, compressed files and standard input, without copies."""

from __future__ import annotations

import contextlib
import io
import mmap
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from jenga.errors import DataError
from jenga.files import what_is

STDIN = "-"
_CODECS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_OTHER_MAGIC = {
    b"BZh": "bzip2-compressed; compress it with gzip or zstd instead",
    b"\xfd7zXZ": "xz-compressed; compress it with gzip or zstd instead",
    b"PK\x03\x04": "a zip archive; unpack it first",
    b"\xff\xfe": "UTF-16; convert it with: iconv -f utf-16 -t utf-8",
    b"\xfe\xff": "UTF-16; convert it with: iconv -f utf-16 -t utf-8",
}
_MAGIC_BYTES = 8


class Windows(Protocol):
    """A run of bytes, seen through a window that moves on."""

    def window(self, keep: int, size: int) -> tuple[NDArray[np.uint8], bool]:
        """Return the last `keep` bytes of the window before and up to `size` more, and whether the bytes end there."""


def writable_view(buffer: Any) -> NDArray[np.uint8]:
    """Return the bytes of `buffer` as a uint8 array that NumPy and torch take for writable, without a copy.

    torch warns about read-only arrays. Whoever gets the array must not write to it; the refinery's ops never do.
    """
    view = np.frombuffer(buffer, dtype=np.uint8)
    if view.flags.writeable:
        return view
    return np.asarray(_Writable(view)) if len(view) else np.empty(0, np.uint8)


class _Writable:
    """Hands on the memory of an array as writable and keeps the array alive."""

    def __init__(self, view: NDArray[np.uint8]) -> None:
        self.view = view
        self.__array_interface__ = {**view.__array_interface__, "data": (view.__array_interface__["data"][0], False)}


class MemoryWindows:
    """Windows over bytes that lie in memory or are mapped into it."""

    def __init__(self, content: NDArray[np.uint8], file: str = "", mapped: mmap.mmap | None = None) -> None:
        self._content, self._file, self._mapped = content, file, mapped
        self._end = 0
        self._released = 0

    def window(self, keep: int, size: int) -> tuple[NDArray[np.uint8], bool]:
        """Return the last `keep` bytes of the window before and up to `size` more, and whether the bytes end there."""
        begin = self._end - keep
        if self._mapped is not None:
            self._release(begin)
        self._end = min(self._end + size, len(self._content))
        return self._content[begin : self._end], self._end == len(self._content)

    def _release(self, until: int) -> None:
        """Give pages before `until` back, so that a large file never fills the memory."""
        assert self._mapped is not None
        if self._mapped.size() < len(self._content):
            raise DataError(f"{self._file}: the file was cut short while it was read; read a copy of it")
        whole = until - until % mmap.PAGESIZE
        if whole > self._released:
            self._mapped.madvise(mmap.MADV_DONTNEED, self._released, whole - self._released)
            self._released = whole


class StreamWindows:
    """Windows over a stream that is read once: a pipe, or what a decompressor gives."""

    def __init__(self, stream: Any, file: str) -> None:
        self._stream, self._file = stream, file
        self._last = np.empty(0, np.uint8)

    def window(self, keep: int, size: int) -> tuple[NDArray[np.uint8], bool]:
        """Return the last `keep` bytes of the window before and up to `size` more, and whether the bytes end there."""
        # A new array each time: who holds the one before may still read it.
        content = np.empty(keep + size, np.uint8)
        content[:keep] = self._last[len(self._last) - keep :]
        filled = keep
        while filled < len(content):
            try:
                count = self._stream.readinto(content[filled:].data)
            except (OSError, EOFError) as error:
                fix = "the compressed data is damaged or cut short; fetch or compress the file again"
                raise DataError(f"{self._file}: {fix} ({error})") from None
            if not count:
                break
            filled += count
        self._last = content[:filled]
        return self._last, filled < len(content)


@contextlib.contextmanager
def open_windows(path: str) -> Iterator[Windows]:
    """Open a file, or standard input for ``-``: plain files are mapped, gzip and zstd are known by their first bytes.

    Raises DataError for a file that is missing, unreadable or of a kind that the refinery does not read.
    """
    with open_binary(path) as file:
        head = _peek(file)
        refuse_other_kinds(path, head)
        codec = codec_of(head)
        plain = codec is None and isinstance(file, io.BufferedReader) and _is_regular(file)
        if plain and os.fstat(file.fileno()).st_size == 0:
            yield MemoryWindows(np.empty(0, np.uint8))
        elif plain:
            # Copy-on-write, so that the memory counts as writable (see writable_view); nothing writes to it.
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
            mapped.madvise(mmap.MADV_SEQUENTIAL)
            yield MemoryWindows(np.frombuffer(mapped, np.uint8), path, mapped)
        elif codec is None:
            yield StreamWindows(file, path)
        else:
            import pyarrow

            yield StreamWindows(pyarrow.CompressedInputStream(pyarrow.PythonFile(file, "r"), codec), path)


def memory_windows(content: Any) -> Windows:
    """Return windows over bytes, unpacked if they are gzip or zstd. Raises DataError for bytes of another kind."""
    head = bytes(memoryview(content)[:_MAGIC_BYTES])
    refuse_other_kinds("X", head)
    codec = codec_of(head)
    if codec is None:
        return MemoryWindows(writable_view(content))
    import pyarrow

    return StreamWindows(pyarrow.CompressedInputStream(pyarrow.BufferReader(content), codec), "X")


@contextlib.contextmanager
def open_binary(path: str) -> Iterator[IO[bytes]]:
    """Open `path` (``-``: standard input) as bytes whose first ones can be peeked; DataError says why it cannot."""
    if path == STDIN:
        stdin = sys.stdin.buffer
        yield stdin if hasattr(stdin, "peek") else io.BufferedReader(_Raw(stdin))
        return
    with _opened(path) as file:
        yield file


def _opened(path: str) -> IO[bytes]:
    try:
        if (kind := what_is(Path(path))) in ("a device", "a socket"):
            raise DataError(f"{path}: this is {kind}, whose bytes may never end; name a file, or - for standard input")
        return Path(path).open("rb")
    except FileNotFoundError:
        raise DataError(missing_file(path)) from None
    except IsADirectoryError:
        raise DataError(f"{path}: this is a folder; name a file in it") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None


def missing_file(path: str) -> str:
    """Return the words for a file that is not there, with the nearest name in its folder."""
    from jenga.errors import suggest

    if path.lstrip()[:1] in ("{", "["):
        return f"{path[:40]!r}: no such file; JSON text is given as bytes, or as a list of rows"
    folder = Path(path).parent
    names = [each.name for each in folder.iterdir()] if folder.is_dir() else []
    return f"{path}: no such file{suggest(Path(path).name, names)}"


def codec_of(head: bytes) -> str | None:
    """Return pyarrow's name of the compression that `head` begins with, or None."""
    return next((codec for magic, codec in _CODECS.items() if head.startswith(magic)), None)


def is_plain(head: bytes) -> bool:
    """Whether bytes that begin with `head` are neither compressed nor of a kind that the refinery does not read."""
    return not any(head.startswith(magic) for magic in (*_CODECS, *_OTHER_MAGIC))


def refuse_other_kinds(path: str, head: bytes) -> None:
    """Raise DataError where `head` shows a file that would only give bad rows."""
    for magic, words in _OTHER_MAGIC.items():
        if head.startswith(magic):
            raise DataError(f"{path}: the file is {words}")


def _peek(file: Any) -> bytes:
    return bytes(file.peek(_MAGIC_BYTES)[:_MAGIC_BYTES])


def _is_regular(file: IO[bytes]) -> bool:
    try:
        return stat.S_ISREG(os.fstat(file.fileno()).st_mode) and file.tell() == 0
    except OSError:
        return False


class _Raw(io.RawIOBase):
    """A stream that only has `read`, as one that io.BufferedReader takes."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._stream.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

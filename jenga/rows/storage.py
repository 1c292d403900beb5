"""The bytes of files, on this machine or wherever fsspec reaches, unpacked; and the names of files in folders."""

from __future__ import annotations

import codecs
import fnmatch
import glob
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from jenga.errors import DataError, SetupError, suggest
from jenga.files import what_is
from jenga.packed import unpacked_parts
from jenga.rows.hub import is_hub

_MARKS = {".gz": b"\x1f\x8b", ".zst": b"\x28\xb5\x2f\xfd"}
PACKED = tuple(_MARKS)
_WILD = ("*", "?", "[")
_CHECK = "Check data_path and data_root"
_NO_FILE = {"a folder": "name a file in it"}
_NO_FILE_ELSE = "its rows must be read to an end, and more than once: write them to a file and name that"
_BLOCK_BYTES = 4 << 20


def is_remote(path: str) -> bool:
    """Whether fsspec reads `path`: an address such as ``s3://bucket/rows.csv``, but for data sets of the hub."""
    return "://" in path and not is_hub(path)


def is_pattern(path: str) -> bool:
    """Whether `path` stands for all files that match it, and is no file's own name."""
    return any(mark in path for mark in _WILD) and not (not is_remote(path) and Path(path).exists())


def is_folder(path: str) -> bool:
    """Whether `path` is a folder. Raises SetupError where its storage cannot be reached."""
    if not is_remote(path):
        return Path(path).is_dir()
    found: bool = _asked(path, "isdir")
    return found


def exists(path: str) -> bool:
    """Whether there is a file or folder at `path`. Raises SetupError where its storage cannot be reached."""
    if not is_remote(path):
        return Path(path).exists()
    found: bool = _asked(path, "exists")
    return found


def files_below(folder: str) -> list[str]:
    """Return the files in `folder` and below, sorted, but for those that begin with ``.`` or ``_``, as notes do."""
    if is_remote(folder):
        names = [_full(folder, name) for name in _asked(folder, "find")]
        root = _full(folder, _filesystem(folder)[1]).rstrip("/")
    else:
        names = [str(each) for each in Path(folder).rglob("*") if each.is_file()]
        root = folder.rstrip("/")
    shown = [name for name in names if not any(part[0] in "._" for part in name.removeprefix(root).split("/") if part)]
    return sorted(shown)


def matching(pattern: str) -> list[str]:
    """Return the files that match `pattern`, sorted; ``**`` stands for folders."""
    if is_remote(pattern):
        return sorted(_full(pattern, name) for name in _asked(pattern, "glob"))
    return sorted(name for name in glob.glob(pattern, recursive=True) if Path(name).is_file())


def fixed_folder(pattern: str) -> str:
    """Return the folder that all files of a pattern lie in."""
    parts = Path(pattern).parts
    wild = next(at for at, part in enumerate(parts) if any(mark in part for mark in _WILD))
    return str(Path(*parts[:wild]))


def suffixes(path: str) -> tuple[str, str]:
    """Return the suffix that says how a file is written, and that of its packing, both lower case, '' without."""
    name = path.split("?")[0] if is_remote(path) else path
    found = [suffix.lower() for suffix in PurePosixPath(name).suffixes]
    packed = found.pop() if found and found[-1] in PACKED else ""
    return (found[-1] if found else ""), packed


def content(path: str) -> bytes:
    """Return the bytes of a file, unpacked. Raises DataError where it is missing, empty, damaged or unreadable."""
    found = unpacked(path, _bytes(path), suffixes(path)[1])
    if not found.strip():
        raise DataError(f"{path}: the file is empty")
    return found


def seekable(path: str) -> tuple[str | io.BytesIO, int]:
    """Return what reads a file here and there, and its size in bytes: its name where it lies here, not packed.

    Raises DataError as `content` does.
    """
    if is_remote(path) or suffixes(path)[1]:
        found = content(path)
        return io.BytesIO(found), len(found)
    with _readable(path) as file:
        if not file.read(1):
            raise DataError(f"{path}: the file is empty")
    return path, Path(path).stat().st_size


def blocks(path: str) -> Iterator[bytes]:
    """Yield the bytes of a file, unpacked, some megabytes at a time. Raises as `content` does."""
    packing = suffixes(path)[1]
    with _readable(path) if not is_remote(path) else _far(path) as file:
        if packing:
            size = _asked(path, "size") if is_remote(path) else Path(path).stat().st_size
            yield from unpacked_parts(path, file, size or 0, packing)
            return
        while block := file.read(_BLOCK_BYTES):
            yield block


def lines(path: str) -> Iterator[str]:
    """Yield the lines of a file, unpacked, without the line feeds that end them.

    Raises DataError as `content` and `decoded` do, once it comes to what is wrong.
    """
    decode = codecs.getincrementaldecoder("utf-8-sig")().decode
    rest = ""
    try:
        for block in blocks(path):
            *whole, rest = (rest + decode(block)).split("\n")
            yield from whole
        rest += decode(b"", final=True)
    except UnicodeDecodeError:
        decoded(path, content(path))
    if rest:
        yield rest


def decoded(path: str, found: bytes) -> str:
    """Return bytes as text. Raises DataError, which says how to convert them, where they are not UTF-8."""
    try:
        return found.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = found.count(b"\n", 0, error.start) + 1
        fix = conversion(found)
        if found.startswith((b"\xff\xfe", b"\xfe\xff")):
            fix = "it is UTF-16: convert it with: iconv -f utf-16 -t utf-8"
        elif packing := packing_of(found):
            fix = f"it is compressed: its name must end in {packing}"
        raise DataError(f"{path}:{line}: the file is not UTF-8 (its byte number {error.start}); {fix}") from None


def conversion(found: bytes) -> str:
    """Return how bytes that are no UTF-8 are likely to be converted."""
    # What Windows writes as curly quotes, dashes and the euro are control characters of Latin-1, which no text holds.
    encoding = "windows-1252" if any(0x80 <= byte <= 0x9F for byte in found) else "latin1"
    return f"convert it, for example with: iconv -f {encoding} -t utf-8"


def missing(path: str, kinds: tuple[str, ...]) -> str:
    """Return the words of an error for a file that is not there; kinds: the suffixes of files of rows."""
    if is_remote(path):
        return f"{path}: no such file. {_CHECK}"
    folder = Path(path).parent
    if not folder.is_dir():
        return f"{path}: no such file; the folder '{folder}' does not exist. {_CHECK}"
    near = suggest(Path(path).name, data_files(folder, kinds)) or f"{listing(folder, kinds)}."
    return f"{path}: no such file{near} {_CHECK}"


def data_files(folder: Path, kinds: tuple[str, ...]) -> list[str]:
    """Return the names of the files of rows in a folder."""
    known = tuple(f"*{kind}{packed}" for kind in kinds for packed in ("", *PACKED))
    names = sorted(file.name for file in folder.iterdir())
    return [name for name in names if any(fnmatch.fnmatch(name.lower(), pattern) for pattern in known)]


def listing(folder: Path, kinds: tuple[str, ...]) -> str:
    """Return the words of an error that name the files of rows in a folder; '' without any."""
    names = data_files(folder, kinds)
    return f"; data files there: {', '.join(names[:10])}{', ...' if len(names) > 10 else ''}" if names else ""


def _bytes(path: str) -> bytes:
    if is_remote(path):
        found: bytes = _asked(path, "cat_file")
        return found
    with _readable(path) as file:
        return file.read()


@contextmanager
def _readable(path: str) -> Iterator[BinaryIO]:
    try:
        if (kind := what_is(Path(path))) is not None:
            raise DataError(f"{path}: this is {kind}, not a file; {_NO_FILE.get(kind, _NO_FILE_ELSE)}")
        with Path(path).open("rb") as file:
            yield file
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None


def packing_of(found: bytes) -> str:
    """Return how bytes that have no name are packed, as the suffix of such files; '' where they are not."""
    return next((packing for packing, mark in _MARKS.items() if found.startswith(mark)), "")


def unpacked(path: str, found: bytes, packing: str) -> bytes:
    """Return what bytes hold that are packed as files with the suffix `packing` are; '': as they are.

    path: their file, in messages. Raises DataError where they are damaged.
    """
    if not packing:
        return found
    return b"".join(unpacked_parts(path, io.BytesIO(found), len(found), packing))


# ---------------------------------------------------------------------------------------------------------- elsewhere


def _filesystem(path: str) -> tuple[Any, str]:
    import fsspec

    try:
        found: tuple[Any, str] = fsspec.core.url_to_fs(path)
        return found
    except ImportError as error:
        raise SetupError(f"{path}: {error} (with pip, into this environment)") from None
    except ValueError as error:
        raise SetupError(f"{path}: {error}; allowed: what fsspec knows, such as s3://, gs:// and https://") from None


def _asked(path: str, what: str) -> Any:
    """Return what the file system of `path` says of it. Raises DataError where it is not there, else SetupError."""
    filesystem, inner = _filesystem(path)
    try:
        return getattr(filesystem, what)(inner)
    except FileNotFoundError:
        raise DataError(missing(path, ())) from None
    except Exception as error:  # each file system has errors of its own
        raise _unreachable(path, error) from error


@contextmanager
def _far(path: str) -> Iterator[BinaryIO]:
    with _asked(path, "open") as file:
        try:
            yield file
        except DataError:
            raise
        except Exception as error:  # each file system has errors of its own
            raise _unreachable(path, error) from error


def _unreachable(path: str, error: Exception) -> SetupError:
    return SetupError(
        f"{path}: cannot be read ({type(error).__name__}: {error}); check the address, the network and your permissions"
    )


def _full(path: str, name: str) -> str:
    full: str = _filesystem(path)[0].unstrip_protocol(name)
    return full

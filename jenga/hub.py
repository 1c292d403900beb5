"""Saved models on the Hugging Face hub: their addresses, how they are fetched, and how its errors are told."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jenga.errors import ConfigError, SetupError
from jenga.files import MANIFEST

SCHEME = "hf://"
FOLDER = "best"
"""Where a repository keeps the model, as a run does: what the hub and its users add beside it is no part of it."""
KINDS = (".safetensors", ".json", ".jinja", ".txt", ".model", ".onnx", ".md")
"""How the names of files end that are taken from a hub: values, weights, tokenizers, graphs. No code, no pickle."""
_ADDRESS = re.compile(r"hf://([\w][\w.-]*/[\w][\w.-]*)(?:@([^@\s]+))?")
_FORM = "hf://owner/name, or hf://owner/name@revision"
_TOKEN = "log in with hf auth login, or set HF_TOKEN"


@dataclass(frozen=True)
class Address:
    """A model's repository, and its branch, tag or commit; None: the newest of its main branch."""

    repository: str
    revision: str | None = None

    @property
    def name(self) -> str:
        """The name without its owner."""
        return self.repository.partition("/")[2]

    def __str__(self) -> str:
        return SCHEME + self.repository + (f"@{self.revision}" if self.revision else "")


def is_hub(run: str | Path) -> bool:
    """Return whether `run` is an address of the hub."""
    return isinstance(run, str) and run.startswith(SCHEME)


def address_of(text: str) -> Address:
    """Return the address that `text` is. Raises ConfigError where it is none of a model."""
    found = _ADDRESS.fullmatch(text)
    if found is None:
        raise ConfigError(f"'{text}' is no address of a model on the hub; allowed: {_FORM}")
    return Address(found[1], found[2])


def fetched(run: str | Path) -> str | Path:
    """Return the folder that what `run` names on the hub was fetched to; what is no address of the hub as it stands.

    It lies in the cache of huggingface_hub, and is fetched only where it is not there yet. Without a network what the
    cache has is taken. Files of other kinds than `KINDS` stay where they are. Raises ConfigError for an address that is
    none, SetupError where the hub has no such model, or nothing can be had of it.
    """
    if not isinstance(run, str) or not is_hub(run):
        return run
    address = address_of(run)
    from huggingface_hub import snapshot_download

    with reaching(address):
        folder = Path(
            snapshot_download(
                address.repository, revision=address.revision, library_name="jenga",
                allow_patterns=[f"{FOLDER}/*{kind}" for kind in KINDS],
            )
        )  # fmt: skip
    if not (folder / FOLDER / MANIFEST).is_file():
        raise SetupError(f"{run}: no model of Jenga; name one that jenga push has put there")
    if foreign := foreign_files(folder / FOLDER):
        raise SetupError(
            f"{run}: the model needs {foreign[0]}, a kind of file that is never taken from a hub (allowed: "
            f"{', '.join(KINDS)}); fetch the repository yourself, look at it, and give its folder"
        )
    return folder


def named(run: str) -> str:
    """Return ``NAME=FOLDER`` of ``hf://owner/name`` or ``NAME=hf://owner/name``, fetched; all else as it stands."""
    name, told, address = run.partition("=")
    if is_hub(run):
        name, told, address = address_of(run).name, "=", run
    return f"{name}={fetched(address)}" if told and is_hub(address) else run


def foreign_files(model: Path) -> list[str]:
    """Return the files of a saved model that no hub gives or gets, by its manifest."""
    path = model / MANIFEST
    try:
        named = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SetupError(f"{path}: is no JSON ({error}); push the model again") from None
    if not isinstance(named, dict):
        raise SetupError(f"{path}: is no list of files with their checksums; push the model again")
    return [name for name in named if not name.endswith(KINDS)]


def check_code(run: str | Path, *, trusted: bool) -> None:
    """Raise ConfigError where code is allowed to a model that is loaded from the hub, which never gets that."""
    if trusted and is_hub(run):
        raise ConfigError(
            f"--trust-remote-code: does not go with {run}: no code is taken from a hub; fetch the repository yourself, "
            "look at it, and give its folder"
        )


@contextlib.contextmanager
def reaching(address: Address) -> Iterator[None]:
    """Raise SetupError, with what to do, where the hub refuses what the block asks of it or cannot be reached."""
    from huggingface_hub import errors
    from huggingface_hub.errors import HTTPError

    try:
        yield
    except errors.HFValidationError as error:
        raise ConfigError(f"{address}: {_first_line(error)}; allowed: {_FORM}") from None
    except errors.LocalEntryNotFoundError as error:
        cause = error.__cause__
        raise _refused(address, cause) or _unreached(address, cause or error) from None
    except Exception as error:
        told = _refused(address, error)
        if told is None and not isinstance(
            error, ConnectionError | TimeoutError | errors.FileMetadataError | HTTPError
        ):
            raise
        # Not as its cause: a request holds the token.
        raise told or _unreached(address, error) from None


def _refused(address: Address, error: BaseException | None) -> SetupError | None:
    """Return what the hub's answer says; None where it gave none."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return SetupError(f"{address}: its owner asks who wants it: accept the terms on its page, and {_TOKEN}")
    if isinstance(error, errors.RevisionNotFoundError):
        return SetupError(f"{address}: the hub knows no such revision; name a branch, a tag or a commit of it")
    status = error.response.status_code if isinstance(error, errors.HfHubHTTPError) else None
    if isinstance(error, errors.RepositoryNotFoundError) or status == 404:
        return SetupError(
            f"{address}: the hub knows no such model, or it is not for you (HTTP {status}); check its name, and where "
            f"it is private {_TOKEN}"
        )
    if status in (401, 403):
        return SetupError(
            f"{address}: the hub refuses (HTTP {status}); {_TOKEN} to a token that may do this there"
        )  # fmt: skip
    return SetupError(f"{address}: the hub answers with an error (HTTP {status}); try again later") if status else None


def _unreached(address: Address, error: BaseException) -> SetupError:
    from huggingface_hub import constants

    if constants.is_offline_mode():
        return SetupError(f"{address}: not in the cache here, and HF_HUB_OFFLINE keeps from fetching it; unset that")
    return SetupError(
        f"{address}: the hub cannot be reached at {constants.ENDPOINT} ({type(error).__name__}); check the network, "
        "proxy and HF_ENDPOINT"
    )


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0].rstrip(".")

"""A saved model to the Hugging Face hub, from which `jenga.load` takes it back."""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jenga import hub, saved
from jenga.bundle import read
from jenga.errors import ConfigError, SetupError, redacted
from jenga.files import link_folder
from jenga.peft import base_of
from jenga.report.card import card

logger = logging.getLogger(__name__)
CARD = "README.md"
_QUERY = re.compile(r"://[^\s\"?]+\?[^\s\"]")


@dataclass(frozen=True)
class Pushed:
    """What was put to the hub, or would be: the files with their bytes, and the commit's address where there is one."""

    address: hub.Address
    files: Sequence[tuple[str, int]]
    commit: str | None = None

    @property
    def size(self) -> int:
        """The bytes of all files."""
        return sum(size for _, size in self.files)


def push(
    run: str | Path, address: str, *, private: bool = False, revision: str | None = None, dry_run: bool = False
) -> Pushed:
    """Put the best model of `run`, with its model card, to the hub at `address`; it is then the whole model there.

    address: ``hf://owner/name``, which is made where it is not there. private: for nobody but its owner. revision: the
    branch to write to. dry_run: find out what would be put there, and ask nothing of the hub. The token is that of
    HF_TOKEN, or of ``hf auth login``. Raises ConfigError where the model could not be loaded from there, SetupError
    where it is harmed, or the hub refuses or cannot be reached.
    """
    target = _target(address, revision)
    source = saved.find_model(run)
    _check(source)
    # Beside the model: links cost nothing there.
    with tempfile.TemporaryDirectory(dir=source.parent, prefix=".push-") as place:
        staging = Path(place)
        link_folder(source, staging / hub.FOLDER)
        (staging / CARD).write_text(_card(source, target), encoding="utf-8")
        paths = sorted(path for path in staging.rglob("*") if path.is_file())
        files = [(path.relative_to(staging).as_posix(), path.stat().st_size) for path in paths]
        commit = None if dry_run else _upload(staging, target, private=private)
    return Pushed(target, files, commit)


def _target(address: str, revision: str | None) -> hub.Address:
    if not hub.is_hub(address):
        raise ConfigError(f"'{address}' is no address of the hub; allowed: hf://owner/name")
    found = hub.address_of(address)
    if revision is not None and found.revision not in (None, revision):
        raise ConfigError(f"--revision: got {revision}, and {address} names another; leave one of them out")
    return hub.Address(found.repository, revision or found.revision)


def _check(source: Path) -> None:
    """Raise ConfigError where whoever loads the model from a hub could not, or would see what is not for them."""
    said, config = read(source)
    if foreign := hub.foreign_files(source):
        raise ConfigError(
            f"{source}: holds {foreign[0]}, and of a hub no such file is loaded (allowed: {', '.join(hub.KINDS)}); "
            "push a model without code of its own"
        )
    for name in said.modalities:
        folder = saved.encoder_folder(source, name)
        base = base_of(folder)
        if by := saved.code_of(source, name, base) if name in said.trusting else None:
            raise ConfigError(f"{source}: needs code of its own ({by}), which never runs from a hub; give the run away")
        if base is not None and (Path(base).exists() or Path(base).is_absolute()):
            raise ConfigError(
                f"{source}: its adapters stand on {base}, a folder of this machine; push what jenga export --merge "
                "writes"
            )
    text = (source / saved.FILE).read_text(encoding="utf-8")
    if redacted(text) != text or _QUERY.search(text):
        raise ConfigError(
            f"{source / saved.FILE}: an address of its configuration holds a user, a password or a query, which may be "
            "a signature, and all would see it; train with an address without one"
        )
    for task in config.tasks:
        if task.kept_rows is not None:
            what = task.kept_rows
            logger.warning("task '%s': the model holds %s, which all who can read it there see", task.name, what)


def _card(source: Path, target: hub.Address) -> str:
    """Return the card of the run whose model `source` is; where there is no run, one that says no more than that."""
    run = source.parent
    if source.name == hub.FOLDER and (run / "config.yml").is_file():
        return card(run, address=str(target))
    return (
        f"---\nlibrary_name: jenga\ntags:\n- jenga\n---\n\n# {target.name}\n\nTrained with Jenga; see `jenga.json`.\n"
    )


def _upload(folder: Path, target: hub.Address, *, private: bool) -> str:
    """Make the repository where it is not there, write one commit to it, and return the commit's address."""
    from huggingface_hub import HfApi, get_token

    if get_token() is None:
        raise SetupError(f"{target}: no token of the hub is here; log in with hf auth login, or set HF_TOKEN")
    api = HfApi(library_name="jenga")
    with hub.reaching(target):
        api.create_repo(target.repository, private=private or None, exist_ok=True)
        if private and not api.model_info(target.repository).private:
            raise ConfigError(f"--private: {target} is there already, and public; change that on its page first")
        if target.revision is not None:
            api.create_branch(target.repository, branch=target.revision, exist_ok=True)
        done = api.upload_folder(
            repo_id=target.repository, folder_path=folder, revision=target.revision,
            commit_message="Upload a model of Jenga", delete_patterns=f"{hub.FOLDER}/*",
        )  # fmt: skip
    return done.commit_url

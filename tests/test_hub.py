"""What is taken from a hub: a small server answers in the place of the real one."""

from __future__ import annotations

import json
from pathlib import Path

import huggingface_hub
import pytest
from hub_server import TOKEN, Hub

from jenga.errors import ConfigError, JengaError, SetupError
from jenga.hub import Address, address_of, check_code, fetched, is_hub, named

FILES = {"README.md": b"# x", "best/manifest.json": b'{"jenga.json": "0"}', "best/jenga.json": b"{}"}


@pytest.fixture
def model(hub: Hub) -> Hub:
    """A hub with a public model."""
    hub.create("asha/calls", private=False)
    hub.commit("asha/calls", "main", FILES)
    return hub


def files_of(address: str) -> set[str]:
    folder = Path(fetched(address))
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_an_address_names_a_repository_and_maybe_a_revision() -> None:
    assert address_of("hf://asha/calls") == Address("asha/calls")
    assert address_of("hf://asha/calls@refs/pr/1") == Address("asha/calls", "refs/pr/1")
    assert str(address_of("hf://asha/calls@v1")) == "hf://asha/calls@v1"
    assert not is_hub("runs/calls")
    for wrong in ("hf://calls", "hf://asha/calls/more", "hf://asha/calls@", "hf://../calls", "hf://asha/calls name"):
        with pytest.raises(ConfigError, match="is no address of a model on the hub; allowed: hf://owner/name, or"):
            fetched(wrong)


def test_the_model_alone_is_fetched_and_a_folder_stands_as_it_is(model: Hub, tmp_path: Path) -> None:
    assert files_of("hf://asha/calls") == {"best/manifest.json", "best/jenga.json"}
    assert fetched(tmp_path) == tmp_path
    assert fetched("runs/calls") == "runs/calls"


def test_a_commit_that_is_in_the_cache_asks_nothing(model: Hub) -> None:
    address = f"hf://asha/calls@{model.branches['asha/calls', 'main']}"
    folder = fetched(address)
    model.asked.clear()
    assert fetched(address) == folder
    assert model.asked == []


def test_a_pickle_or_code_of_a_hub_is_not_even_fetched(model: Hub) -> None:
    model.commit("asha/calls", "main", {**FILES, "best/pytorch_model.bin": b"x", "best/own.py": b"x"})
    assert files_of("hf://asha/calls") == {"best/manifest.json", "best/jenga.json"}
    assert not [path for path in model.asked if path.endswith((".bin", ".py"))]
    model.commit("asha/calls", "main", {**FILES, "best/manifest.json": json.dumps({"own.py": "0"}).encode()})
    with pytest.raises(SetupError, match=r"needs own.py, a kind of file that is never taken from a hub \(allowed: "):
        fetched("hf://asha/calls")


@pytest.mark.parametrize(("content", "says"), [(b"5", "is no list of files"), (b"[1", "is no JSON")])
def test_a_broken_list_of_files_ends_in_one_message(content: bytes, says: str, model: Hub) -> None:
    model.commit("asha/calls", "main", {**FILES, "best/manifest.json": content})
    with pytest.raises(SetupError, match=says):
        fetched("hf://asha/calls")


def test_code_is_allowed_to_no_model_of_a_hub() -> None:
    with pytest.raises(ConfigError, match="does not go with hf://asha/calls: no code is taken from a hub"):
        check_code("hf://asha/calls", trusted=True)
    check_code("hf://asha/calls", trusted=False)
    check_code("runs/calls", trusted=True)


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("hf://asha/none", r"hf://asha/none: the hub knows no such model, or it is not for you \(HTTP 404\); check"),
        ("hf://asha/calls@old", "hf://asha/calls@old: the hub knows no such revision; name a branch, a tag or a"),
        ("hf://asha/empty", "hf://asha/empty: no model of Jenga; name one that jenga push has put there"),
    ],
)
def test_what_the_hub_lacks_is_told_with_what_to_do(model: Hub, address: str, says: str) -> None:
    model.create("asha/empty", private=False)
    with pytest.raises(SetupError, match=says):
        fetched(address)


def test_who_may_not_see_a_model_is_told_how_to_log_in(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.create("asha/calls", private=True)
    monkeypatch.setenv("HF_TOKEN", f"{TOKEN}Not")
    with pytest.raises(SetupError, match=r"\(HTTP 401\).*log in with hf auth login, or set HF_TOKEN") as caught:
        fetched("hf://asha/calls")
    assert TOKEN not in str(caught.value)
    # Its request holds the token, and --debug shows causes.
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_without_a_network_the_cache_answers_and_else_the_network_is_named(
    model: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fetched("hf://asha/calls")
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    assert fetched("hf://asha/calls") == folder
    with pytest.raises(
        SetupError, match=r"cannot be reached at http://127.0.0.1:9 \(ConnectError\); check the network"
    ):
        fetched("hf://asha/other")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert fetched("hf://asha/calls") == folder
    with pytest.raises(SetupError, match="HF_HUB_OFFLINE keeps from fetching it; unset that"):
        fetched("hf://asha/other")


def test_an_error_that_is_not_of_the_hub_stays_what_it_is(model: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **options: object) -> str:
        raise PermissionError(13, "no", "/cache")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", full)
    with pytest.raises(PermissionError) as caught:
        fetched("hf://asha/calls")
    assert not isinstance(caught.value, JengaError)


def test_a_served_model_is_named_as_the_hub_does(model: Hub) -> None:
    folder = fetched("hf://asha/calls")
    assert named("hf://asha/calls") == f"calls={folder}"
    assert named("mine=hf://asha/calls") == f"mine={folder}"
    assert named("mine=runs/a") == "mine=runs/a"
    assert named("runs/a") == "runs/a"

"""A model to a hub and back: a small server answers in the place of the real one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hub_server import Hub
from saved_models import own_model

import jenga
from jenga.config.tasks import TaskConfig
from jenga.errors import ConfigError, SetupError
from jenga.hub import fetched
from jenga.inference.predictor import Predictor
from jenga.inference.push import push

ROWS = [{"id": "a", "text": "Agent: Hello. Caller: This is Otieno."}]


def test_a_model_comes_back_from_the_hub_as_it_was(hub: Hub, run: Path, predictor: Predictor) -> None:
    done = push(run, "hf://asha/calls", private=True)
    assert hub.private == {"asha/calls": True}
    assert done.commit is not None
    sha = hub.branches["asha/calls", "main"]
    files = hub.commits[sha]
    assert done.commit.endswith(sha)
    assert {name for name, _ in done.files} | {".gitattributes"} == files.keys()
    assert files["best/manifest.json"] == (run / "best" / "manifest.json").read_bytes()
    assert b'jenga.load("hf://asha/calls")' in files["README.md"]
    assert jenga.load("hf://asha/calls", device="cpu").predict(ROWS) == predictor.predict(ROWS)


def test_a_second_push_leaves_nothing_of_the_first_and_branches_stay_apart(hub: Hub, run: Path, tmp_path: Path) -> None:
    more = own_model(run, tmp_path / "more", lambda own: (own / "backbone" / "notes.txt").write_text("x"))
    push(more, "hf://asha/calls")
    push(run, "hf://asha/calls", revision="next")
    notes = "best/backbone/notes.txt"
    assert (Path(fetched("hf://asha/calls")) / notes).is_file()
    assert not (Path(fetched("hf://asha/calls@next")) / notes).exists()
    push(run, "hf://asha/calls")
    assert not (Path(fetched("hf://asha/calls")) / notes).exists()


def test_what_is_pushed_was_linked_and_leaves_no_trace(hub: Hub, run: Path) -> None:
    before = sorted(run.iterdir())
    assert push(run, "hf://asha/calls", dry_run=True).commit is None
    assert hub.asked == []
    assert sorted(run.iterdir()) == before


def test_code_a_base_of_this_machine_and_a_password_stay_here(hub: Hub, run: Path, tmp_path: Path) -> None:
    def adapted(own: Path) -> None:
        (own / "backbone" / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(tmp_path)}))

    def secret(own: Path) -> None:
        said = json.loads((own / "jenga.json").read_text())
        said["config"]["data_root"] = "https://asha:secret@host/rows"
        (own / "jenga.json").write_text(json.dumps(said))

    with pytest.raises(ConfigError, match=r"holds backbone/own.py, and of a hub no such file is loaded"):
        push(own_model(run, tmp_path / "c", lambda own: (own / "backbone/own.py").write_text("x")), "hf://asha/calls")
    with pytest.raises(ConfigError, match="a folder of this machine; push what jenga export --merge writes"):
        push(own_model(run, tmp_path / "a", adapted), "hf://asha/calls")
    with pytest.raises(ConfigError, match="holds a user, a password or a query") as caught:
        push(own_model(run, tmp_path / "s", secret), "hf://asha/calls")
    assert "asha:secret" not in str(caught.value)

    def signed(own: Path) -> None:
        said = json.loads((own / "jenga.json").read_text())
        said["config"]["tasks"][0]["data_path"] = "https://host/rows.jsonl?sig=SECRET"
        (own / "jenga.json").write_text(json.dumps(said))

    with pytest.raises(ConfigError, match="holds a user, a password or a query"):
        push(own_model(run, tmp_path / "q", signed), "hf://asha/calls")
    assert hub.asked == []


def test_who_pushes_a_model_that_holds_rows_is_told(
    hub: Hub, event_run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(event_run, "hf://asha/flows", dry_run=True)
    assert "holds" not in caplog.text
    kept = property(lambda config: f"rows of {config.name}")
    monkeypatch.setattr(TaskConfig, "kept_rows", kept)
    push(event_run, "hf://asha/flows", dry_run=True)
    assert "task 'find': the model holds rows of find, which all who can read it there see" in caplog.text


def test_a_public_model_is_not_taken_for_a_private_one(hub: Hub, run: Path) -> None:
    hub.create("asha/calls", private=False)
    with pytest.raises(ConfigError, match="--private: hf://asha/calls is there already, and public"):
        push(run, "hf://asha/calls", private=True)
    assert not [path for path in hub.asked if "/commit/" in path]


def test_who_may_not_write_is_told_how_to_log_in(hub: Hub, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_another")
    with pytest.raises(
        SetupError, match=r"the hub .*\(HTTP 401\).*log in with hf auth login, or set HF_TOKEN"
    ) as caught:
        push(run, "hf://asha/calls")
    assert "hf_another" not in str(caught.value)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(SetupError, match="no token of the hub is here; log in with hf auth login, or set HF_TOKEN"):
        push(run, "hf://asha/calls")


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("asha/calls", "'asha/calls' is no address of the hub"),
        ("hf://asha/calls@a", "--revision: got b, and hf://asha"),
    ],
)
def test_an_address_that_is_none_is_refused(run: Path, address: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        push(run, address, revision="b")

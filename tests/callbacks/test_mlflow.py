import json
import logging
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import jenga
from jenga.callbacks import mlflow as module
from jenga.callbacks.mlflow import MlflowCallback
from jenga.errors import InterruptedRun
from jenga.samples.helpline import generate

# MLflow's own use of SQLAlchemy, and the connections that it leaves to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning"),
]

LOGS = {
    "event": "train", "loss": 1.5, "task_loss": {"intent": 1.0}, "head_loss": {"intent": {"topic": 1.0}},
    "grad_norm": 0.5, "learning_rate": {"backbone": 1e-5, "heads": 1e-3}, "epoch": 0.1,
}  # fmt: skip


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables, which take it seconds to make."""
    from mlflow.tracking import MlflowClient

    path = tmp_path_factory.mktemp("database") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").get_experiment_by_name("x")
    return path


@pytest.fixture
def database(empty_database: Path, tmp_path: Path) -> str:
    """The uri of the default database of output_dir `tmp_path`, with its tables made."""
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


def callback_of(trainer: Any) -> MlflowCallback:
    config = trainer.config
    return MlflowCallback(config.tracking, project=config.project_name, output_dir=Path(config.output_dir))


def client(uri: str) -> Any:
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=uri)


def only_run(uri: str) -> Any:
    found = client(uri).search_runs([each.experiment_id for each in client(uri).search_experiments()])
    assert len(found) == 1
    return found[0]


def history(uri: str, name: str) -> list[tuple[int, float]]:
    run_id = only_run(uri).info.run_id
    return [(metric.step, metric.value) for metric in client(uri).get_metric_history(run_id, name)]


def step(callback: MlflowCallback, trainer: Any, at: int, *, kept: bool = True) -> None:
    """Take a step, with its record; `kept`: the record is in metrics.jsonl too, as the trainer has it."""
    trainer.state.step = at
    record = {**LOGS, "step": at, "loss": 1.0 + at}
    if kept:
        with (trainer.folder / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(record) + "\n")
    callback.on_step_end(trainer, record)


# what is logged


def test_parameters_metrics_and_tags_arrive(make_view: Callable[..., Any], database: str) -> None:
    trainer = make_view(tracking={"tags": {"team": "nlp"}, "experiment": "trial"}, training={"batch_size": 32})
    callback = callback_of(trainer)
    callback.on_train_begin(trainer)
    step(callback, trainer, 10)
    callback.on_step_end(trainer, None)
    callback.on_evaluate(trainer, {"eval_loss": 0.25, "eval_intent_topic_macro_f1": 0.75})
    callback.on_close("finished")
    run = only_run(database)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "run"
    assert client(database).get_experiment(run.info.experiment_id).name == "trial"
    assert run.data.tags["team"] == "nlp"
    assert run.data.params["tasks.intent.heads.topic.labels"] == '["a", "b"]'
    assert run.data.params["training.batch_size"] == "32"
    assert run.data.metrics == {
        "train_loss": 11.0, "train_intent_loss": 1.0, "train_intent_topic_loss": 1.0, "grad_norm": 0.5, "epoch": 0.1,
        "learning_rate_backbone": 1e-5, "learning_rate_heads": 1e-3, "eval_loss": 0.25,
        "eval_intent_topic_macro_f1": 0.75,
    }  # fmt: skip
    assert history(database, "eval_loss") == [(10, 0.25)]


def test_training_does_not_wait_for_mlflow(
    make_view: Callable[..., Any], database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    opened = MlflowCallback._open

    def slow(self: MlflowCallback, *arguments: Any) -> None:
        assert release.wait(30)
        opened(self, *arguments)

    monkeypatch.setattr(MlflowCallback, "_open", slow)
    trainer = make_view()
    callback = callback_of(trainer)
    callback.on_train_begin(trainer)
    step(callback, trainer, 1)
    callback.on_save(trainer, trainer.folder)
    callback.on_train_end(trainer)
    assert callback.run_id is None
    release.set()
    callback.on_close("finished")
    assert history(database, "train_loss") == [(1, 2.0)]


def test_records_are_sent_together(
    make_view: Callable[..., Any], database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []
    monkeypatch.setattr(MlflowCallback, "_send", lambda self, pending: sent.append(len(pending)))
    monkeypatch.setattr(module, "FLUSH_S", 1e9)
    trainer = make_view()
    callback = callback_of(trainer)
    callback._flushed = module.time.monotonic()
    callback.on_train_begin(trainer)
    for at in range(1, 31):
        step(callback, trainer, at)
    callback.on_close("finished")
    assert sent == [30]


# resuming


def test_resumed_run_goes_on_in_the_same_mlflow_run_without_doubled_steps(
    make_view: Callable[..., Any], database: str
) -> None:
    trainer = make_view()
    first = callback_of(trainer)
    first.on_train_begin(trainer)
    for at in (1, 2, 3):
        step(first, trainer, at)
    first.on_close("interrupted")
    assert only_run(database).info.status == "KILLED"
    second = callback_of(trainer)
    second.load_state_dict(first.state_dict())
    second.on_train_begin(trainer)
    step(second, trainer, 3, kept=False)
    step(second, trainer, 4)
    second.on_close("finished")
    assert only_run(database).info.status == "FINISHED"
    assert history(database, "train_loss") == [(1, 2.0), (2, 3.0), (3, 4.0), (4, 5.0)]


def test_run_killed_before_its_first_checkpoint_is_found_again_by_run_json(
    make_view: Callable[..., Any], database: str
) -> None:
    trainer = make_view()
    killed = callback_of(trainer)
    killed.on_train_begin(trainer)
    assert killed._worker.wait(60)  # the run is open, and nothing more was sent
    killed.on_step_end(trainer, None)
    info = json.loads((trainer.folder / "run.json").read_text())
    assert info == {"status": "running", "mlflow_run_id": killed.run_id}
    again = callback_of(trainer)
    again.on_train_begin(trainer)
    again.on_close("finished")
    assert again.run_id == killed.run_id == only_run(database).info.run_id


def test_steps_that_mlflow_missed_are_taken_from_metrics_jsonl(
    make_view: Callable[..., Any], database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_view()
    killed = callback_of(trainer)
    killed.on_train_begin(trainer)
    step(killed, trainer, 1)
    monkeypatch.setattr(module, "FLUSH_S", 1e9)
    step(killed, trainer, 2)
    assert killed._worker.wait(60)
    killed._note_id()
    again = callback_of(trainer)
    again.on_train_begin(trainer)
    again.on_close("finished")
    assert history(database, "train_loss") == [(1, 2.0), (2, 3.0)]


def test_run_that_the_server_does_not_know_is_replaced(
    make_view: Callable[..., Any], database: str, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = make_view()
    callback = callback_of(trainer)
    callback.load_state_dict({"run_id": "0" * 32})
    callback.on_train_begin(trainer)
    callback.on_close("finished")
    assert only_run(database).info.run_id == callback.run_id != "0" * 32
    assert "does not know run 000" in caplog.text


# failures


def one_warning(caplog: pytest.LogCaptureFixture) -> str:
    found = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(found) == 1
    return found[0]


def drive(trainer: Any) -> MlflowCallback:
    callback = callback_of(trainer)
    callback.on_train_begin(trainer)
    for at in (1, 2, 3):
        step(callback, trainer, at)
        callback.on_evaluate(trainer, {"eval_loss": 1.0})
    callback.on_train_end(trainer)
    callback.on_result(trainer.folder, {"best_step": 1, "splits": {}})
    callback.on_close("finished")
    return callback


@pytest.mark.parametrize("uri", ["sqlite:////dev/null/mlflow.db", "nonsense://x"])
def test_broken_uri_gives_one_warning_and_training_goes_on(
    make_view: Callable[..., Any], caplog: pytest.LogCaptureFixture, uri: str
) -> None:
    trainer = make_view(tracking={"uri": uri})
    assert drive(trainer).failed
    warning = one_warning(caplog)
    assert f"MLflow tracking at {uri} failed and is off for the rest of this run" in warning
    assert f"stays in {trainer.folder}" in warning


def test_password_of_the_server_is_not_shown(
    make_view: Callable[..., Any], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    caplog.set_level(logging.WARNING)
    drive(make_view(tracking={"uri": "http://ann:s3cret@127.0.0.1:9"}))
    assert "http://***@127.0.0.1:9" in one_warning(caplog)
    assert "s3cret" not in caplog.text


class _Server(BaseHTTPRequestHandler):
    """Answers what opens a run, and then dies at the first metric."""

    def _answer(self, body: dict[str, Any], status: int = 200) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        if "runs/get" in self.path:
            info = {"run_id": "a" * 32, "experiment_id": "1", "status": "RUNNING"}
            self._answer({"run": {"info": info, "data": {}}})
            return
        self._answer({"experiment": {"experiment_id": "1", "name": "calls", "lifecycle_stage": "active"}})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.endswith(("runs/create", "runs/update")):
            info = {"run_id": "a" * 32, "run_uuid": "a" * 32, "experiment_id": "1", "status": "RUNNING"}
            self._answer({"run": {"info": info, "data": {}}, "run_info": info})
        elif body.get("metrics"):
            threading.Thread(target=self.server.shutdown).start()
            self.close_connection = True
            self.connection.close()
        else:
            self._answer({})

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def dying_server() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_server_that_dies_gives_one_warning_and_training_goes_on(
    make_view: Callable[..., Any],
    dying_server: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    trainer = make_view(tracking={"uri": dying_server})
    callback = drive(trainer)
    assert callback.run_id == "a" * 32
    assert callback.failed
    assert "is off for the rest of this run" in "\n".join(
        record.getMessage() for record in caplog.records if record.name.startswith("jenga")
    )


def test_server_that_accepts_and_never_answers_costs_seconds(
    make_view: Callable[..., Any], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 0.5)
    monkeypatch.setattr(module, "_PROBE_S", 0.5)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
    with socket.create_server(("127.0.0.1", 0)) as server:
        trainer = make_view(tracking={"uri": f"http://ann:s3cret@127.0.0.1:{server.getsockname()[1]}"})
        begin = time.monotonic()
        assert drive(trainer).failed
        # Well below MLflow's own timeout of a call; most of it is the first import of MLflow.
        assert time.monotonic() - begin < 30
    assert "no answer for 1 s" in one_warning(caplog)


def test_server_that_is_slow_but_there_is_waited_for(
    make_view: Callable[..., Any], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, database: str
) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 0.05)
    terminate = MlflowCallback._terminate

    def slowly(self: MlflowCallback, status: Any) -> None:
        time.sleep(0.3)
        terminate(self, status)

    monkeypatch.setattr(MlflowCallback, "_terminate", slowly)
    trainer = make_view(tracking={"uri": database, "log_model": False})
    callback = callback_of(trainer)
    callback.on_train_begin(trainer)
    callback.on_close("finished")
    assert not callback.failed
    assert only_run(database).info.status == "FINISHED"
    assert "Ctrl-C leaves the rest" in one_warning(caplog)


def test_ctrl_c_at_the_end_leaves_mlflow_and_not_the_run(
    make_view: Callable[..., Any], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, database: str
) -> None:
    trainer = make_view(tracking={"uri": database})
    callback = callback_of(trainer)
    callback.on_train_begin(trainer)

    def pressed(patience_s: float) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(callback._worker, "wait", pressed)
    callback.on_close("finished")
    assert "stopped by Ctrl-C before all was sent" in one_warning(caplog)


def test_folder_named_like_the_database_costs_no_time(
    make_view: Callable[..., Any], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    (tmp_path / "mlflow.db").mkdir()
    trainer = make_view(tracking={"uri": f"sqlite:///{tmp_path / 'mlflow.db'}"})
    begin = time.monotonic()
    assert drive(trainer).failed
    # MLflow tries for 100 s; most of this is its first import.
    assert time.monotonic() - begin < 30
    assert "mlflow.db: unable to open database file" in one_warning(caplog)


def finished(trainer: Any) -> dict[str, Any]:
    """Write what a finished run has into its folder and return its evaluation."""
    (trainer.folder / "config.yml").write_text("tracking: {uri: 'https://ann:s3cret@host/api'}\n")
    (trainer.folder / "report.html").write_text("<p></p>")
    return {"best_step": 3, "splits": {"test": {"metrics": {"loss": 0.5}}}}


def test_password_stays_out_of_the_logged_configuration(make_view: Callable[..., Any], database: str) -> None:
    trainer = make_view(tracking={"log_model": False})
    callback = callback_of(trainer)
    callback.on_train_begin(trainer)
    callback.on_result(trainer.folder, finished(trainer))
    callback.on_close("finished")
    run = only_run(database)
    path = client(database).download_artifacts(run.info.run_id, "config.yml")
    assert Path(path).read_text() == "tracking: {uri: 'https://***@host/api'}\n"
    assert history(database, "test_loss") == [(3, 0.5)]
    assert not list(trainer.folder.glob(".mlflow-*"))


def test_run_whose_model_could_not_be_logged_is_finished_with_one_warning(
    make_view: Callable[..., Any],
    database: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "log_model", full)
    trainer = make_view()
    callback = callback_of(trainer)
    callback.on_train_begin(trainer)
    callback.on_result(trainer.folder, finished(trainer))
    callback.on_close("finished")
    assert only_run(database).info.status == "FINISHED"
    assert "No space left on device. Training goes on" in one_warning(caplog)


def test_nothing_is_written_to_standard_output_which_belongs_to_results(
    make_view: Callable[..., Any],
    dying_server: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    trainer = make_view(tracking={"uri": dying_server})
    callback = callback_of(trainer)
    callback.on_train_begin(trainer)
    callback.on_close("finished")
    assert not callback.failed
    assert capsys.readouterr().out == ""


# a whole run


def experiment(tmp_path: Path, **settings: Any) -> dict[str, Any]:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("\n".join(map(json.dumps, generate(40))))
    return {
        "project_name": "calls",
        "model": {"base_model": "jenga/tiny-text"},
        "tasks": [
            {
                "name": "sentiment",
                "type": "classification",
                "data_path": str(rows),
                "columns": {"label": "sentiment"},
                "heads": [{"name": "feeling"}],
            },
            {"name": "names", "type": "ner", "data_path": str(rows)},
        ],
        "data": {"max_length": 32, "cache_dir": str(tmp_path / "cache")},
        "training": {"max_steps": 2, "batch_size": 8, "log_every_steps": 1},
        "output_dir": str(tmp_path),
        **settings,
    }


def test_finished_run_has_results_report_and_a_model_that_predicts_without_a_pickle(
    tmp_path: Path, database: str
) -> None:
    import mlflow
    import pandas

    result = jenga.train(experiment(tmp_path), device="cpu")
    run = only_run(database)
    assert run.info.status == "FINISHED"
    wanted = result.evaluation["splits"]["test"]["metrics"]["sentiment_feeling_accuracy"]
    assert run.data.metrics["test_sentiment_feeling_accuracy"] == wanted
    assert run.data.metrics["valid_loss"] == result.evaluation["splits"]["valid"]["metrics"]["loss"]
    artifacts = {each.path for each in client(database).list_artifacts(run.info.run_id)}
    assert artifacts >= {"report.html", "README.md", "config.yml", "evaluation.json", "metrics.jsonl", "plots"}
    assert client(database).list_artifacts(run.info.run_id, "plots")
    [logged] = client(database).search_logged_models([run.info.experiment_id])
    assert logged.status.name == "READY"
    assert logged.source_run_id == run.info.run_id
    assert not [path for path in tmp_path.rglob("*") if path.suffix in {".pkl", ".pickle", ".bin", ".pt"}]
    mlflow.set_tracking_uri(database)
    model = mlflow.pyfunc.load_model(logged.model_uri)
    assert [column.name for column in model.metadata.signature.inputs] == ["text", "id"]
    text = "Agent: Hello, this is Asha."
    [answer] = model.predict(pandas.DataFrame({"text": [text]}))
    [ours] = jenga.load(result.run, device="cpu").predict(text)
    assert answer["sentiment"]["feeling"]["label"] == ours["sentiment"]["feeling"]["label"]


def test_interrupted_run_is_marked_killed_and_a_failed_one_failed(tmp_path: Path, database: str) -> None:
    class Stop(jenga.BaseCallback):
        def __init__(self, error: BaseException) -> None:
            self.error = error

        def on_step_end(self, trainer: Any, logs: Any, **kwargs: Any) -> None:
            raise self.error

    config = experiment(tmp_path, tracking={"log_model": False})
    for error, status in ((InterruptedRun("stop"), "KILLED"), (RuntimeError("broken"), "FAILED")):
        with pytest.raises(type(error)):
            jenga.train(config, device="cpu", callbacks=[Stop(error)])
        runs = client(database).search_runs(["1"], order_by=["attributes.start_time DESC"])
        assert runs[0].info.status == status

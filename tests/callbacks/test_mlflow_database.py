"""MLflow's databases, copied from an empty one."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from jenga.callbacks.mlflow_database import quickly_made


def make(database: Path) -> None:
    """Stand in for MLflow, which fills a database unless it finds it made."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS made (times)")
        connection.execute("CREATE TABLE IF NOT EXISTS experiments (place)")
        connection.execute("INSERT INTO made SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM made)")
        connection.execute("INSERT INTO experiments VALUES (?)", (str(database),))
        connection.commit()


def experiments(database: Path) -> list[str]:
    with closing(sqlite3.connect(database)) as connection:
        return [place for (place,) in connection.execute("SELECT place FROM experiments")]


@pytest.fixture
def template(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "mlflow-3.db"


def test_the_second_database_is_found_made_and_knows_nothing_of_the_first(tmp_path: Path, template: Path) -> None:
    first, second = tmp_path / "first.db", tmp_path / "second.db"
    with quickly_made(first, template):
        assert not first.exists()
        make(first)
    with quickly_made(second, template):
        assert second.exists()
        assert experiments(second) == []
        make(second)
    assert experiments(first) == [str(first)]
    assert experiments(template) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "first.db", "second.db"]


def test_a_database_that_is_there_is_left_alone(tmp_path: Path, template: Path) -> None:
    make(tmp_path / "old.db")
    with quickly_made(tmp_path / "old.db", template):
        pass
    assert not template.exists()
    assert experiments(tmp_path / "old.db") == [str(tmp_path / "old.db")]


@pytest.mark.parametrize("damage", [b"", b"no database" * 100])
def test_a_damaged_template_is_made_anew(tmp_path: Path, template: Path, damage: bytes) -> None:
    template.parent.mkdir()
    template.write_bytes(damage)
    with quickly_made(tmp_path / "one.db", template):
        assert not (tmp_path / "one.db").exists()
        make(tmp_path / "one.db")
    with quickly_made(tmp_path / "two.db", template):
        assert (tmp_path / "two.db").exists()


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    template = tmp_path / "cache" / "mlflow.db"
    with quickly_made(tmp_path / "one.db", template):
        make(tmp_path / "one.db")
    assert experiments(tmp_path / "one.db")


@pytest.fixture(scope="module")
def mlflow_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("template") / "mlflow.db"


@pytest.mark.filterwarnings("ignore")  # of libraries that MLflow uses
def test_mlflow_takes_the_copy_for_a_database_of_its_own(tmp_path: Path, mlflow_template: Path) -> None:
    from mlflow.tracking import MlflowClient

    for name in ("one", "two"):
        uri = f"sqlite:///{tmp_path / name}.db"
        with quickly_made(tmp_path / f"{name}.db", mlflow_template):
            client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        run = client.create_run(client.create_experiment("calls", artifact_location=str(tmp_path / name)))
        client.log_metric(run.info.run_id, "loss", 0.5)
        assert [each.name for each in client.search_experiments()] == ["calls", "Default"]
        assert client.get_run(run.info.run_id).data.metrics == {"loss": 0.5}

"""New SQLite databases of MLflow, copied from an empty one: MLflow makes each in dozens of migrations, for a second."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

logger = logging.getLogger(__name__)


@contextmanager
def quickly_made(database: Path, template: Path) -> Iterator[None]:
    """Let MLflow find `database` made, where `template` is one that it made before; else keep a copy as `template`.

    Inside, MLflow opens it. A template that cannot be read or written costs the time that it saves, nothing else.
    """
    if database.exists():
        yield
        return
    made = _copied(template, database)
    yield
    if not made and database.is_file():
        _keep(database, template)


def _copied(template: Path, database: Path) -> bool:
    if not template.is_file():
        return False
    staging = database.with_name(f".{database.name}.{os.getpid()}")
    try:
        staging.write_bytes(template.read_bytes())
        with closing(sqlite3.connect(staging)) as connection:
            sound: bool = connection.execute("PRAGMA quick_check").fetchone() == ("ok",)
            whole: bool = sound and connection.execute("SELECT count(*) FROM sqlite_master").fetchone() != (0,)
        if whole:
            # Unlike a rename, a link never replaces the database that another run has made in between.
            os.link(staging, database)
        return whole
    except FileExistsError:
        return True
    except (OSError, sqlite3.Error) as error:
        logger.debug("no copy of %s", template, exc_info=error)
        return False
    finally:
        staging.unlink(missing_ok=True)


def _keep(database: Path, template: Path) -> None:
    staging = template.with_name(f".{template.name}.{os.getpid()}")
    try:
        template.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        logger.debug("%s is not kept", template, exc_info=error)
        return
    try:
        with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(staging)) as copy:
            source.backup(copy)
            # Its first experiment says where this database's artifacts are; MLflow makes it anew.
            copy.execute("DELETE FROM experiments")
            copy.commit()
        staging.replace(template)
    except (OSError, sqlite3.Error) as error:
        logger.debug("%s is not kept", template, exc_info=error)
    finally:
        staging.unlink(missing_ok=True)

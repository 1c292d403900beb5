"""An experiment with one of each thing that an audit finds."""

from pathlib import Path

import pytest
from audit_rows import write_experiment


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    """Its configuration."""
    return write_experiment(tmp_path)

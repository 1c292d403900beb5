"""The module that launchers start."""

from __future__ import annotations

import subprocess
import sys


def test_it_is_jenga_train() -> None:
    done = subprocess.run([sys.executable, "-m", "jenga.train", "--help"], capture_output=True, text=True, check=True)
    assert "Train the experiment in CONFIG.yml." in done.stdout

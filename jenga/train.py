"""``python -m jenga.train cfg.yml``, as launchers of several processes start it: `jenga train`."""

from __future__ import annotations

from jenga.cli.main import train_main

if __name__ == "__main__":
    train_main()

"""Calls every op of `torch.ops.jenga` and every function of `jenga._C` with valid and with broken arguments.

    python tests/kernels/fuzz [--calls N] [--seed S] [--only NAME ...] [--report FILE]
    python tests/kernels/fuzz --replay NAME SEED

The calls are made in a child: what ends it, or keeps it too long, is a finding, and the next child goes on behind it.
A finding has a name and a seed, which `--replay` takes. Exits with 1 where there is one.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from journal import Journal

MAX_FINDINGS = 40


def run_child(**plan: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(Path(__file__).with_name("child.py")), json.dumps(plan)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def ending(returncode: int) -> str:
    if returncode in (-signal.SIGALRM, -signal.SIGPROF):
        return "took too long"
    return f"killed by {signal.Signals(-returncode).name}" if returncode < 0 else f"exit status {returncode}"


def described(name: str, seed: int) -> str:
    """The arguments of a call, made in a process of their own."""
    done = run_child(describe=[name, seed])
    return done.stdout or done.stderr


def fuzz(calls: int, seed: int, only: list[str] | None, path: Path) -> dict[str, Any]:
    """Counts of calls by name, and findings."""
    journal = Journal(path, create=True)
    names: list[str] = []
    findings: list[dict[str, Any]] = []
    begin, end = seed, seed + calls
    while begin < end and len(findings) < MAX_FINDINGS:
        done = run_child(only=only, begin=begin, end=end, journal=str(path))
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        if not lines or not journal.started:
            raise RuntimeError(f"the child made no call: {ending(done.returncode)}\n{done.stderr}")
        names, *found = lines
        findings += found
        if done.returncode == 0:
            break
        name, at = names[journal.index], journal.seed
        what = {"what": ending(done.returncode), "arguments": described(name, at), "stderr": done.stderr[-4000:]}
        findings.append({"name": name, "seed": at, **what})
        # The names behind it lose their call with this seed.
        begin = at + 1
    counts = journal.counts[: len(names)].tolist()
    columns = ("succeeded", "refused", "valid")
    return {
        "calls": {name: dict(zip(columns, row, strict=True)) for name, row in zip(names, counts, strict=True)},
        "findings": findings,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=1000, help="of each op and function")
    parser.add_argument("--seed", type=int, default=0, help="of the first call")
    parser.add_argument("--only", nargs="+", metavar="NAME")
    parser.add_argument("--report", type=Path, help="where to write counts and findings as JSON, instead of printing")
    parser.add_argument("--replay", nargs=2, metavar=("NAME", "SEED"))
    options = parser.parse_args()
    if options.replay:
        options.calls, options.seed, options.only = 1, int(options.replay[1]), [options.replay[0]]
        print(described(options.replay[0], options.seed))
    with tempfile.TemporaryDirectory() as folder:
        report = fuzz(options.calls, options.seed, options.only, Path(folder, "journal"))
    text = json.dumps(report, indent=1)
    if options.report:
        options.report.write_text(text, encoding="utf-8")
    else:
        print(text)
    sys.exit(bool(report["findings"]))


if __name__ == "__main__":
    main()

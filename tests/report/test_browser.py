"""Pages in a real browser, with the worst texts that rows, labels and files may hold; skipped where there is none."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from jenga.audit.findings import Audit, Finding
from jenga.audit.page import write_page
from jenga.report.compare import compare_runs
from jenga.report.compare_page import comparison_page
from jenga.report.html import write_report
from jenga.report.watch import page

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = (
    "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">",
    "\"' onmouseover=x</style></title><!--",
    "\u202eright to left\u2066 nul\x00 esc\x1b[31m",
    "w" * 3000,
    "👩‍👩‍👧‍👦 العربية עברית 中文",
)
WRAPPER = """<!doctype html><title>measured</title><body><script>
const found = [], pages = PAGES, widths = [400, 1600];
for (const page of pages) for (const width of widths) {
  const frame = document.createElement("iframe");
  frame.style.width = width + "px"; frame.style.border = "0"; frame.src = page;
  // The live page draws once its server has answered.
  frame.onload = () => setTimeout(() => {
    const inner = frame.contentDocument;
    inner.querySelectorAll("details").forEach(each => { each.open = true; });
    found.push({page, width, wide: inner.documentElement.scrollWidth, scheme: inner.title !== "owned",
      buttons: inner.querySelectorAll("th button, td button").length,
      right: [...inner.querySelectorAll("figure > svg")].every(each => each.getBoundingClientRect().width > 100)});
    document.body.dataset.found = JSON.stringify(found);
  }, 300);
  document.body.append(frame);
}
</script></body>"""


def answered(text: str) -> str:
    """Return the live page with what its server would answer of runs with such names."""
    runs = [
        {"id": str(at), "name": each, "created": "2030", "status": each, "steps": 2, "metric": each, "value": 0.5,
         "rows": 3, "seconds": 1.0, "heads": [[each, each]], "epochs": 1, "max_steps": None, "reason": each}
        for at, each in enumerate(HOSTILE)
    ]  # fmt: skip
    records = [
        {"event": "train", "step": step, "epoch": 0.1, "loss": 1.0 / step, "task_loss": dict.fromkeys(HOSTILE, 1.0),
         "learning_rate": dict.fromkeys(HOSTILE, 1.0), "grad_norm": 1.0, "time_s": 1.0}
        for step in range(1, 9)
    ]  # fmt: skip
    metrics = {f"eval_{each}_{each}_f1": 0.5 for each in HOSTILE} | {f"eval_{each}": 0.5 for each in HOSTILE}
    records.append({"event": "eval", "step": 8, "metrics": metrics})
    told = {"runs": {"title": HOSTILE[0], "runs": runs}, "log": {"records": records, "next": 9, "more": False}}
    content = json.dumps(told).replace("<", "\\u003c")
    stub = f"const told = {content}; window.fetch = async path => new Response(JSON.stringify(told[path.slice(0, 4) ==="
    stub += ' "runs" ? "runs" : "log"]));'
    return text.replace("<script>", f"<script>{stub}</script><script>", 1)


def spoilt(run: Path) -> Path:
    """Put the texts wherever a run has one that comes from data."""
    path = run / "evaluation.json"
    evaluation: dict[str, Any] = json.loads(path.read_text())
    evaluation["project"] = HOSTILE[0]
    for result in evaluation["splits"].values():
        for at, head in enumerate(result["heads"]):
            text = HOSTILE[at % len(HOSTILE)]
            head |= {"task": text, "head": HOSTILE[(at + 1) % len(HOSTILE)]}
            head["labels"] = [HOSTILE[place % len(HOSTILE)] for place in range(len(head["labels"]))]
            for place, row in enumerate(head["details"]["per_label"]):
                row["label"] = HOSTILE[place % len(HOSTILE)]
            line = {"value": text, "rows": 3, "metrics": head["metrics"]}
            head["details"]["slices"] = [{"by": HOSTILE[3], "rows": [line, line]}]
            curve = {"label": text, "support": 3, "roc_auc": 0.5, "average_precision": 0.5, "roc": [[0, 0], [1, 1]],
                     "precision_recall": [[0, 1], [1, 0.5]]}  # fmt: skip
            head["details"]["curves"] = {"reliability": [[0.5, 0.5, 3]], "ranked": [curve], "labels": 1}
            worst = [
                {"id": each, "error": 1.0, "expected": each, "answer": each, "text": each, "pictures": [],
                 "spans": {"expected": [[0, 5, each]], "answer": [[2, 9, each]]}}
                for each in HOSTILE
            ]  # fmt: skip
            head["details"]["worst"] = {"error": "loss", "rows": worst}
    path.write_text(json.dumps(evaluation))
    bad = [{"file": f"/x/{each}.jsonl", "row": 1, "reason": each, "raw": each} for each in HOSTILE]
    (run / "quarantine.jsonl").write_text("".join(json.dumps(each) + "\n" for each in bad))
    info = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(info | {"warnings": list(HOSTILE)}))
    return run


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no chromium is installed here, in which pages could be looked at")
def test_no_page_scrolls_sideways_complains_or_runs_what_a_text_says(run: Path, tmp_path: Path) -> None:
    pages = tmp_path / "pages"
    pages.mkdir()
    again = shutil.copytree(spoilt(run), run.with_name("<b>w" + "w" * 150))
    shutil.copy(write_report(run), pages / "report.html")
    (pages / "compare.html").write_text(comparison_page(compare_runs([run, again])), encoding="utf-8")
    findings = [Finding("leak", "test", f"/x/{at}.jsonl", at, "r", each, each, each, each, 0.5, each, each)
                for at, each in enumerate(HOSTILE)]  # fmt: skip
    write_page(Audit(HOSTILE[1], findings, {HOSTILE[2]: 80}, list(HOSTILE), 2, 1.0, {}), pages / "audit.html")
    (pages / "watch.html").write_text(answered(page()[0]), encoding="utf-8")
    names = sorted(path.name for path in pages.iterdir())
    (pages / "all.html").write_text(WRAPPER.replace("PAGES", json.dumps(names)))
    assert BROWSER is not None
    done = subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--dump-dom",
         "--enable-logging=stderr", "--v=0", f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1700,1000",
         "--virtual-time-budget=10000", (pages / "all.html").as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert not [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    match = re.search(r'data-found="([^"]*)"', done.stdout)
    assert match is not None, done.stdout[-2000:]
    found = json.loads(match[1].replace("&quot;", '"'))
    assert len(found) == 2 * len(names) == 8
    for each in found:
        assert each["wide"] <= each["width"], each
        assert each["scheme"], "a text became a script"
        assert each["right"], each
        assert each["buttons"], "the page's own script ran"

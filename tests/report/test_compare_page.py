from __future__ import annotations

import json
import shutil
from pathlib import Path

from jenga.report.compare import compare_runs
from jenga.report.compare_page import comparison_page


def test_the_page_shows_settings_metrics_and_curves_and_no_text_is_markup(run: Path) -> None:
    again = shutil.copytree(run, run.with_name("<script>alert(1)<!--"))
    (again / "config.yml").write_text((again / "config.yml").read_text().replace("epochs: 3", "epochs: '<b>4</b>'"))
    path = again / "evaluation.json"
    evaluation = json.loads(path.read_text())
    evaluation["splits"]["test"]["heads"][0]["metrics"]["macro_f1"] -= 0.1
    path.write_text(json.dumps(evaluation))
    page = comparison_page(compare_runs([run, again]))
    assert page.count("<script") == 1
    assert "<b>" not in page
    for words in ("training.epochs", "not trained and judged on the same rows", "Loss of training", "-0.100 worse",
                  "Wait / value: on the validation rows", "&lt;script&gt;alert(1)"):  # fmt: skip
        assert words in page


def test_runs_that_are_alike_have_no_settings_to_tell_of(run: Path) -> None:
    (run / "metrics.jsonl").unlink()
    again = shutil.copytree(run, run.with_name("other"))
    page = comparison_page(compare_runs([run, again]))
    assert "<p>None.</p>" in page
    assert '<svg viewBox="0 0 400' not in page

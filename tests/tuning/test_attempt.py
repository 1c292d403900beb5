import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from jenga.bundle import schema
from jenga.config.load import load_search
from jenga.errors import InterruptedRun
from jenga.run import experiment
from jenga.tuning.attempt import Here, Judged

pytestmark = pytest.mark.usefixtures("without_report")


@pytest.fixture
def begun(searched: Callable[..., dict[str, Any]], tmp_path: Path) -> Callable[..., Callable[[], Judged]]:
    """Return a function that begins trial 3, whose evaluations go to `report`."""
    search = load_search(searched(), schema=schema())
    config = search.experiment({key: each.values[0] for key, each in search.dimensions.items() if each.values})

    def begin(report: Callable[..., bool]) -> Callable[[], Judged]:
        with Here(metric="eval_loss", report=report, device="cpu", console=Console(quiet=True)) as here:
            here.begin(3, config, tmp_path / "trial")
            number, judged = here.wait()
            assert number == 3
            return judged

    return begin


def test_a_trial_that_is_over_is_judged_anew_and_not_trained(
    begun: Callable[..., Callable[[], Judged]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []

    def noted(*details: Any) -> bool:
        told.append(details)
        return False

    first = begun(noted)()
    assert [each[:2] for each in told] == [(3, 0), (3, 1), (3, 2), (3, 3)]
    assert first.score == min(each[2] for each in told)
    assert first.fingerprint == json.loads((tmp_path / "trial" / "run.json").read_text())["fingerprint"]
    monkeypatch.setattr(experiment, "train", None)
    assert begun(lambda *_: False)() == first


def test_a_trial_goes_on_from_its_checkpoint_and_a_folder_without_a_run_is_made_anew(
    begun: Callable[..., Callable[[], Judged]], tmp_path: Path
) -> None:
    (tmp_path / "trial").mkdir()  # all that a process which was killed had made
    told: list[int] = []

    def pressed(_trial: int, number: int, *_: Any) -> bool:
        told.append(number)
        if told == [0, 1, 2]:
            raise KeyboardInterrupt
        return False

    with pytest.raises((KeyboardInterrupt, InterruptedRun)):
        begun(pressed)()
    begun(pressed)()
    assert told == [0, 1, 2, 2, 3]

from pathlib import Path
from typing import Any

import pandas
import pytest

from jenga.errors import ConfigError
from jenga.inference.predictor import Predictor
from jenga.inference.pyfunc import _load_pyfunc

TEXT = "Agent: Hello. Caller: This is Otieno."


def test_table_and_list_get_the_answers_of_the_predictor(run: Path, predictor: Predictor) -> None:
    model = _load_pyfunc(str(run / "best"))
    wanted = predictor.predict([{"id": "a", "text": TEXT}])
    assert model.predict(pandas.DataFrame({"id": ["a"], "text": [TEXT]})) == wanted
    assert model.predict([{"id": "a", "text": TEXT}]) == wanted


def test_empty_cell_of_a_table_is_an_error_in_its_place(run: Path) -> None:
    answers = _load_pyfunc(str(run / "best")).predict(pandas.DataFrame({"text": [TEXT, None]}))
    assert [set(answer) == {"id", "error"} for answer in answers] == [False, True]


def test_params_reach_the_predictor(run: Path) -> None:
    model = _load_pyfunc(str(run / "best"))
    [answer] = model.predict([TEXT], {"probabilities": True, "batch_size": 1})
    assert len(answer["sentiment"]["feeling"]["probabilities"]) == 3
    with pytest.raises(ConfigError, match="batch_size: got 0"):
        model.predict([TEXT], {"batch_size": 0})


def test_events_of_a_table_get_the_answers_of_the_predictor_and_nan_is_no_value(
    event_run: Path, detector: Predictor, flows: list[dict[str, Any]]
) -> None:
    model = _load_pyfunc(str(event_run / "best"))
    assert any(flow["duration"] is None for flow in flows)
    assert model.predict(pandas.DataFrame(flows)) == detector.predict(flows)

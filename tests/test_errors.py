import pytest

from jenga.errors import (
    ConfigError,
    DataError,
    DivergedError,
    InterruptedRun,
    JengaError,
    Problem,
    SetupError,
    printable,
    redacted,
    suggest,
)


def test_each_kind_of_error_has_the_documented_exit_code() -> None:
    codes = {
        kind.__name__: kind.exit_code for kind in (ConfigError, DataError, SetupError, DivergedError, InterruptedRun)
    }
    assert codes == {"ConfigError": 2, "DataError": 3, "SetupError": 4, "DivergedError": 5, "InterruptedRun": 130}
    assert JengaError.exit_code == 1


def test_a_problem_is_told_with_its_place() -> None:
    assert str(Problem("cfg.yml", 4, 3, "model.x", "unknown key")) == "cfg.yml:4:3: model.x: unknown key"


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (Problem("cfg.yml", 0, 0, "", "is empty"), "cfg.yml: is empty"),
        (Problem("", 0, 0, "device", "no"), "device: no"),
    ],
)
def test_what_has_no_place_is_told_without_one(problem: Problem, words: str) -> None:
    assert str(problem) == words


def test_all_problems_come_in_reading_order() -> None:
    late, early = Problem("a.yml", 10, 1, "b", "wrong"), Problem("a.yml", 2, 5, "z", "wrong")
    assert str(ConfigError([late, early])) == "a.yml:2:5: z: wrong\na.yml:10:1: b: wrong"


def test_only_a_near_name_is_suggested() -> None:
    assert suggest("classfication", ["ner", "classification"]) == "; did you mean 'classification'?"
    assert suggest("zebra", ["ner", "classification"]) == ""


def test_what_a_terminal_would_act_on_is_shown_as_its_escape() -> None:
    assert printable("plain é 中 \N{GRINNING FACE}") == "plain é 中 \N{GRINNING FACE}"
    assert printable("a\x1b[31mb\n\r\t\x07") == "a\\x1b[31mb\\n\\r\\t\\x07"
    assert printable("\u202egnp.exe\x9b\ud800") == "\\u202egnp.exe\\x9b\\ud800"


def test_password_in_an_address_is_hidden_and_the_rest_is_kept() -> None:
    text = "cannot reach https://ann:p%40ss@host:5000/api; tried postgresql://u@db/x, file:///a@b"
    assert redacted(text) == "cannot reach https://***@host:5000/api; tried postgresql://***@db/x, file:///a@b"

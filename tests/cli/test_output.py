import contextlib
import errno
import io
import logging
import sys
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from jenga.cli import output
from jenga.errors import (
    ConfigError,
    DataError,
    DivergedError,
    InterruptedRun,
    JengaError,
    Problem,
    SetupError,
)

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (ConfigError("tasks: empty"), 2, "error: tasks: empty\n"),
        (DataError("rows.jsonl:3: no label"), 3, "error: rows.jsonl:3: no label\n"),
        (SetupError("no cuda"), 4, "error: no cuda\n"),
        (DivergedError("loss is nan"), 5, "error: loss is nan\n"),
        (InterruptedRun("saved step-2"), 130, "error: saved step-2\n"),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
        (OSError(errno.ENOSPC, "No space left on device", "runs/x"), 4, "error: runs/x: No space left on device\n"),
        (PermissionError(errno.EACCES, "Permission denied", "runs"), 4, "error: runs: Permission denied\n"),
    ],
)
def test_error_is_one_block_with_its_exit_code(capsys: Capture, error: BaseException, code: int, text: str) -> None:
    assert output.report_error(error, debug=False) == code
    assert capsys.readouterr() == ("", text)


def test_every_class_of_error_has_another_exit_code() -> None:
    codes = [each.exit_code for each in JengaError.__subclasses__()]
    assert sorted(codes) == [2, 3, 4, 5, 130]


def test_several_problems_are_counted_and_listed_as_they_are(capsys: Capture) -> None:
    problems = [Problem("c.yml", 4, 3, "model", "wrong"), Problem("c.yml", 2, 1, "tasks", "missing")]
    output.report_error(ConfigError(problems), debug=False)
    assert capsys.readouterr().err == "error: 2 problems\nc.yml:2:1: tasks: missing\nc.yml:4:3: model: wrong\n"


def test_unexpected_error_names_its_type_and_how_to_see_more(capsys: Capture) -> None:
    assert output.report_error(ValueError("odd"), debug=False) == 1
    text = capsys.readouterr().err
    assert text.startswith("error: unexpected ValueError: odd\n")
    assert "--debug" in text
    assert "Traceback" not in text


def test_full_memory_tells_what_to_lower(capsys: Capture) -> None:
    class OutOfMemoryError(RuntimeError):
        pass

    for error in (MemoryError(), OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")):
        assert output.report_error(error, debug=False) == 4
        assert "lower training.batch_size" in capsys.readouterr().err


def test_debug_shows_where_an_error_comes_from(capsys: Capture) -> None:
    try:
        raise DataError("bad")
    except DataError as error:
        output.report_error(error, debug=True)
    text = capsys.readouterr().err
    assert text.startswith("Traceback")
    assert text.endswith("error: bad\n")


def test_warnings_are_plain_sentences_on_standard_error(capsys: Capture) -> None:
    output.show_warnings(quiet=False, debug=False)
    output.show_warnings(quiet=False, debug=False)
    logging.getLogger("jenga.data").warning("%d rows are bad", 3)
    logging.getLogger("jenga.data").info("not shown")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        output.show_warnings(quiet=False, debug=False)
        warnings.warn("slow path", RuntimeWarning, stacklevel=1)
    assert capsys.readouterr() == ("", "warning: 3 rows are bad\nwarning: slow path\n")


def test_the_hub_which_has_a_handler_of_its_own_is_heard_once(capsys: Capture) -> None:
    output.show_warnings(quiet=False, debug=False)
    hub, own = logging.getLogger("huggingface_hub"), logging.StreamHandler(sys.stderr)
    before = list(hub.handlers)
    hub.handlers = [own]  # as its library sets it up
    try:
        logging.getLogger("huggingface_hub.utils").warning("no network")
    finally:
        hub.handlers = before
    assert capsys.readouterr().err == "no network\n"


def test_quiet_hides_warnings_and_keeps_errors(capsys: Capture) -> None:
    output.show_warnings(quiet=True, debug=False)
    logging.getLogger("jenga.data").warning("3 rows are bad")
    logging.getLogger("jenga.data").error("all is bad")
    assert capsys.readouterr().err == "error: all is bad\n"


# tables


def test_table_is_aligned_by_spaces_where_there_is_no_terminal(capsys: Capture) -> None:
    output.print_table([["task", "rows"], ["mood", "1,200"], ["a", "-"]])
    assert capsys.readouterr().out == "task  rows\nmood  1,200\na     -\n"


def on_terminal(monkeypatch: pytest.MonkeyPatch, show: Callable[[], Any]) -> str:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    monkeypatch.setattr("sys.stdout", stream)
    monkeypatch.setenv("TERM", "xterm-256color")
    show()
    return stream.getvalue()


def test_table_is_drawn_on_a_terminal_and_markup_in_labels_stays_text(monkeypatch: pytest.MonkeyPatch) -> None:
    text = on_terminal(monkeypatch, lambda: output.print_table([["label"], ["[red]x[/red]"]]))
    assert "─" in text or "━" in text
    assert "[red]x[/red]" in text


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    table = [["label"], ["x"]]
    assert "\x1b[" in on_terminal(monkeypatch, lambda: output.print_table(table))
    monkeypatch.setenv("NO_COLOR", "1")
    # Bold is not a colour; https://no-color.org speaks of colour alone.
    assert "\x1b[3" not in on_terminal(monkeypatch, lambda: output.print_table(table))


def test_json_keeps_letters_and_refuses_what_json_does_not_have(capsys: Capture) -> None:
    output.print_json({"a": "é"})
    assert capsys.readouterr().out == '{\n "a": "é"\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        output.print_json(float("nan"))


def test_no_value_of_the_data_reaches_a_terminal_as_a_command(capsys: Capture) -> None:
    evil = "x\x1b[2J\x1b]0;owned\x07"
    output.print_table([["field"], [f"{evil}\nline"]])
    output.show_warnings(quiet=False, debug=False)
    logging.getLogger("jenga").warning("%s", evil)
    output.report_error(DataError(f"{evil}\nsecond line"), debug=False)
    found = capsys.readouterr()
    assert "\x1b" not in found.out + found.err
    assert "x\\x1b[2J\\x1b]0;owned\\x07\\nline" in found.out
    assert found.err.splitlines()[-1] == "second line"


def test_what_nobody_can_be_told_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full under a log, a terminal that was closed."""
    from rich.console import Console

    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stderr", full)
        console = Console(file=output.lasting())
        console.print("a line")
        output.show_warnings(quiet=False, debug=False)
        logging.getLogger("jenga").warning("another")
        assert output.report_error(SetupError("no room"), debug=True) == 4
        with pytest.raises(OSError, match="No space"):
            full.flush()
        monkeypatch.undo()
        with contextlib.suppress(OSError):
            full.close()


def test_a_progress_bar_takes_what_is_told_meanwhile(capfd: pytest.CaptureFixture[str]) -> None:
    """It puts itself in the place of standard error, to which it writes."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(file=output.lasting(), force_terminal=True)) as progress:
        progress.add_task("steps")
        output.show_warnings(quiet=False, debug=False)
        logging.getLogger("jenga").warning("a sentence")
    told = capfd.readouterr().err
    assert told.count("a sentence") == 1
    assert "steps" in told

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from jenga.cli.options import Command, all_overrides, check_outputs
from jenga.errors import ConfigError, DataError

FLOOD = """
import click
from jenga.cli.options import Command

@click.command(cls=Command)
def flood():
    for number in range(100000):
        click.echo(f"line {number}")

flood()
"""


def command_that_raises(error: BaseException) -> click.Command:
    @click.command(cls=Command)
    def command() -> None:
        raise error

    return command


def test_error_ends_the_command_with_its_code_and_without_a_traceback() -> None:
    result = CliRunner().invoke(command_that_raises(DataError("no rows")))
    assert (result.exit_code, result.stdout, result.stderr) == (3, "", "error: no rows\n")


def test_debug_shows_the_traceback() -> None:
    assert "Traceback" in CliRunner().invoke(command_that_raises(DataError("no rows")), ["--debug"]).stderr


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (ValueError("x"), 1), (MemoryError(), 4)])
def test_other_ends_have_their_codes(error: BaseException, code: int) -> None:
    assert CliRunner().invoke(command_that_raises(error)).exit_code == code


def test_usage_mistakes_stay_clicks() -> None:
    result = CliRunner().invoke(command_that_raises(click.UsageError("give FILE")))
    assert result.exit_code == 2
    assert "Usage:" in result.stderr


def test_reader_that_has_enough_ends_the_command_quietly() -> None:
    line = f"{sys.executable} -c '{FLOOD}' | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "line 0\n", "")


def test_seed_output_dir_and_permission_are_settings_and_win_over_the_file_like_any_other() -> None:
    given = all_overrides(["a=1"], seed=3, output_dir='my "runs"', trust_remote_code=True)
    assert given == ["a=1", "training.seed=3", 'output_dir="my \\"runs\\""', "model.trust_remote_code=true"]
    assert all_overrides([], seed=None, trust_remote_code=False) == []


def test_no_file_is_an_output_twice_or_also_an_input(tmp_path: Path) -> None:
    one, other = str(tmp_path / "one"), str(tmp_path / "other")
    check_outputs({"--output": one, "--quarantine": None}, [other, None, "-"])
    check_outputs({"--output": "-"}, ["-"])
    check_outputs({"--output": "/dev/null"}, ["/dev/null"])
    for given, words in (((one, other), "is what is read"), ((other, other), "is also the file of --output")):
        with pytest.raises(ConfigError, match=rf"--quarantine: {other} {words}, which would be lost; name another"):
            check_outputs({"--output": given[0], "--quarantine": given[1]}, [other if given[0] == one else None])


def test_a_command_by_itself_knows_the_short_name_of_help() -> None:
    assert CliRunner().invoke(Command("alone"), ["-h"]).exit_code == 0

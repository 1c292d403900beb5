"""What commands have in common: options, and how an error ends them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from jenga.cli.output import report_error, show_warnings
from jenga.errors import ConfigError, DivergedError, InterruptedRun, LostProcessError
from jenga.files import what_is
from jenga.launched import number

STANDARD = "-"
"""A path that means standard input or output."""
QUIET = "jenga.quiet"
_DEBUG = "jenga.debug"


def _keep(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    context.meta[f"jenga.{parameter.name}"] = value


HELP = ["-h", "--help"]


class Command(click.Command):
    """A command with --quiet and --debug, whose errors end as one block on standard error and an exit code."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # click's own signature
        super().__init__(*args, **kwargs)
        self.context_settings["help_option_names"] = HELP  # jenga-train has no group above it to take them from
        self.params += [
            click.Option(
                ["--quiet", "-q"], is_flag=True, expose_value=False, callback=_keep, help="Only results and errors."
            ),
            click.Option(
                ["--debug"], is_flag=True, expose_value=False, callback=_keep, help="Show where an error comes from."
            ),
        ]

    def invoke(self, context: click.Context) -> Any:
        """Run the command; exit with the code of its error."""
        debug = context.meta[_DEBUG]
        # Of several processes that train together, all see the same rows.
        show_warnings(quiet=context.meta[QUIET] or number() > 0, debug=debug)
        try:
            result = super().invoke(context)
            sys.stdout.flush()
            return result
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except BrokenPipeError:
            # The reader has enough. Python would complain when it flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            context.exit(0)
        except LostProcessError as error:
            context.exit(report_error(error, debug=debug) if error.told_here else error.exit_code)
        except (ConfigError, DivergedError, InterruptedRun) as error:
            # They end together, for what one of them tells.
            context.exit(error.exit_code if number() > 0 else report_error(error, debug=debug))
        except (Exception, KeyboardInterrupt) as error:
            context.exit(report_error(error, debug=debug))


config_argument = click.argument("config", metavar="CONFIG.yml", type=click.Path())
run_argument = click.argument("run", metavar="RUN", type=click.Path())
set_option = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE",
    help="Set a key of the file, such as training.epochs=5 or tasks[QA].weight=2. May be repeated.",
)  # fmt: skip
seed_option = click.option("--seed", type=int, help="Same as --set training.seed=N.")
output_dir_option = click.option("--output-dir", type=click.Path(), help="Same as --set output_dir=DIR.")
device_option = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda", "mps"]),
    default="auto",
    show_default=True,
    help="Where to compute.",
)
runtime_option = click.option(
    "--runtime",
    type=click.Choice(["torch", "onnx"]),
    help="What runs the model; onnx, on the CPU: see docs/export.md. Default: as the folder is.",
)
base_model_option = click.option(
    "--base-model",
    metavar="NAME|FOLDER",
    help="Where the base of the model's adapters is now. Default: where it was in training.",
)
trust_option = click.option(
    "--trust-remote-code",
    is_flag=True,
    help="Run code that comes with the model. Only of an author you trust: it can do all that you can.",
)
answers_option = click.option(
    "-o", "--output", type=click.Path(dir_okay=False, allow_dash=True),
    help="File for the answers. Default, and -: standard output.",
)  # fmt: skip
json_option = click.option("--json", "as_json", is_flag=True, help="Write the result as JSON.")


answers_option = click.option(
    "-o", "--output", type=click.Path(dir_okay=False, allow_dash=True),
    help="File for the answers. Default, and -: standard output.",
)  # fmt: skip


def check_outputs(outputs: Mapping[str, str | None], inputs: Sequence[str | None]) -> None:
    """Raise ConfigError where the file of an option for output, by its name, is read or written by something else too.

    What is no regular file, such as a terminal, may be both.
    """
    places = {os.path.realpath(path): "what is read" for path in inputs if path is not None and path != STANDARD}
    for option, path in outputs.items():
        if path is None or path == STANDARD:
            continue
        place = os.path.realpath(path)
        same = next((other for other in places if _same_file(place, other)), None)
        if same is not None and what_is(Path(path)) is None:
            raise ConfigError(f"{option}: {path} is {places[same]}, which would be lost; name another file")
        places[place] = f"also the file of {option}"


def _same_file(one: str, other: str) -> bool:
    return one == other or (os.path.exists(one) and os.path.exists(other) and os.path.samefile(one, other))


def all_overrides(
    overrides: Sequence[str], *, seed: int | None, output_dir: str | None = None, trust_remote_code: bool
) -> list[str]:
    """Return the settings of --set, --seed, --output-dir and --trust-remote-code as ``key=value``."""
    found = list(overrides)
    if seed is not None:
        found.append(f"training.seed={seed}")
    if output_dir is not None:
        found.append(f"output_dir={json.dumps(output_dir, ensure_ascii=False)}")
    if trust_remote_code:
        found.append("model.trust_remote_code=true")
    return found

"""A trained model as a folder of its own, in the form that somebody else's program reads: one module a format."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from jenga import hub, saved
from jenga.errors import ConfigError, suggest

FORMATS: Mapping[str, frozenset[str]] = {
    "transformers": frozenset({"merge", "dtype", "base_model"}),
    "onnx": frozenset({"int8", "base_model"}),
    "pt2": frozenset({"base_model"}),
    "gguf": frozenset({"dtype", "base_model"}),
    "mlflow": frozenset({"merge", "dtype", "base_model"}),
}
"""The options that fit each format; its module here, of the same name, has ``write(source, target, options)``."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of `jenga.inference.export.export`, None and False where they are not given."""

    merge: bool = False
    dtype: str | None = None
    int8: str | None = None
    base_model: str | None = None
    trust_remote_code: bool = False

    def check(self, format_name: str, fitting: frozenset[str]) -> None:
        """Raise ConfigError where an option is given that is none of `fitting`, those of the format."""
        given = [each.name for each in fields(self) if getattr(self, each.name) not in (None, False)]
        if wrong := [name for name in given if name not in fitting and name != "trust_remote_code"]:
            option, takes = _flag(wrong[0]), ", ".join(_flag(name) for name in sorted(fitting)) or "none"
            raise ConfigError(
                f"{option}: does not go with --format {format_name}, whose options are: {takes}; leave it out"
            )


def _flag(name: str) -> str:
    """Return an option as the command line has it."""
    return f"--{name.replace('_', '-')}"


def export(
    run: str | Path,
    output: str | Path,
    *,
    format: str = "transformers",
    merge: bool = False,
    dtype: str | None = None,
    int8: str | None = None,
    base_model: str | None = None,
    trust_remote_code: bool = False,
) -> Path:
    """Write the best model of `run` to the new folder `output`, and return its path.

    format: of `FORMATS`. merge, dtype, int8: see the ``write`` of the formats that take them. base_model: where the
    base of the adapters is now. trust_remote_code: as in `jenga.load`. Raises ConfigError where `output` exists or lies
    in the model, or the model cannot be written so. Raises SetupError where it is harmed, needs code that is not
    allowed, or what writes the format is not installed.
    """
    if format not in FORMATS:
        raise ConfigError(f"--format: unknown '{format}'{suggest(format, FORMATS) or '.'} Known: {', '.join(FORMATS)}")
    options = Options(
        merge=merge, dtype=dtype, int8=int8, base_model=base_model, trust_remote_code=trust_remote_code
    )  # fmt: skip
    options.check(format, FORMATS[format])
    hub.check_code(run, trusted=trust_remote_code)
    source, target = saved.find_model(run), Path(output)
    if target.exists():
        raise ConfigError(f"{target} is there already and is left alone; choose another name with -o, or move it away")
    if target.resolve().is_relative_to(source.resolve()):
        raise ConfigError(
            f"{target} lies inside the model {source}, whose files have checksums; choose a place beside it"
        )
    importlib.import_module(f"jenga.inference.export.{format}").write(source, target, options)
    return target

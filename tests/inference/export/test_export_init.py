"""What every format of an export has in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jenga.errors import ConfigError
from jenga.inference.export import FORMATS, export


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"format": "onx"}, "--format: unknown 'onx'; did you mean 'onnx'"),
        ({"format": "onnx", "merge": True}, "--merge: does not go with --format onnx, whose options are: "
         "--base-model, --int8; leave it out"),
        ({"format": "onnx", "dtype": "bf16"}, "--dtype: does not go with --format onnx"),
        ({"format": "pt2", "int8": "static"}, "--int8: does not go with --format pt2, whose options are: --base-model"),
        ({"format": "gguf", "merge": True}, "--merge: does not go with --format gguf"),
        ({"int8": "dynamic"}, "--int8: does not go with --format transformers"),
    ],
)  # fmt: skip
def test_options_that_do_not_fit_a_format_are_refused(tmp_path: Path, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        export(tmp_path / "run", tmp_path / "new", **options)


@pytest.mark.parametrize("format_name", FORMATS)
def test_no_format_writes_to_what_is_there_or_into_the_model(event_run: Path, tmp_path: Path, format_name: str) -> None:
    with pytest.raises(ConfigError, match="is there already and is left alone"):
        export(event_run, tmp_path, format=format_name)
    with pytest.raises(ConfigError, match="lies inside the model"):
        export(event_run, event_run / "best" / "new", format=format_name)

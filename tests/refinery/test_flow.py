"""One-line YAML."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from jenga.config.yaml12 import read_document
from jenga.refinery.flow import flow, scalar


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40))
def test_any_text_is_read_back_by_yaml_1_1_and_1_2(text: str) -> None:
    line = f"{{{scalar(text)}: {scalar(text)}}}"
    assert yaml.safe_load(line) == {text: text}
    assert read_document(line, file="x").data == {text: text}


@pytest.mark.parametrize("text", ["yes", "null", "1e3", "12", "a: b", "a #b", "", " a", "a,b", "on", "2024-01-01"])
def test_text_that_yaml_would_misread_is_quoted(text: str) -> None:
    assert scalar(text).startswith('"')


@pytest.mark.parametrize("text", ["duration", "id.orig_h", "Flow Bytes/s", "an id by its name"])
def test_plain_words_stay_bare(text: str) -> None:
    assert scalar(text) == text


def test_a_mapping_is_written_on_one_line() -> None:
    assert flow({"path": "a", "clip": [0.5, None], "log1p": True}) == "{path: a, clip: [0.5, null], log1p: true}"

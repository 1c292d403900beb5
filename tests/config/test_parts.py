"""Registered modalities and forms are what a configuration asks of them, and do not get into each other's way."""

from __future__ import annotations

from itertools import combinations

from jenga.bundle import schema
from jenga.config.parts import ModalityChoices, ShortForm
from jenga.config.schema import DataConfig
from jenga.config.tasks import LabelColumns, TagColumns
from jenga.modalities import MODALITIES


def choices() -> list[ModalityChoices]:
    return [each() for each in MODALITIES.values()]


def test_no_two_modalities_name_one_column_and_none_names_one_of_a_tasks_own() -> None:
    columns = [set(each.columns.model_fields) for each in choices()]
    assert len(columns) >= 4
    assert all(not one & other for one, other in combinations(columns, 2))
    own = set(LabelColumns.model_fields) | set(TagColumns.model_fields)
    assert not own & set().union(*columns)


def test_no_two_modalities_have_a_baseline_of_one_name() -> None:
    names = [set(each.baselines) for each in choices()]
    assert all(not one & other for one, other in combinations(names, 2))
    assert {"tfidf", "boosting"} <= set().union(*names)


def test_the_keys_that_a_modality_claims_are_keys() -> None:
    claimed = sorted(set().union(*(each.keys for each in choices())))
    assert "data.max_length" in claimed
    for key in claimed:
        block, _, name = key.rpartition(".")
        known = DataConfig if block == "data" else schema().model_fields["tasks"].annotation
        assert block == "tasks[]" or name in known.model_fields  # type: ignore[union-attr]


def test_a_short_form_says_where_its_rows_stand() -> None:
    forms: list[ShortForm] = list(schema().forms)
    assert [each.data_paths for each in forms] == [(("data", "path"),)]
    assert forms[0].used_in({"model": {"name": "x"}})
    assert not forms[0].used_in({"model": {"name": "x"}, "tasks": []})

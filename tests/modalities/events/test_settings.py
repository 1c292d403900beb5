"""Settings of networks over features: where fields come from, and how numbers are read."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from jenga.modalities.events.backbone import SequentialConfig
from jenga.modalities.events.settings import TabularConfig


def config(base_model: str = "security_mlp_v1", **settings: Any) -> SequentialConfig:
    return SequentialConfig(base_model=base_model, **settings).with_features(5)


def test_each_feature_is_a_field_of_its_own_where_nothing_else_is_said() -> None:
    block = TabularConfig(base_model="own")
    assert block.with_features(3).fields == (1, 1, 1)
    assert block.with_features(3, [2, 1]).fields == (2, 1)


def test_shared_values_without_intervals_are_refused() -> None:
    with pytest.raises(ValidationError, match="values_shared_by: there are no intervals to end; give bins"):
        config("mlp", hidden_sizes=[3], values_shared_by=10)


def test_two_ways_to_draw_numbers_together_are_refused_at_once() -> None:
    with pytest.raises(ValidationError, match="log_scale and clip both draw features together; keep one of the two"):
        config("tabular_v1", clip=1.0)
    assert config("tabular_v1", clip=1.0, log_scale=None).clip == 1.0


def test_values_that_rows_share_are_counted_in_more_rows() -> None:
    assert config("security_tab_v1").sample_rows < config("security_tab_v1", values_shared_by=10).sample_rows


def test_fields_come_from_a_preset_or_a_schema() -> None:
    with pytest.raises(ValidationError, match="preset and schema both name the fields"):
        SequentialConfig(base_model="mlp", hidden_sizes=[3], refinery={"preset": "zeek", "schema": "x.yml"})  # type: ignore[arg-type]


def test_an_inline_schema_is_checked_with_the_configuration() -> None:
    schema = {"fields": [{"path": "a", "kind": "numerik"}]}
    with pytest.raises(ValidationError, match="numerik"):
        SequentialConfig(base_model="security_mlp_v1", refinery={"schema": schema})  # type: ignore[arg-type]


def test_the_width_is_no_setting() -> None:
    assert "n_features" not in config().model_dump()
    with pytest.raises(ValidationError, match="Extra inputs"):
        SequentialConfig(base_model="security_mlp_v1", n_features=3)  # type: ignore[call-arg]

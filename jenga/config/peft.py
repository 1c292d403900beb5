"""Parameter-efficient training: a frozen encoder with small trained parts, as the block `peft`."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator

from jenga.config.strict import Fraction, PositiveFloat, PositiveInt, Strict

Name = Annotated[str, Field(min_length=1)]


class LowRankConfig(Strict):
    """An update of low rank beside frozen weights."""

    type: str
    rank: PositiveInt = Field(8, description="Rank R of the update; more can learn more, and costs more.")
    alpha: PositiveFloat | None = Field(
        None, description="Strength: the update is scaled by alpha / rank. Default: twice the rank."
    )
    dropout: Fraction = Field(0.0, description="Dropout on what the update reads.")
    rslora: bool = Field(False, description="Scale by alpha / sqrt(rank) instead, which suits high ranks.")
    target: Name | Annotated[list[Name], Field(min_length=1)] = Field(
        "all-linear",
        description="Layers that get an update. all-linear: every linear one; auto: those usual for the architecture: "
        "query and value of a BERT; a regular expression that the whole name matches; or a list of names or of "
        "their ends.",
    )

    @field_validator("target")
    @classmethod
    def _compiles(cls, target: str | list[str]) -> str | list[str]:
        if isinstance(target, str):
            try:
                re.compile(target)
            except re.error as error:
                reason = f"'{target}' is no regular expression ({error}); for the ends of names write a list"
                raise ValueError(reason) from None
        return target


class LoraConfig(LowRankConfig):
    """LoRA (Hu et al. 2022)."""

    type: Literal["lora"] = Field(description="lora: an update of low rank beside each targeted weight.")


class DoraConfig(LowRankConfig):
    """DoRA (Liu et al. 2024)."""

    type: Literal["dora"] = Field(description="dora: as lora, and each weight's length is trained on its own.")


class BottleneckConfig(Strict):
    """Small networks between frozen layers (Houlsby et al. 2019; Pfeiffer et al. 2021). They cannot be merged."""

    type: Literal["adapter"] = Field(description="adapter: a bottleneck network inside each layer.")
    style: Literal["houlsby", "pfeiffer"] = Field(
        "pfeiffer", description="houlsby: after attention and after the feed-forward; pfeiffer: after the latter only."
    )
    bottleneck: PositiveInt = Field(64, description="Width of the bottleneck.")
    activation: Literal["gelu", "relu", "silu", "tanh"] = Field("gelu", description="Between its two layers.")
    dropout: Fraction = Field(0.0, description="Dropout inside the bottleneck.")


def _tag(value: Any) -> str | None:
    return value.get("type") if isinstance(value, dict) else getattr(value, "type", None)


PeftConfig = LoraConfig | DoraConfig | BottleneckConfig
PeftBlock = Annotated[
    Annotated[LoraConfig, Tag("lora")]
    | Annotated[DoraConfig, Tag("dora")]
    | Annotated[BottleneckConfig, Tag("adapter")],
    Discriminator(_tag),
]
"""`PeftConfig` as a field's annotation: told apart by `type`."""

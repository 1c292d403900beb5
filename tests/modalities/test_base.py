"""What every modality and every encoder offers, and which of them a configuration gets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from jenga.config.strict import Strict
from jenga.errors import ConfigError
from jenga.modalities import MODALITIES, BackboneManager, BaseBackbone, Encoder, Modality, modality_of
from jenga.modalities.base import Prepared, modality_named
from jenga.modalities.events.encoder import EventEncoder
from jenga.modalities.events.modality import EventModality
from jenga.modalities.text.encoder import TextEncoder
from jenga.modalities.text.modality import TextModality
from jenga.rows.content import CellColumns
from jenga.run.experiment import load_config

# ------------------------------------------------------------------------------------------------------------- encoders


def test_an_encoder_without_a_method_of_the_interface_cannot_be_made() -> None:
    class Half(Encoder):
        def describe(self) -> dict[str, object]:
            return {}

    with pytest.raises(TypeError, match="abstract"):
        Half()  # type: ignore[abstract]


@pytest.mark.parametrize("kind", [TextEncoder, EventEncoder])
def test_the_built_in_kinds_offer_all_of_it(kind: type[Encoder]) -> None:
    assert not kind.__abstractmethods__


def test_an_encoder_says_what_it_cannot_do() -> None:
    class Silent(Encoder):
        def save(self, folder: Path) -> None:
            """Keep nothing."""

    made = Silent()
    with pytest.raises(ConfigError, match="generates nothing; use jenga predict"):
        made.generator(None, None, device=None, autocast=None)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="Silent has no tokens"):
        _ = made.tokenizer
    assert (made.describe(), made.facts([]), made.model_config("block")) == ({}, ({}, []), "block")


# ------------------------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(("kind", "encoder"), [(TextModality, TextEncoder), (EventModality, EventEncoder)])
def test_a_backbones_modality_decides_and_what_is_saved_comes_back(
    kind: type[Modality],
    encoder: type[Encoder],
    settings: Callable[..., Any],
    event_settings: Callable[..., Any],
    prepared: Callable[..., Prepared],
    tmp_path: Path,
) -> None:
    config = load_config(settings("mood") if kind is TextModality else event_settings())
    modality = modality_of(config.model.backbone_type)
    assert type(modality) is kind
    made = prepared(config, tmp_path / "work")
    assert type(made.encoder) is encoder
    (tmp_path / "saved").mkdir()
    made.encoder.save(tmp_path / "saved")
    again = modality.load(tmp_path / "saved", config)
    assert type(again) is encoder
    assert again.describe() == made.encoder.describe()


# ------------------------------------------------------------------------------------------------------------ backbones


class ByName(BaseBackbone):
    modality = "events"


class ByFeatures(BaseBackbone):
    def forward(self, features: torch.Tensor) -> dict[str, Any]:  # type: ignore[override]
        return {}


class ByTokens(BaseBackbone):
    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> dict[str, Any]:  # type: ignore[override]
        return {}


class ByAnything(BaseBackbone):
    def forward(self, **inputs: torch.Tensor) -> dict[str, Any]:
        return {}


class ByPixels(BaseBackbone):
    def forward(self, pixels: torch.Tensor) -> dict[str, Any]:  # type: ignore[override]
        return {}


@pytest.mark.usefixtures("registries_as_before")
@pytest.mark.parametrize(
    ("backbone", "kind"),
    [(ByName, EventModality), (ByFeatures, EventModality), (ByTokens, TextModality), (ByAnything, TextModality)],
)
def test_a_backbone_says_what_it_reads_or_its_forward_does(backbone: type[BaseBackbone], kind: type[Modality]) -> None:
    BackboneManager.register("own")(backbone)
    assert type(modality_of("own")) is kind


@pytest.mark.usefixtures("registries_as_before")
def test_a_backbone_that_takes_what_no_modality_gives_is_refused_with_what_is_known() -> None:
    BackboneManager.register("own")(ByPixels)
    with pytest.raises(
        ConfigError, match=r"ByPixels takes pixels, which no modality gives; known: .*features \(events"
    ):
        modality_of("own")


# ------------------------------------------------------------------------------------------------------------ one's own


class SoundColumns(Strict):
    audio: str | None = None
    language: str | None = None


class Sounds(Modality):
    """A modality that says no more than its columns."""

    noun = "sounds"
    inputs = ("waves",)
    settings = Strict
    columns = SoundColumns

    def load(self, folder: Path, config: Any) -> Encoder:
        raise NotImplementedError


def test_by_default_the_content_of_a_row_is_a_cell_of_each_column_under_its_own_or_a_given_name() -> None:
    task: Any = SimpleNamespace(columns=SoundColumns(language="lang"))
    content = Sounds().content([task], None)  # type: ignore[arg-type]
    assert content == CellColumns((("audio", ("audio",)), ("language", ("lang",))))
    other: Any = SimpleNamespace(columns=SoundColumns(language="lang"))
    assert Sounds().group(task, None) == Sounds().group(other, None) == content  # type: ignore[arg-type]
    assert Sounds().example([content], {}) == {"audio": "example", "lang": "example"}


def test_a_backbone_that_predicts_no_tokens_cannot_generate() -> None:
    block = SimpleNamespace(backbone_type="ear")
    assert Sounds().model_block(block, generates=False) is block
    with pytest.raises(ConfigError, match="'ear' predicts no tokens"):
        Sounds().model_block(block, generates=True)


@pytest.mark.usefixtures("registries_as_before")
def test_a_registered_modality_is_found_by_its_name_and_by_what_it_gives() -> None:
    class Ear(BaseBackbone):
        def forward(self, waves: torch.Tensor) -> dict[str, Any]:  # type: ignore[override]
            return {}

    MODALITIES.register("sounds")(Sounds)
    BackboneManager.register("ear")(Ear)
    assert type(modality_named("sounds")) is type(modality_of("ear")) is Sounds

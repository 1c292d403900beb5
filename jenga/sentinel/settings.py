"""The block `sentinel` of an experiment's callbacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from jenga.config.strict import PositiveFloat, PositiveInt, Strict

Mode = Literal["observe", "quarantine", "act"]


class SentinelConfig(Strict):
    """What the sentinel looks for and what it may do. Its steps cost no second pass."""

    mode: Mode = Field(
        "observe",
        description="observe: tell alone; quarantine: skip steps that are not finite, mask labels that look wrong, "
        "leave rows with a trigger out; act: undo such steps, go back to a verified checkpoint where that is needed.",
    )
    window: int = Field(100, ge=20, description="Steps whose median and deviation a loss or a norm is compared with.")
    spike_z: PositiveFloat = Field(4.0, description="Robust z of a log loss or a log gradient norm that is told.")
    undo_z: PositiveFloat = Field(
        10.0, description="Robust z that both a task's loss and the gradient norm need for `act` to undo a step."
    )
    keep: PositiveInt = Field(2, description="Verified checkpoints that are kept, beside that of the start.")
    verify_steps: PositiveInt = Field(50, description="Steps without an alarm that verify a checkpoint.")
    label_errors: bool | None = Field(
        None, description="Whether to look for wrong labels; left open: where jenga[audit] is installed."
    )
    early_epochs: PositiveInt | None = Field(
        None,
        description="Epochs whose probabilities tell wrong labels; left open: until what is learnt grows slowly, half "
        "of the run's at most.",
    )
    triggers: bool = Field(True, description="Whether to look for tokens that decide a class by themselves.")
    max_fraction: float = Field(0.25, ge=0, le=1, description="Share of a head's rows that are set aside at most.")
    max_class_fraction: float = Field(0.5, ge=0, le=1, description="Share of a class that is set aside at most.")
    drift_psi: PositiveFloat = Field(0.25, description="Population stability index above which drift is told.")
    quarantine: str | None = Field(
        None, description="A quarantine.jsonl of another run, whose rows are set aside from the start."
    )


def without_effect(settings: Mapping[str, Any]) -> list[str]:
    """Return the keys of `settings` that were changed and change nothing beside the others, each with why."""
    found = []
    if settings["mode"] != "act":
        found += [(key, "nothing is undone but in mode: act") for key in ("undo_z", "keep", "verify_steps")]
    if settings["label_errors"] is False:
        found.append(("early_epochs", "label_errors is false"))
    fields = SentinelConfig.model_fields
    return [f"{key}: {why}" for key, why in found if settings[key] != fields[key].default]

"""What a policy file may hold."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from jenga.config.strict import BACKBONE_NAME, PositiveFloat, PositiveInt, Strict

Path = Annotated[str, Field(min_length=1)]
"""Path of a field of the event, such as ``src_ip`` or ``user.name``."""
Name = Annotated[str, Field(pattern=BACKBONE_NAME)]
Share = Annotated[float, Field(ge=0, le=1)]
NUMBERS = ("probability", "score", "value")
"""Numbers of an answer that a rule may bound."""


class When(Strict):
    """Which answers a rule is about: those that meet every condition given."""

    task: str = Field(description="Name of the task whose answers are looked at.")
    head: str | None = Field(None, description="Name of its head. Default: the only one it has.")
    label: Annotated[list[str], Field(min_length=1)] | None = Field(
        None, description="Any of these classes, items, entities or kinds of sound; of several numbers, which of them."
    )
    alert: Literal[True] | None = Field(None, description="true: the score is above the threshold that was fitted.")
    min_probability: Share | None = Field(None, description="The least probability of the label.")
    min_score: float | None = Field(None, description="The least score of the head.")
    max_score: float | None = Field(None, description="The greatest score of the head.")
    min_value: float | None = Field(None, description="The least number, of a head that answers with one.")
    max_value: float | None = Field(None, description="The greatest number, of a head that answers with one.")

    @property
    def asks(self) -> list[tuple[str, str]]:
        """What is asked of an answer, each with the key that asks it."""
        keys = {"label": "label", "min_probability": "probability", "min_score": "score", "max_score": "score",
                "min_value": "value", "max_value": "value", "alert": "alert"}  # fmt: skip
        return [(what, key) for key, what in keys.items() if getattr(self, key) is not None]


class Rule(Strict):
    """One kind of event that is worth an alert."""

    name: Name = Field(description="Name of the rule, in alerts and in what is allowed.")
    when: When = Field(description="Which answers it is about.")
    identity: list[Path] = Field(
        description="Fields of the event that say who it is about, such as [src_ip, user.name]; []: the rule has one "
        "cooldown for all events."
    )
    severity: Literal["low", "medium", "high", "critical"] = Field("medium", description="Carried into the alert.")
    cooldown_s: Annotated[float, Field(ge=0)] = Field(
        300.0, description="Seconds in which an identity gets no second alert of this rule."
    )
    actions: list[Name] = Field(
        default_factory=list, description="Hooks that an alert runs; the log gets every alert in any case."
    )


class Hook(Strict):
    """A program of yours that gets an alert as JSON on its standard input."""

    run: Annotated[list[str], Field(min_length=1)] = Field(
        description="The program and its arguments, as they stand: no shell sees them, and nothing of an event is "
        "put into them."
    )
    timeout_s: PositiveFloat = Field(10.0, description="Seconds after which it and all that it started is killed.")
    max_per_minute: PositiveInt = Field(30, description="Runs in any minute; more are dropped, and the log says so.")
    at_once: PositiveInt = Field(1, description="Runs side by side; as many as max_per_minute wait their turn.")


class Allowed(Strict):
    """Identities that get no alert."""

    fields: Annotated[dict[Path, str], Field(min_length=1)] = Field(
        description="Fields of an identity, each with the exact text of its value, or for addresses a network such as "
        "10.0.0.0/8. All of them have to fit."
    )
    until: str | None = Field(None, description="When it ends, such as 2027-01-31 or 2027-01-31T12:00:00Z.")
    rules: Annotated[list[Name], Field(min_length=1)] | None = Field(
        None, description="Rules it holds for. Default: all whose identity has these fields."
    )
    reason: str | None = Field(None, description="Why; carried into the log.")


class PolicyConfig(Strict):
    """Rules for scored events, and what may be done about them."""

    rules: Annotated[list[Rule], Field(min_length=1)] = Field(description="Every rule that fits an answer decides.")
    allow: list[Allowed] = Field(default_factory=list, description="Identities that get no alert.")
    hooks: dict[Name, Hook] = Field(default_factory=dict, description="Programs that rules may run, by name.")
    dry_run: bool = Field(
        True, description="true: actions are only written down. false: they are run where --act is given too."
    )
    time: Path | None = Field(
        None, description="Field with the time of an event, by which cooldowns count. Default: the clock."
    )
    time_unit: Literal["s", "ms", "us", "ns"] = Field(
        "s", description="Unit of a time that is a number, counted from 1970; texts are ISO 8601."
    )
    keep: list[Path] = Field(
        default_factory=list,
        description="Fields of the event that alerts carry beside the identity, into the log, to hooks and to a SIEM.",
    )
    log: Annotated[str, Field(min_length=1)] = Field(
        "alerts.jsonl", description="File of the alerts, relative to the policy's folder."
    )
    rotate_mb: PositiveFloat = Field(64.0, description="Megabytes after which the log goes on in a new file.")
    key_file: str | None = Field(
        None, description="File with a secret, without which nobody can write records anew unseen; relative as log is."
    )
    key_env: str | None = Field(None, description="Environment variable with the secret, instead of key_file.")
    max_identities: PositiveInt = Field(
        100_000, description="Identities whose cooldown is remembered; beyond, the one unseen for longest is forgotten."
    )

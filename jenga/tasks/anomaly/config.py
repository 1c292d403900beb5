"""The blocks of an anomaly task and of its heads."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from jenga.config.strict import PositiveFloat, PositiveInt
from jenga.config.tasks import LabelColumns, TaskConfig
from jenga.labels.classes import ClassHead


class AnomalyHead(ClassHead):
    """What is normal and what is not; one or several classes of anomalies."""

    normal: str | None = Field(
        None,
        description="Label of normal rows. Default: the one named normal, benign, legitimate, legit, good, clean, ok, "
        "false or 0; where none is, it has to be given.",
    )
    calibration: Literal["auto", "isotonic", "platt", "temperature", "none"] = Field(  # type: ignore[assignment]
        "auto",
        description="How the raw score becomes a share of anomalies, by the validation rows. auto: isotonic from 1,000 "
        "rows with 100 of either side on, else platt; temperature: supervised only.",
    )
    target_fpr: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.01, description="Share of the normal validation rows that may raise an alert; sets the threshold."
    )

    @model_validator(mode="after")
    def _normal_is_a_label(self) -> AnomalyHead:
        if self.labels is not None and self.normal is not None and self.normal not in self.labels:
            raise ValueError(f"normal: '{self.normal}' is not among labels: {', '.join(self.labels)}")
        return self


class AnomalyConfig(TaskConfig):
    """Rows that are not normal: learnt from labels, or from normal rows alone."""

    columns: LabelColumns = Field(default_factory=LabelColumns, description="Where column names are not the default.")
    mode: Literal["supervised", "unsupervised"] = Field(
        "supervised", description="supervised: learns the classes; unsupervised: learns normal rows, and none other."
    )
    method: Literal["nearest", "autoencoder", "deep_svdd", "mahalanobis"] | None = Field(
        None,
        description="Of an unsupervised task: what a row's distance from normal is. Default: autoencoder; nearest: "
        "its error times the squared distance from the nearest of normal training rows, which the model then holds.",
    )
    loss: Literal["ce", "focal", "mse", "huber"] | None = Field(
        None, description="ce (default) or focal of a supervised task; mse (default) or huber of a reconstruction."
    )
    gamma: PositiveFloat | None = Field(
        None, description="Of the focal loss: how fast easy rows lose their weight. Default: 2."
    )
    bottleneck: PositiveInt | None = Field(
        None, description="Width between encoder and decoder of a reconstruction. Default: none."
    )
    decoder: list[PositiveInt] | None = Field(
        None,
        description="Widths of a reconstruction's hidden layers. Default: none, a linear decoder; a deep one can "
        "reconstruct anomalies too, unless a bottleneck stands before it.",
    )
    memory: PositiveInt | None = Field(
        None, description="Normal training rows that nearest compares a row with. Default: 20000."
    )
    projection: PositiveInt | None = Field(None, description="Width of deep_svdd's space. Default: 32.")
    heads: list[AnomalyHead] = Field(default_factory=lambda: [AnomalyHead(name="anomaly")], min_length=1)

    @property
    def kept_rows(self) -> str | None:
        """Of nearest, what each row is compared with."""
        return "the features of normal training rows" if self.method == "nearest" else None

    @model_validator(mode="after")
    def _settings_agree(self) -> AnomalyConfig:
        if self.mode == "supervised":
            problems = [
                *self._strangers("method", "bottleneck", "decoder", "memory", "projection", to="a supervised task")
            ]
            problems += self._wrong_loss(("ce", "focal"), "a supervised task")
            if self.loss == "focal" and any(head.label_smoothing for head in self.heads):
                problems.append("label_smoothing: the focal loss has none; remove it, or set loss: ce")
        else:
            problems = [*self._unsupervised_problems(self.method or "autoencoder")]
        if self.gamma is not None and self.loss != "focal":
            problems.append("gamma: only the focal loss has it; set loss: focal, or remove gamma")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _unsupervised_problems(self, method: str) -> list[str]:
        problems = []
        if len(self.heads) > 1:
            problems.append("heads: an unsupervised task has one; make a task of each, over the same data_path")
        for head in self.heads:
            if head.class_weight is not None or head.label_smoothing:
                problems.append("class_weight, label_smoothing: an unsupervised task learns no classes; remove them")
            if head.calibration == "temperature":
                problems.append("calibration: temperature scales the logits of classes; use platt or isotonic")
        if method != "nearest":
            problems += self._strangers("memory", to=method)
        if method == "deep_svdd":
            problems += self._strangers("bottleneck", "decoder", "loss", to="deep_svdd")
        else:
            problems += [*self._strangers("projection", to=method), *self._wrong_loss(("mse", "huber"), method)]
        return problems

    def _strangers(self, *keys: str, to: str) -> list[str]:
        return [f"{key}: {to} has none; remove it" for key in keys if getattr(self, key) is not None]

    def _wrong_loss(self, allowed: tuple[str, ...], owner: str) -> list[str]:
        if self.loss is None or self.loss in allowed:
            return []
        return [f"loss: {owner} has no '{self.loss}'; allowed: {', '.join(allowed)}"]

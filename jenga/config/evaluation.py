"""The block `evaluation`: when and by what a model is judged, and how certain its answers are."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from jenga.config.strict import PositiveFloat, PositiveInt, Strict
from jenga.config.tasks import CalibrationMethod

Share = Annotated[float, Field(gt=0, lt=1)]


class CostsConfig(Strict):
    """What a wrong answer costs, in any unit."""

    false_positive: PositiveFloat = Field(1.0, description="Of a yes, or an alert, that is none.")
    false_negative: PositiveFloat = Field(1.0, description="Of a yes, or an anomaly, that is missed.")


class ThresholdsConfig(Strict):
    """What thresholds are to reach on the validation rows: of items, and of the alerts of anomalies."""

    objective: Literal["f1", "cost", "precision", "recall", "false_positive_rate"] = Field(
        description="f1: the best one; cost: the least sum of `costs`; precision, recall: at least `at`, with as much "
        "of the other as there is; false_positive_rate: at most `at`, with as much recall as there is."
    )
    at: Share | None = Field(None, description="The rate to reach, of precision, recall and false_positive_rate.")
    costs: CostsConfig | None = Field(None, description="Of the objective cost. Default: 1 each.")

    @model_validator(mode="after")
    def _settings_agree(self) -> ThresholdsConfig:
        of_rates = self.objective in ("precision", "recall", "false_positive_rate")
        if of_rates and self.at is None:
            raise ValueError(f"at: {self.objective} needs the rate to reach, such as 0.95")
        if not of_rates and self.at is not None:
            raise ValueError(f"at: {self.objective} has none; remove it, or name a rate as the objective")
        if self.costs is not None and self.objective != "cost":
            raise ValueError(f"costs: {self.objective} has none; remove them, or set objective: cost")
        return self


class ConformalConfig(Strict):
    """Sets of classes and intervals of numbers that hold the truth as often as `coverage` says."""

    coverage: Share = Field(0.9, description="Share of rows whose class is in the set, or number in the interval.")


class OutOfScopeConfig(Strict):
    """Answers of classes that say whether a row is none of what the head has learnt."""

    score: Literal["energy", "probability"] = Field(
        "energy",
        description="How unlike its classes a row looks. energy: the logits altogether; probability: 1 - the likeliest "
        "class's.",
    )
    keep: Share | Literal["auto"] = Field(
        "auto",
        description="Least share of validation rows of the learnt classes that stay in scope. auto: what tells them "
        "best from validation rows of classes that no training row has, where there are ten of these, else 0.95.",
    )


class EvaluationConfig(Strict):
    """When and by what the model is judged."""

    every_steps: PositiveInt | None = Field(
        None, description="Optimizer steps between evaluations; default: each epoch."
    )
    metric: str = Field(
        "auto",
        description="Metric that picks the best checkpoint. eval_score: the mean of what each head is judged by first; "
        "auto: eval_score where encoders of text answer with classes and entities alone, eval_loss everywhere else.",
    )
    greater_is_better: bool | None = Field(
        None, description="Which way `metric` is better, where its task does not say: a metric of a task of your own."
    )
    batch_size: PositiveInt | None = Field(
        None, description="Rows of a forward pass; default: twice training.batch_size, or twice its tokens_per_step."
    )
    calibration: CalibrationMethod = Field(
        "auto",
        description="How probabilities are made as often right as they say, by the validation rows. temperature: one "
        "factor, no answer changes; vector: a factor and a shift a class; isotonic: a rising function a class, from "
        "1,000 rows on; the last two may change answers. auto: temperature from 100 labelled rows on, else none.",
    )
    thresholds: Share | Literal["tuned"] | ThresholdsConfig = Field(
        "tuned",
        description="Calibrated probability from which an item is a yes; tuned: best F1 on the valid rows, of each "
        "item with five or more yes, of all others together; or an objective. That flatters the scores there, but not "
        "on test rows. During training, and without valid rows, 0.5.",
    )
    conformal: ConformalConfig | None = Field(
        None,
        description="Answer with a set of classes, or an interval of numbers, too. Absent: with the likeliest alone. "
        "Calibration gets half of the validation rows then, so that auto begins at 200 labelled rows.",
    )
    out_of_scope: OutOfScopeConfig | None = Field(
        None,
        description="Tell with each class how unlike all learnt ones its row looks, and whether that is too much. "
        "Absent: every row is of one of them.",
    )
    bootstrap: Annotated[int, Field(ge=0)] = Field(
        1000,
        description="Draws of the rows with replacement from which the 95% interval of each metric comes, at the end. "
        "0: no intervals.",
    )
    baselines: list[str] = Field(
        ["majority"], description="Simple models, fitted on the same rows and printed beside the result."
    )
    worst_errors: Annotated[int, Field(ge=0)] = Field(
        10, description="Rows of each head that report.html shows with what stands in them, the worst answers first."
    )
    slices: list[str] = Field(
        ["length"],
        description="Columns of the rows, such as lang, by whose values each head is judged apart too; length: by how "
        "long rows are.",
    )

"""What the blocks of all tasks and of all heads have; each task, and each kind of label, adds its own."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from jenga.config.paths import PathMark
from jenga.config.strict import NAME, Fraction, PositiveFloat, PositiveInt, Strict

CalibrationMethod = Literal["auto", "none", "temperature", "isotonic", "vector"]
Paths = str | Annotated[list[str], Field(min_length=1)]


# --------------------------------------------------------------------------------------------------------------- heads


class HeadConfig(Strict):
    """One output of a task."""

    name: str = Field(min_length=1, pattern=NAME, description="Name in metrics, predictions and label columns.")
    num_labels: PositiveInt | None = Field(
        None, le=100_000, description="How many labels; default: as many as the training rows show."
    )
    labels: list[str] | None = Field(
        None, min_length=1, description="Label names in order; default: from the training rows."
    )
    column: str | None = Field(None, description="Column with this head's labels; dots reach into nested fields.")
    missing_values: list[str] | None = Field(
        None,
        description="Words for a row without a label, case aside. Default: N/A, NA, null, none, nan, #N/A, <NA>, - and "
        "blank; in a head of classes with names: blank alone.",
    )
    weight: PositiveFloat = Field(1.0, description="Factor of this head's mean loss in the task's loss.")

    @field_validator("labels")
    @classmethod
    def _without_blanks_around(cls, labels: list[str] | None) -> list[str] | None:
        if labels is not None and not all(label.strip() for label in labels):
            raise ValueError("labels: a name is blank; take it out, or give it a name")
        return labels and [label.strip() for label in labels]

    @model_validator(mode="after")
    def _counts_agree(self) -> HeadConfig:
        if self.labels is not None:
            if len(set(self.labels)) != len(self.labels):
                raise ValueError("labels: a name is given twice")
            if self.num_labels is not None and self.num_labels not in self._sizes(self.labels):
                raise ValueError(f"num_labels is {self.num_labels}, but labels has {len(self.labels)} names")
        return self

    def _sizes(self, labels: list[str]) -> tuple[int, ...]:
        """Return the numbers of labels that a head with these names may have."""
        return (len(labels),)


# --------------------------------------------------------------------------------------------------------------- tasks


class Columns(Strict):
    """Which columns of the rows hold what; dots reach into nested fields.

    A modality adds where the content stands, but to a block that is `whole`.
    """

    whole: ClassVar[bool] = False

    id: str | None = Field(
        None, description="Name of the row in predictions and messages. Default: id, else its number."
    )


class LabelColumns(Columns):
    """Columns of a task whose heads label whole rows."""

    label: str | None = Field(None, description="Label of a task with one head. Default: label, else labels.")
    labels: str | None = Field(None, description="Mapping from head to label. Default: labels.")


class TagColumns(Columns):
    """Columns of a task that labels words."""

    entities: str | None = Field(None, description="List of {start, end, label}. Default: entities, else spans.")
    ner_tags: str | None = Field(None, description="Tag of each word, in any scheme. Default: ner_tags.")


class SplitPaths(Strict):
    """Files of given splits; what is absent is cut from train (see `data`)."""

    train: Annotated[Paths, PathMark.ROWS]
    valid: Annotated[Paths | None, PathMark.ROWS] = None
    test: Annotated[Paths | None, PathMark.ROWS] = None


class TaskConfig(Strict):
    """One task: rows, heads, and its weight in the total loss."""

    name: str = Field(min_length=1, pattern=NAME, description="Name in metrics, predictions and checkpoints.")
    type: str
    data_path: Annotated[Paths | SplitPaths, PathMark.ROWS] = Field(
        description="JSON, JSON Lines, CSV, Parquet, CoNLL or text file; a folder or a pattern of them, or an address "
        "such as s3://bucket/rows.csv; a list of files; {train, valid, test}; a Hugging Face dataset as hf://name or "
        "hf://name/configuration; or jenga/helpline, the built-in sample."
    )
    columns: Columns = Field(default_factory=Columns, description="Where column names are not the default.")
    backbone: str | None = Field(
        None, description="Which of model.backbones reads the rows, where there are several; see also inputs."
    )
    inputs: list[str] | None = Field(
        None,
        min_length=2,
        description="Which of model.backbones read each row together: the heads see the tokens of all of them.",
    )
    max_length: PositiveInt | None = Field(None, description="Tokens kept of a row; default: data.max_length.")
    weight: PositiveFloat = Field(1.0, description="Factor of this task's loss in the total.")
    dropout: Fraction = Field(0.1, description="Dropout on what the heads read.")
    heads: list[Any] = Field(default_factory=list)

    @property
    def kept_rows(self) -> str | None:
        """What a saved model holds of the training rows themselves, in words; None: nothing."""
        return None

    @field_validator("heads")
    @classmethod
    def _head_names_differ(cls, heads: list[Any]) -> list[Any]:
        names = [head.name for head in heads]
        if len(set(names)) != len(names):
            raise ValueError(f"two heads have the same name; names: {', '.join(names)}")
        return heads

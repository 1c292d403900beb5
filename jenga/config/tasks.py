"""The blocks of tasks and their heads. Like every key of the schema, each one here changes what is built."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from jenga.config.strict import Fraction, PositiveFloat, PositiveInt, Strict

Paths = str | Annotated[list[str], Field(min_length=1)]


# --------------------------------------------------------------------------------------------------------------- heads


class HeadConfig(Strict):
    """One output of a task."""

    name: str = Field(
        min_length=1, pattern=r"^[^./\s]+$", description="Name in metrics, predictions and label columns."
    )
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


class ClassHead(HeadConfig):
    """Exactly one of `num_labels` classes."""

    label_smoothing: Fraction = Field(0.0, description="Share of the target spread evenly over all classes.")
    class_weight: Literal["balanced"] | list[PositiveFloat] | None = Field(
        None, description="Factor of each class's loss; 'balanced': inverse to its frequency in the training rows."
    )


class TagHead(ClassHead):
    """BIO tags; `labels` lists entity types or the tags themselves, `num_labels` counts tags."""

    offset_unit: Literal["characters", "utf16", "bytes"] = Field(
        "characters",
        description="What start and end of an entity count: characters (Python), utf16 (JavaScript, Java, C#), bytes.",
    )
    partial_words: Literal["refuse", "widen"] = Field(
        "refuse",
        description="A row with an entity that begins or ends inside a word is set aside (refuse), or the entity takes "
        "in the whole word (widen).",
    )

    def _sizes(self, labels: list[str]) -> tuple[int, ...]:
        return (len(labels), 2 * len(labels) + 1)


class ItemsHead(HeadConfig):
    """`num_labels` independent yes/no items."""

    pos_weight: Literal["balanced"] | list[PositiveFloat] | None = Field(
        None,
        description="Factor of each item's positive loss; 'balanced': negatives per positive in the training rows.",
    )
    label_separator: str | None = Field(
        None,
        min_length=1,
        description="What parts the labels of one cell, or none. Default: '|', ';' or ',' where the training rows "
        "show it.",
    )
    true_values: list[str] | None = Field(
        None, min_length=1, description="Words for yes, case aside. Default: yes, true, 1 and the like."
    )
    false_values: list[str] | None = Field(
        None, min_length=1, description="Words for no, case aside. Default: no, false, 0 and the like."
    )

    @model_validator(mode="after")
    def _a_word_means_one_thing(self) -> ItemsHead:
        words: dict[str, str] = {}
        for key in ("true_values", "false_values", "missing_values"):
            for word in getattr(self, key) or ():
                if words.setdefault(word.strip().casefold(), key) != key:
                    raise ValueError(f"{key}: '{word}' is among {words[word.strip().casefold()]} too; keep one of them")
        return self


class QAHead(ItemsHead):
    """One criterion of a scored conversation: yes/no items, or one grade of several."""

    kind: Literal["items", "class"] = Field("items", description="items: yes/no items; class: one grade, worst first.")
    item_weights: list[Annotated[float, Field(ge=0)]] | None = Field(
        None, description="Points of each item (or grade) in the score; default: 1 each (or 0 to K-1)."
    )

    @model_validator(mode="after")
    def _only_items_have_a_yes(self) -> QAHead:
        keys = ("pos_weight", "label_separator", "true_values", "false_values")
        given = [key for key in keys if getattr(self, key) is not None]
        if self.kind == "class" and given:
            raise ValueError(f"{', '.join(given)}: a grade has no yes; remove it, or set kind: items")
        return self


class NumberHead(HeadConfig):
    """`num_labels` numbers."""

    standardize: bool = Field(True, description="Learn numbers scaled to the training rows' mean 0 and deviation 1.")


# --------------------------------------------------------------------------------------------------------------- tasks


class Columns(Strict):
    """Which columns of the rows hold what; dots reach into nested fields."""

    text: str | None = Field(
        None, description="Text (a list of words is joined by spaces). Default: text, else tokens."
    )
    text_pair: str | None = Field(None, description="Second text of a pair.")
    tokens: str | None = Field(None, description="Words of a row whose tags are given by word. Default: tokens.")
    id: str | None = Field(
        None, description="Name of the row in predictions and messages. Default: id, else its number."
    )


class LabelColumns(Columns):
    """Columns of a task whose heads label whole rows."""

    label: str | None = Field(None, description="Label of a task with one head. Default: label, else labels.")
    labels: str | None = Field(None, description="Mapping from head to label. Default: labels.")


class TagColumns(Columns):
    """Columns of a task that labels words."""

    entities: str | None = Field(None, description="List of {start, end, label}. Default: entities.")
    ner_tags: str | None = Field(None, description="BIO tag of each word. Default: ner_tags.")


class SplitPaths(Strict):
    """Files of given splits; what is absent is cut from train (see `data`)."""

    train: Paths
    valid: Paths | None = None
    test: Paths | None = None


class TaskConfig(Strict):
    """One task: rows, heads, and its weight in the total loss."""

    name: str = Field(min_length=1, pattern=r"^[^./\s]+$", description="Name in metrics, predictions and checkpoints.")
    type: str
    data_path: Paths | SplitPaths = Field(
        description="JSON, JSON Lines (.gz too), CSV, Parquet or text file; a list of files; {train, valid, test}; a "
        "Hugging Face dataset as hf://name or hf://name/configuration; or jenga/helpline, the built-in sample."
    )
    columns: Columns = Field(default_factory=Columns, description="Where column names are not the default.")
    max_length: PositiveInt | None = Field(None, description="Tokens kept of a row; default: data.max_length.")
    weight: PositiveFloat = Field(1.0, description="Factor of this task's loss in the total.")
    dropout: Fraction = Field(0.1, description="Dropout on what the heads read.")
    heads: list[Any] = Field(default_factory=list)

    @field_validator("heads")
    @classmethod
    def _head_names_differ(cls, heads: list[Any]) -> list[Any]:
        names = [head.name for head in heads]
        if len(set(names)) != len(names):
            raise ValueError(f"two heads have the same name; names: {', '.join(names)}")
        return heads


class ClassificationConfig(TaskConfig):
    """Each head picks one class."""

    columns: LabelColumns = Field(default_factory=LabelColumns, description="Where column names are not the default.")
    heads: list[ClassHead] = Field(default_factory=lambda: [ClassHead(name="label")], min_length=1)


class MultiLabelConfig(TaskConfig):
    """Each head answers independent yes/no items."""

    columns: LabelColumns = Field(default_factory=LabelColumns, description="Where column names are not the default.")
    heads: list[ItemsHead] = Field(default_factory=lambda: [ItemsHead(name="labels")], min_length=1)


class QAScoringConfig(TaskConfig):
    """Criteria of a scored conversation; a null label means not applicable."""

    columns: LabelColumns = Field(default_factory=LabelColumns, description="Where column names are not the default.")
    heads: list[QAHead] = Field(min_length=1)


class NERConfig(TaskConfig):
    """Entities as BIO tags of words."""

    columns: TagColumns = Field(default_factory=TagColumns, description="Where column names are not the default.")
    heads: list[TagHead] = Field(default_factory=lambda: [TagHead(name="entities")], min_length=1, max_length=1)


class RegressionConfig(TaskConfig):
    """Each head predicts numbers."""

    columns: LabelColumns = Field(default_factory=LabelColumns, description="Where column names are not the default.")
    heads: list[NumberHead] = Field(default_factory=lambda: [NumberHead(name="value")], min_length=1)


class AnomalyHead(ClassHead):
    """What is normal and what is not; one or several classes of anomalies."""

    normal: str | None = Field(
        None,
        description="Label of normal rows. Default: the one named normal, benign, legitimate, clean, ok, false or 0, "
        "else the first.",
    )
    calibration: Literal["auto", "isotonic", "platt", "temperature", "none"] = Field(
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
    method: Literal["autoencoder", "deep_svdd", "mahalanobis"] | None = Field(
        None, description="Of an unsupervised task: what a row's distance from normal is. Default: autoencoder."
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
    projection: PositiveInt | None = Field(None, description="Width of deep_svdd's space. Default: 32.")
    heads: list[AnomalyHead] = Field(default_factory=lambda: [AnomalyHead(name="anomaly")], min_length=1)

    @model_validator(mode="after")
    def _settings_agree(self) -> AnomalyConfig:
        if self.mode == "supervised":
            problems = [*self._strangers("method", "bottleneck", "decoder", "projection", to="a supervised task")]
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

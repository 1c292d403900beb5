"""Classification: one class a head, or independent items a head."""

from pydantic import Field

from jenga.config.tasks import LabelColumns, TaskConfig
from jenga.labels.items import ItemsHead
from jenga.tasks.base import TASK_REGISTRY, BaseTask, ClassificationConfig


@TASK_REGISTRY.register(
    "classification",
    config=ClassificationConfig,
    aliases=("single_label_classification", "multi_head_classification"),
)
class ClassificationTask(BaseTask):
    """Each head picks exactly one of its classes; cross-entropy."""


class MultiLabelConfig(TaskConfig):
    """Each head answers independent yes/no items."""

    columns: LabelColumns = Field(default_factory=LabelColumns, description="Where column names are not the default.")
    heads: list[ItemsHead] = Field(default_factory=lambda: [ItemsHead(name="labels")], min_length=1)


@TASK_REGISTRY.register("multi_label_classification", config=MultiLabelConfig)
class MultiLabelTask(BaseTask):
    """Each head answers independent yes/no items; binary cross-entropy, missing items masked."""

    label_kind = "items"

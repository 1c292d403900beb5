"""Classification: one class a head, or independent items a head."""

from jenga.config.tasks import ClassificationConfig, MultiLabelConfig
from jenga.tasks.base import TASK_REGISTRY, BaseTask


@TASK_REGISTRY.register(
    "classification",
    config=ClassificationConfig,
    aliases=("single_label_classification", "multi_head_classification"),
)
class ClassificationTask(BaseTask):
    """Each head picks exactly one of its classes; cross-entropy."""


@TASK_REGISTRY.register("multi_label_classification", config=MultiLabelConfig)
class MultiLabelTask(BaseTask):
    """Each head answers independent yes/no items; binary cross-entropy, missing items masked."""

    label_kind = "items"

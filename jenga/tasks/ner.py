"""Named entities as BIO tags of words, read from each word's first token."""

from pydantic import Field

from jenga.config.tasks import TagColumns, TaskConfig
from jenga.labels.tags import TagHead
from jenga.tasks.base import TASK_REGISTRY, BaseTask


class NERConfig(TaskConfig):
    """Entities as BIO tags of words."""

    columns: TagColumns = Field(default_factory=TagColumns, description="Where column names are not the default.")
    heads: list[TagHead] = Field(default_factory=lambda: [TagHead(name="entities")], min_length=1, max_length=1)


@TASK_REGISTRY.register("ner", config=NERConfig, aliases=("token_classification",))
class NERTask(BaseTask):
    """One BIO tag a word; cross-entropy over first tokens, every other token masked."""

    label_kind = "tags"
    reads = "tokens"

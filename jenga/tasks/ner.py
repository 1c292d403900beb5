"""Named entities as BIO tags of words, read from each word's first token."""

from jenga.config.tasks import NERConfig
from jenga.tasks.base import TASK_REGISTRY, BaseTask


@TASK_REGISTRY.register("ner", config=NERConfig, aliases=("token_classification",))
class NERTask(BaseTask):
    """One BIO tag a word; cross-entropy over first tokens, every other token masked."""

    label_kind = "tags"
    reads = "tokens"

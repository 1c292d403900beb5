"""Which class is the normal one is told by the configuration, or by its name."""

from __future__ import annotations

import pytest

from jenga.errors import ConfigError
from jenga.tasks.anomaly.config import AnomalyHead
from jenga.tasks.anomaly.normal import normal_class


@pytest.mark.parametrize(
    ("labels", "given", "expected"),
    [
        (["attack", "normal"], None, "normal"),
        (["Benign", "DoS"], None, "Benign"),
        (["0", "1"], None, "0"),
        (["false", "true"], None, "false"),
        (["bad", "good"], None, "good"),
        (["a", "b"], "b", "b"),
        (["normal", "b"], "b", "b"),
        (["0", "benign"], None, "benign"),
    ],
)
def test_the_normal_class_is_the_named_one_else_the_one_that_is_called_so(
    labels: list[str], given: str | None, expected: str
) -> None:
    head = AnomalyHead(**{"name": "threat", "labels": labels, "num_labels": len(labels), "normal": given})
    assert labels[normal_class("t", head)] == expected


def test_a_normal_class_that_the_rows_do_not_have_is_an_error_that_lists_the_labels() -> None:
    head = AnomalyHead(name="threat", labels=["normal", "probe", "dos"]).model_copy(update={"normal": "norml"})
    with pytest.raises(
        ConfigError, match=r"tasks\[t\].heads\[threat\].normal: 'norml' is no label; did you mean 'normal'"
    ):
        normal_class("t", head)
    with pytest.raises(ConfigError, match=r"normal: which of legal, odd is normal\? .*; set it to the label of normal"):
        normal_class("t", head.model_copy(update={"normal": None, "labels": ["legal", "odd"]}))
    with pytest.raises(ConfigError, match=r"'quiet' is no label\. Labels: "):
        normal_class("t", head.model_copy(update={"normal": "quiet"}))

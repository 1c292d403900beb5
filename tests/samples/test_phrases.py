import re

import pytest

from jenga.samples.helpline import HEADS
from jenga.samples.names import ENTITY_TYPES
from jenga.samples.phrases import ENGLISH, PHRASES, SWAHILI, TOPICS

TABLES = [*PHRASES.values(), *(table for topic in TOPICS.values() for table in topic.values())]
TEMPLATES = [template for table in TABLES for templates in table.values() for template in templates]


def test_both_languages_say_the_same_things() -> None:
    assert ENGLISH.keys() == SWAHILI.keys()
    for topic in TOPICS.values():
        assert topic["en"].keys() == topic["sw"].keys()


def test_every_item_can_be_met_and_missed() -> None:
    for items in HEADS.values():
        for item in items:
            assert {f"{item}.yes", f"{item}.not", f"{item}.caller"} <= ENGLISH.keys()


def test_slots_are_known_and_brackets_balanced() -> None:
    for template in TEMPLATES:
        assert set(re.findall(r"\{(\w+)\}", template)) <= {*ENTITY_TYPES, "REF", "gist", "do"}, template
        assert not re.search(r"[\[\]{}]", re.sub(r"\[[^\[\]]*\]", "", re.sub(r"\{\w+\}", "", template))), template


@pytest.mark.parametrize("word", ["Monday", "Jumatatu", "March", "Nairobi", "Mwanza"])
def test_no_template_names_an_entity_outside_a_slot(word: str) -> None:
    assert not [template for template in TEMPLATES if word in template]

import hashlib
import itertools
import json
import re
from typing import Any

import pytest

from jenga.samples.helpline import ENTITY_TYPES, HEADS, SENTIMENTS, generate
from jenga.samples.phrases import TOPICS

Row = dict[str, Any]
ITEMS = [(head, index, item) for head, items in HEADS.items() for index, item in enumerate(items)]


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return generate(3000)


@pytest.fixture(scope="module")
def true_rows() -> list[Row]:
    return generate(3000, label_noise=0)


def turns(row: Row) -> list[tuple[str, str]]:
    """(speaker, words) of each turn."""
    return [(speaker, words) for speaker, words in (line.split(": ", 1) for line in row["text"].split("\n"))]


def spoken(row: Row, speaker: str) -> str:
    return " ".join(words for who, words in turns(row) if who == speaker).lower()


def label(row: Row, wanted: str) -> int | None:
    head, index = next((head, index) for head, index, item in ITEMS if item == wanted)
    value: int | None = row["labels"][head][index]
    return value


def surfaces(rows: list[Row], entity_type: str) -> set[str]:
    return {
        row["text"][entity["start"] : entity["end"]].lower()
        for row in rows
        for entity in row["entities"]
        if entity["label"] == entity_type
    }


def without_entities(row: Row) -> str:
    text: str = row["text"]
    for entity in reversed(row["entities"]):
        text = text[: entity["start"]] + text[entity["end"] :]
    return text.lower()


def topic_of(row: Row) -> str | None:
    """The topic whose details the caller gives; None where typos hide them."""
    for topic, tables in TOPICS.items():
        if any(detail.lower() in spoken(row, "Caller") for table in tables.values() for detail in table["detail"]):
            return topic
    return None


OFTEN = {"en": {"the", "you", "to", "is", "my", "and"}, "sw": {"ya", "na", "kwa", "wa", "ni", "la", "yako"}}


@pytest.mark.parametrize(("language", "other"), [("en", "sw"), ("sw", "en")])
def test_calls_that_switch_the_language_have_words_of_the_other(rows: list[Row], language: str, other: str) -> None:
    found: dict[bool, list[bool]] = {False: [], True: []}
    for row in rows:
        if row["language"] == language:
            words = set(re.findall(r"[a-z]+", row["text"].lower()))
            found[row["code_switched"]].append(bool(words & OFTEN[other]))
    assert sum(found[False]) == 0
    assert sum(found[True]) > 0.8 * len(found[True]) > 80


def test_calls_with_typos_have_words_that_others_have_not(rows: list[Row]) -> None:
    words = [set(re.findall(r"[a-z]{4,}", row["text"].lower())) for row in rows]
    known = set().union(*(each for each, row in zip(words, rows, strict=True) if not row["typos"]))
    strange = [not each <= known for each, row in zip(words, rows, strict=True) if row["typos"]]
    assert sum(strange) > 0.9 * len(strange) > 900
    assert {row["typos"] for row in rows} >= {0, 1, 2, 3}


def test_rows_are_the_same_on_every_machine() -> None:
    told = ("code_switched", "typos")
    rows = [{name: value for name, value in row.items() if name not in told} for row in generate(300)]
    written = json.dumps(rows, ensure_ascii=False, sort_keys=True)
    # A new digest means new data: figures measured on the old rows no longer hold.
    assert (
        hashlib.sha256(written.encode()).hexdigest()
        == "822ec131fbf2f4606f3a9f405c2d8345678fcd8021efef398f0ab7d798a83961"
    )


def test_a_longer_list_begins_with_the_shorter_one() -> None:
    assert generate(60)[:20] == generate(20)


def test_another_seed_writes_other_calls() -> None:
    texts = {row["text"] for row in generate(100, seed=0)}
    assert not texts & {row["text"] for row in generate(100, seed=1)}


def test_ids_and_texts_are_unique(rows: list[Row]) -> None:
    assert rows[17]["id"] == "helpline-00017"
    assert len({row["id"] for row in rows}) == len({row["text"] for row in rows}) == 3000


def test_calls_have_60_to_150_words(rows: list[Row]) -> None:
    lengths = [len(row["text"].split()) for row in rows]
    assert min(lengths) >= 60
    assert max(lengths) <= 150


def test_every_line_is_one_turn_and_speakers_take_turns(rows: list[Row]) -> None:
    for row in rows:
        speakers = [speaker for speaker, _ in turns(row)]
        assert set(speakers) == {"Agent", "Caller"}
        assert all(one != other for one, other in itertools.pairwise(speakers))
        assert all(words.strip() for _, words in turns(row))


def test_half_of_the_calls_are_swahili(rows: list[Row]) -> None:
    assert {row["language"] for row in rows} == {"en", "sw"}
    assert 0.45 < sum(row["language"] == "sw" for row in rows) / len(rows) < 0.55


def test_some_calls_mix_both_languages(rows: list[Row]) -> None:
    mixed = [
        row
        for row in rows
        if re.search(r"\b(you|the)\b", row["text"].lower()) and re.search(r"\b(kwa|yako|sana)\b", row["text"].lower())
    ]
    assert 0.03 < len(mixed) / len(rows) < 0.1


def test_entities_lie_in_order_on_whole_words(rows: list[Row]) -> None:
    for row in rows:
        text, end_before = row["text"], 0
        for entity in row["entities"]:
            start, end = entity["start"], entity["end"]
            assert end_before <= start < end <= len(text)
            assert text[start:end] == text[start:end].strip()
            assert "\n" not in text[start:end]
            assert not text[start - 1].isalnum()
            assert end == len(text) or not text[end].isalnum()
            end_before = end
    assert {entity["label"] for row in rows for entity in row["entities"]} == set(ENTITY_TYPES)


def test_phone_numbers_are_fictional(rows: list[Row]) -> None:
    phones = surfaces(rows, "PHONE")
    assert len(phones) > 100
    assert all(re.fullmatch(r"\+259 7\d\d \d{3} \d{3}|07700 900\d{3}|020 7946 0\d{3}", phone) for phone in phones)


def test_held_out_calls_have_names_that_training_calls_lack(rows: list[Row]) -> None:
    for entity_type in ("PERSON", "LOCATION", "ORGANISATION"):
        held_out = surfaces(rows[2400:], entity_type)
        unseen = held_out - surfaces(rows[:2400], entity_type)
        assert len(unseen) > 0.15 * len(held_out), entity_type


def test_case_numbers_and_common_words_are_no_entities(rows: list[Row]) -> None:
    case_numbers = re.compile(r"\b(HL|KS|CN)-\d{4}\b")
    assert any(case_numbers.search(row["text"]) for row in rows)
    for row in rows:
        assert not any(case_numbers.search(row["text"][e["start"] : e["end"]]) for e in row["entities"])
    named = " ".join(surfaces(rows, "PERSON") | surfaces(rows, "ORGANISATION"))
    unnamed = " ".join(without_entities(row) for row in rows)
    for word in ("may", "hope", "peace", "baraka", "umoja"):
        assert re.search(rf"\b{word}\b", named), word
        assert re.search(rf"\b{word}\b", unnamed), word


@pytest.mark.parametrize(("head", "index", "item"), ITEMS)
def test_every_item_is_met_in_about_half_of_the_calls(rows: list[Row], head: str, index: int, item: str) -> None:
    labels = [row["labels"][head][index] for row in rows]
    assert set(labels) <= {0, 1, None}
    applicable = [label for label in labels if label is not None]
    assert 0.35 < sum(applicable) / len(applicable) < 0.65


def test_items_do_not_apply_where_the_call_never_came_to_them(rows: list[Row]) -> None:
    always_applicable = {*HEADS["opening"], "acknowledges_feeling", "lets_caller_finish"}
    for _, _, item in ITEMS:
        assert (None in {label(row, item) for row in rows}) == (item not in always_applicable), item


def test_hold_applies_exactly_where_the_caller_was_put_on_hold(rows: list[Row]) -> None:
    for row in rows:
        # Stage directions are in brackets: the agent's is the hold, the caller's is the end of a broken-off call.
        held = "(" in spoken(row, "Agent")
        assert [label is not None for label in row["labels"]["hold"]] == [held, held]


def test_the_same_line_counts_from_the_agent_and_not_from_the_caller(true_rows: list[Row]) -> None:
    lines = {
        "asks_caller_name": ("whom am i talking to?", "unaitwa nani?"),
        "gives_reference": ("the case, the number is", "hatufungi kesi"),
        "asks_open_question": ("can you tell me what happened?", "unaweza kunieleza zaidi?"),
        "offers_extra_help": ("is there anything else you need?", "nikusaidie nini zaidi?"),
        "summarises_call": ("to recap, we agreed on a step.", "nirudie tuliyokubaliana: hatua na siku."),
        "says_goodbye_politely": ("i wish you a good day.", "nakutakia siku njema."),
    }
    for item, sentences in lines.items():
        for sentence in sentences:
            by_agent = {label(row, item) for row in true_rows if sentence in spoken(row, "Agent")}
            assert by_agent == {1}, sentence
    for item in ("asks_caller_name", "asks_open_question", "offers_extra_help", "summarises_call"):
        for sentence in lines[item]:
            by_caller = [
                label(row, item)
                for row in true_rows
                if sentence in spoken(row, "Caller") and sentence not in spoken(row, "Agent")
            ]
            assert by_caller.count(0) > by_caller.count(1), sentence


def test_thanks_before_the_hold_do_not_count(true_rows: list[Row]) -> None:
    thanks_then_hold = re.compile(r"(thank you for|asante kwa|nashukuru kwa) [a-z ]+\.? \(")
    early = [label(row, "thanks_after_hold") for row in true_rows if thanks_then_hold.search(spoken(row, "Agent"))]
    assert len(early) > 20
    assert set(early) == {0}


def test_permission_asked_after_the_hold_does_not_count(true_rows: list[Row]) -> None:
    late = [row for row in true_rows if re.search(r"was (it|that) (okay|all right)|ilikuwa sawa", spoken(row, "Agent"))]
    assert len(late) > 50
    assert {label(row, "asks_before_hold") for row in late} == {0}


def test_the_next_step_must_match_the_problem(true_rows: list[Row]) -> None:
    steps = {
        f"{opening} {do}.": topic
        for topic, tables in TOPICS.items()
        for language, opening in (("en", "the next step is to"), ("sw", "hatua inayofuata ni"))
        for do in tables[language]["do"]
    }
    seen = []
    for row in true_rows:
        told, problem = spoken(row, "Agent"), topic_of(row)
        for step, topic in steps.items():
            if problem and step in told:
                assert label(row, "gives_correct_next_step") == int(topic == problem), row["text"]
                seen.append(topic == problem)
    assert seen.count(True) > 50
    assert seen.count(False) > 50


def test_the_feeling_at_the_end_decides_the_sentiment(true_rows: list[Row]) -> None:
    line = re.compile(r"\bI'm (so |very )?(angry|hurt|upset|worried)\.|\bNina hasira (sana|mno)\.")
    early = {row["sentiment"] for row in true_rows if line.search(row["text"][: len(row["text"]) // 3])}
    late = {row["sentiment"] for row in true_rows if line.search(row["text"][2 * len(row["text"]) // 3 :])}
    assert early == set(SENTIMENTS)
    assert late == {"negative"}


def test_two_percent_of_the_labels_are_wrong_and_no_text_is(rows: list[Row], true_rows: list[Row]) -> None:
    pairs = list(zip(rows, true_rows, strict=True))
    assert all(noisy["text"] == true["text"] and noisy["entities"] == true["entities"] for noisy, true in pairs)
    flips = [
        noisy["labels"][head][index] != true["labels"][head][index]
        for noisy, true in pairs
        for head, index, _ in ITEMS
        if true["labels"][head][index] is not None
    ]
    assert 0.017 < sum(flips) / len(flips) < 0.023
    assert 0.012 < sum(noisy["sentiment"] != true["sentiment"] for noisy, true in pairs) / len(pairs) < 0.028

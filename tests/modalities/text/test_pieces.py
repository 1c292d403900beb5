"""Texts to learn as tokens, pieces, packs and batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from jenga.errors import ConfigError, SetupError
from jenga.modalities.text.dialogue import Dialogue, Dialogues, LanguageSpec
from jenga.modalities.text.messages import Turn
from jenga.modalities.text.pieces import EncodedLanguage, encode_language, language_warnings, pack
from jenga.rows.batches import EncodedSplit
from jenga.rows.parse import Rows
from jenga.types import IGNORE_INDEX, HeadSpace

pytestmark = pytest.mark.usefixtures("without_report")

SPEC = LanguageSpec(("text",), ("prompt",), ("completion",), ("messages",))
KEY = ("lm", "text")
SPACES = {KEY: HeadSpace(*KEY, "text", 0, ())}


def asked(prompt: str, answer: str) -> Dialogue:
    return Dialogue((Turn("user", prompt), Turn("assistant", answer)))


def text(words: str) -> Dialogue:
    return Dialogue.of_text(words)


@pytest.fixture(scope="module")
def tokenizer(make_tokenizer: Any) -> Any:
    made = make_tokenizer("byte_level")
    made.pad_token = made.eos_token
    return made


def cut_to(max_length: int) -> LanguageSpec:
    return replace(SPEC, max_length=max_length)


def targets_of(dialogue: Dialogue, tokenizer: Any, spec: LanguageSpec = SPEC) -> str:
    """The tokens to predict, decoded."""
    encoded = encode_language([dialogue], tokenizer, spec)
    return str(tokenizer.decode(encoded.targets[encoded.targets != IGNORE_INDEX]))


def split_of(
    dialogues: list[Dialogue], tokenizer: Any, *, packed: bool = False, max_length: int = 32
) -> tuple[EncodedSplit, EncodedLanguage]:
    rows = Rows(ids=[f"r{at}" for at in range(len(dialogues))], content=Dialogues(dialogues))
    encoded = encode_language(dialogues, tokenizer, cut_to(max_length), packed=packed)
    return EncodedSplit("lm", rows, encoded, SPACES), encoded


# ----------------------------------------------------------------------------------------------------------- the tokens


def test_only_the_completion_and_the_end_are_learnt(tokenizer: Any) -> None:
    assert targets_of(asked("the agent was kind", "good line"), tokenizer).strip() == "good line<|end|>"


def test_the_prompt_is_learnt_too_where_all_is(tokenizer: Any) -> None:
    spec = LanguageSpec((), ("prompt",), ("completion",), (), loss_on="all")
    found = targets_of(asked("the agent was kind", "good line"), tokenizer, spec)
    # The first token has none before it.
    assert found.endswith("agent was kind\ngood line<|end|>")
    assert not found.strip().startswith("the agent")


def test_a_target_stands_where_the_token_before_it_is(tokenizer: Any) -> None:
    encoded = encode_language([asked("the agent", "good line")], tokenizer, cut_to(64))
    ids, targets = encoded.text.input_ids, encoded.targets
    learnt = np.flatnonzero(targets != IGNORE_INDEX)
    assert len(learnt) > 1
    assert targets[learnt].tolist() == ids[learnt + 1].tolist()
    assert encoded.learnt.tolist() == [len(learnt)]


def test_a_completion_that_loses_its_end_has_no_end_token(tokenizer: Any) -> None:
    row = asked("the agent", "good line and quick refund please")
    whole = encode_language([row], tokenizer, cut_to(64))
    cut = encode_language([row], tokenizer, cut_to(int(whole.text.lengths[0]) - 2))
    assert (whole.cut, cut.cut) == (0, 1)
    assert tokenizer.eos_token_id in whole.targets
    assert tokenizer.eos_token_id not in cut.targets


def test_a_prompt_that_fills_the_row_leaves_nothing_to_learn(tokenizer: Any) -> None:
    encoded = encode_language([asked("the agent was kind and quick", "good"), asked("a", "b")], tokenizer, cut_to(5))
    assert (encoded.silent, encoded.rows.tolist()) == (1, [1])


@pytest.mark.parametrize("max_length", [2, 7, 16, 61])
def test_a_long_text_goes_on_in_further_pieces_and_each_token_is_predicted_once(
    tokenizer: Any, max_length: int
) -> None:
    long = text(" ".join(["the agent was kind and quick"] * 10))
    encoded = encode_language([text("good line"), long], tokenizer, cut_to(max_length))
    whole = encode_language([long], tokenizer, cut_to(10_000))
    assert len(encoded.rows) > 3
    assert encoded.text.lengths.max() <= max_length
    first = int((encoded.rows == 0).sum())
    targets = encoded.targets[encoded.text.offsets[first] :]
    assert targets[targets != IGNORE_INDEX].tolist() == whole.text.input_ids[1:].tolist()
    assert encoded.cut == encoded.silent == 0


def test_what_was_cut_or_teaches_nothing_is_told(tokenizer: Any) -> None:
    _, encoded = split_of(
        [asked("the agent was kind and quick", "good"), asked("a", "b and c and good line")], tokenizer, max_length=6
    )
    told = language_warnings("lm", "train", encoded, rows=2, max_length=6)
    assert any("2 of 2 rows are longer than max_length 6" in each for each in told)
    assert any("1 of 2 rows teach nothing" in each for each in told)


def test_an_answer_that_a_template_does_not_end_is_taught_to_end(make_tokenizer: Any) -> None:
    made = make_tokenizer("byte_level")
    made.chat_template = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    chat = Dialogue((Turn("user", "the agent"), Turn("assistant", "good")), chat=True)
    encoded = encode_language([chat], made, cut_to(64))
    assert made.decode(encoded.targets[encoded.targets != IGNORE_INDEX]) == "good<|end|>"
    assert encoded.endless == 0


@pytest.mark.parametrize("rows", [asked("the agent", "good"), text("the agent")])
def test_answers_that_no_token_ends_are_told(make_tokenizer: Any, rows: Dialogue) -> None:
    made = make_tokenizer("byte_level")
    made.pad_token, made.eos_token = "<|end|>", None
    encoded = encode_language([rows], made, cut_to(64))
    told = language_warnings("lm", "train", encoded, rows=1, max_length=64)
    assert any("1 of 1 rows teach no end token" in each for each in told) == (not rows.is_text)


def test_an_answer_is_learnt_with_the_tokens_that_follow_its_question(tokenizer: Any) -> None:
    spec = replace(cut_to(64), separator=": ")
    encoded = encode_language([asked("the agent", "agent")], tokenizer, spec)
    question = tokenizer("the agent: ")["input_ids"]
    assert encoded.text.input_ids[: len(question)].tolist() == question
    assert encoded.targets[len(question) - 1] == tokenizer("agent", add_special_tokens=False)["input_ids"][0]
    assert (encoded.targets[: len(question) - 1] == IGNORE_INDEX).all()


def test_a_row_that_a_template_refuses_has_no_piece_and_its_reason(make_tokenizer: Any) -> None:
    made = make_tokenizer("byte_level")
    made.chat_template = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}<|end|>{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    turns = (Turn("user", "the agent"), Turn("assistant", "good"))
    dialogues = [Dialogue(turns, True), Dialogue((Turn("system", "kind"), *turns), True), Dialogue(turns, True)]
    encoded = encode_language(dialogues, made, cut_to(64))
    assert encoded.rows.tolist() == [0, 2]
    assert list(encoded.refused) == [1]
    assert "no system" in encoded.refused[1]
    told = language_warnings("lm", "given", encoded, rows=3, max_length=64)
    assert any("1 of 3 rows cannot be written out" in each and "number 2" in each for each in told)


def test_answers_written_apart_are_pieces_of_one_row(make_tokenizer: Any) -> None:
    made = make_tokenizer("byte_level")
    made.chat_template = (  # what was said before is left out
        "{% for m in messages %}{% if loop.last or m.role == 'user' %}<{{ m.role }}>{{ m.content }}<|end|>{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    turns = tuple(Turn("assistant" if at % 2 else "user", words) for at, words in enumerate(["the", "good", "a", "b"]))
    encoded = encode_language([Dialogue(turns, True)], made, cut_to(64))
    assert encoded.rows.tolist() == [0, 0]
    assert made.decode(encoded.targets[encoded.targets != IGNORE_INDEX]) == "good<|end|>b<|end|>"


def test_a_tokenizer_that_begins_texts_itself_does_so_once(make_tokenizer: Any) -> None:
    from tokenizers.processors import TemplateProcessing

    made = make_tokenizer("byte_level")
    made.add_special_tokens({"bos_token": "<|begin|>"})
    begin = made.convert_tokens_to_ids("<|begin|>")
    made.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|begin|> $A", special_tokens=[("<|begin|>", begin)]
    )
    encoded = encode_language([asked("the agent", "good")], made, cut_to(64))
    assert encoded.text.input_ids.tolist().count(begin) == 1
    assert encoded.text.input_ids[0] == begin
    assert begin not in encoded.targets
    made.chat_template = "<|begin|>{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    chat = Dialogue((Turn("user", "the agent"), Turn("assistant", "good")), chat=True)
    made.chat_template += "{% if add_generation_prompt %}<assistant>{% endif %}"
    assert encode_language([chat], made, cut_to(64)).text.input_ids.tolist().count(begin) == 1


def test_a_tokenizer_without_offsets_is_refused() -> None:
    class Slow:
        is_fast = False

    with pytest.raises(SetupError, match="gives no character offsets"):
        encode_language([text("a")], Slow(), cut_to(8))


def test_a_length_of_one_token_is_refused(tokenizer: Any) -> None:
    with pytest.raises(ConfigError, match="max_length: 1 leaves no token"):
        encode_language([text("a")], tokenizer, cut_to(1))


# ------------------------------------------------------------------------------------------------------------ the packs


@given(st.lists(st.integers(1, 40), max_size=60), st.integers(40, 90))
def test_packs_hold_every_piece_once_and_never_too_much(lengths: list[int], capacity: int) -> None:
    packs = pack(np.array(lengths, np.int64), capacity)
    assert sorted(piece for each in packs for piece in each) == list(range(len(lengths)))
    assert all(sum(lengths[piece] for piece in each) <= capacity for each in packs)
    # Best fit leaves no two packs that would go into one, beyond the usual bound of 11/9 of the best, and one more.
    assert (
        len(packs) <= 11 / 9 * -(-sum(lengths) // capacity) + len([each for each in lengths if each > capacity / 2]) + 1
    )


def test_packs_fill_up() -> None:
    assert pack(np.array([6, 4, 5, 5, 3, 7]), 10) == [[4, 5], [0, 1], [2, 3]]


def test_positions_begin_anew_with_each_text_and_with_the_padding(tokenizer: Any) -> None:
    part, encoded = split_of(
        [asked("the agent", "good"), asked("line", "and quick"), asked("a", "b")], tokenizer, packed=True, max_length=40
    )
    (group,) = encoded.packs or []
    sizes = encoded.text.lengths[group]
    batch = part.batch([0])
    positions = batch.inputs["position_ids"][0]
    assert positions.tolist() == [at for size in sizes for at in range(size)]
    assert batch.inputs["attention_mask"].all()
    two, pair = split_of(
        [asked("the agent was kind", "good line"), asked("a", "b")], tokenizer, packed=True, max_length=16
    )
    if pair.packs and len(pair.packs) == 2:
        batch = two.batch([0, 1])
        padding = (batch.inputs["attention_mask"] == 0).sum(1)
        assert padding.max() > 0
        row = int(padding.argmax())
        assert batch.inputs["position_ids"][row, -int(padding[row]) :].tolist() == list(range(int(padding[row])))


def test_no_target_reaches_into_the_next_text(tokenizer: Any) -> None:
    part, encoded = split_of(
        [asked("the agent", "good"), asked("line", "and quick")], tokenizer, packed=True, max_length=40
    )
    batch = part.batch([0])
    last = np.cumsum(encoded.text.lengths[(encoded.packs or [[]])[0]]) - 1
    assert (batch.labels["lm"]["text"][0, last] == IGNORE_INDEX).all()


def test_a_batch_is_padded_on_the_right_and_padding_is_not_learnt(tokenizer: Any) -> None:
    part, encoded = split_of([asked("the agent was kind and quick", "good line"), asked("a", "b")], tokenizer)
    batch = part.batch([1, 0])
    mask = batch.inputs["attention_mask"]
    assert mask.sum(1).tolist() == encoded.text.lengths[[1, 0]].tolist()
    assert (mask[0].diff() <= 0).all()
    assert (batch.labels["lm"]["text"][mask == 0] == IGNORE_INDEX).all()
    assert "position_ids" not in batch.inputs
    assert batch.sample_ids == ["r1", "r0"]
    assert len(part) == 2
    assert part.lengths.tolist() == encoded.text.lengths.tolist()


def test_a_teacher_is_asked_about_the_pieces_in_the_order_of_the_targets(tokenizer: Any) -> None:
    part, encoded = split_of(
        [asked("the agent", "good"), asked("line", "and quick"), asked("a", "b")], tokenizer, packed=True, max_length=24
    )
    assert encoded.packs
    seen: list[int] = []
    widths: list[int] = []

    def said(index: Sequence[int], width: int) -> str:
        seen.extend(encoded.pieces(index))
        widths.append(width)
        return "said"

    part.teacher[KEY] = said
    order = list(range(len(encoded.packs)))[::-1]
    batch = part.batch(order)
    assert batch.teacher == {"lm": {"text": "said"}}
    assert widths == [batch.inputs["input_ids"].shape[1]]
    assert seen == [piece for at in order for piece in encoded.packs[at]]
    targets = batch.labels["lm"]["text"]
    flat = [encoded.targets[encoded.text.offsets[p] : encoded.text.offsets[p + 1]] for p in seen]
    expected = np.concatenate(flat)
    assert targets[targets != IGNORE_INDEX].tolist() == expected[expected != IGNORE_INDEX].tolist()
    assert torch.is_tensor(targets)

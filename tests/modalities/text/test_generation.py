"""Answers of language models, and whether they are right."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from jenga.config.peft import LoraConfig
from jenga.modalities.text.backbone import TextBackbone
from jenga.modalities.text.dialogue import Dialogue, Dialogues, LanguageSpec
from jenga.modalities.text.generation import Decoding, Generator, Unanswered, matches, readable
from jenga.modalities.text.heard import Said
from jenga.modalities.text.messages import Turn
from jenga.modalities.text.settings import ModelConfig
from jenga.rows.parse import Rows

SPEC = LanguageSpec(("text",), ("prompt",), ("completion",), ("messages",))
PROMPTS = ["the agent was kind", "a", "two minutes of music and her bill", "line"]


def asked(prompt: str, answer: str | None = None) -> Dialogue:
    turns = [Turn("user", prompt)] + ([Turn("assistant", answer)] if answer is not None else [])
    return Dialogue(tuple(turns))


@pytest.fixture
def generator(make_gpt2: Callable[..., Path]) -> Generator:
    """Of a random model whose logits are far apart, so that rounding never changes which token is the likeliest."""
    from transformers import AutoTokenizer

    folder = str(make_gpt2(layers=2, width=32, positions=64))
    backbone = TextBackbone(folder, ModelConfig(base_model=folder).for_language())
    with torch.no_grad():
        for each in backbone.encoder.parameters():
            each.mul_(12)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.eos_token
    return Generator(backbone, tokenizer, SPEC, device=torch.device("cpu"), autocast=contextlib.nullcontext)


def test_answers_in_a_batch_are_those_given_alone(generator: Generator) -> None:
    dialogues = [asked(prompt) for prompt in PROMPTS]
    together = generator.answers(dialogues, Decoding(max_new_tokens=8))
    alone = [generator.answers([each], Decoding(max_new_tokens=8))[0] for each in dialogues]
    assert together == alone
    assert generator.answers(dialogues, Decoding(max_new_tokens=8), batch_size=2) == alone
    assert len(set(map(str, alone))) > 1


def test_an_answer_is_what_plain_greedy_steps_give(generator: Generator) -> None:
    answer = generator.answers([asked("the agent was kind")], Decoding(max_new_tokens=6))[0]
    tokenizer, model = generator.tokenizer, generator.backbone.eval().language_model
    ids = tokenizer("the agent was kind\n")["input_ids"]
    begin = len(ids)
    with torch.no_grad():
        for _ in range(6):
            best = int(model(torch.tensor([ids])).logits[0, -1].argmax())
            ids = [*ids, best]
            if best == tokenizer.eos_token_id:
                break
    assert answer == tokenizer.decode(ids[begin:], skip_special_tokens=True)


def test_what_is_said_piece_by_piece_is_the_answer(generator: Generator) -> None:
    told: list[str] = []
    said = generator.say(
        asked("the agent was kind"), Decoding(max_new_tokens=6), hear=lambda text: not told.append(text)
    )  # fmt: skip
    assert isinstance(said, Said)
    assert said.text == "".join(told) == generator.answers([asked("the agent was kind")], Decoding(max_new_tokens=6))[0]
    assert said.prompt_tokens == len(generator.tokenizer("the agent was kind\n")["input_ids"])


def test_what_has_no_room_says_why(generator: Generator) -> None:
    said = generator.say(asked("line " * 80), Decoding(), hear=lambda text: True)
    assert isinstance(said, Unanswered)


def test_drawn_answers_follow_the_seed_and_leave_the_random_numbers_alone(generator: Generator) -> None:
    before = torch.get_rng_state()
    drawn = [
        generator.answers([asked("line")], Decoding(max_new_tokens=12, temperature=30.0, seed=seed))[0]
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    assert torch.equal(torch.get_rng_state(), before)


def test_one_likeliest_token_to_draw_from_is_the_greedy_answer(generator: Generator) -> None:
    plain = generator.answers([asked("line")], Decoding(max_new_tokens=8))
    assert generator.answers([asked("line")], Decoding(max_new_tokens=8, temperature=5.0, top_k=1)) == plain


def test_training_goes_on_as_it_was(generator: Generator) -> None:
    generator.backbone.train()
    generator.backbone.checkpoint_activations()
    generator.answers([asked("line")], Decoding(max_new_tokens=2))
    assert generator.backbone.training
    assert generator.backbone.encoder.is_activation_checkpointing


def test_adapters_answer_as_their_merged_weights_do(generator: Generator) -> None:
    generator.backbone.adapt(LoraConfig(type="lora", rank=2))
    with torch.no_grad():
        for name, each in generator.backbone.named_parameters():
            if "lora_B" in name:
                each.normal_(std=0.5)
    dialogues = [asked(prompt) for prompt in PROMPTS]
    adapted = generator.answers(dialogues, Decoding(max_new_tokens=8))
    generator.backbone.merge()
    assert generator.answers(dialogues, Decoding(max_new_tokens=8)) == adapted


def test_a_prompt_without_room_for_an_answer_is_told_and_the_others_are_answered(generator: Generator) -> None:
    found = generator.answers([asked("line " * 80), asked("line")], Decoding(max_new_tokens=4))
    assert isinstance(found[0], Unanswered)
    assert "positions for 64" in found[0].reason
    assert isinstance(found[1], str)


def test_a_dialogue_that_the_template_refuses_is_told_and_the_others_are_answered(generator: Generator) -> None:
    generator.tokenizer.chat_template = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system here') }}{% endif %}"
        "{% for m in messages %}{{ m.content }}{% endfor %}"
    )
    said = (Turn("user", "hi"),)
    chats = [Dialogue((Turn("system", "be kind"), *said), chat=True), Dialogue(said, chat=True)]
    refused, answered = generator.answers(chats, Decoding(max_new_tokens=2))
    assert isinstance(refused, Unanswered)
    assert "no system here" in refused.reason
    assert isinstance(answered, str)


def test_an_answer_ends_where_the_positions_do(generator: Generator) -> None:
    prompt = asked("line " * 14)
    assert isinstance(generator.answers([prompt], Decoding(max_new_tokens=500))[0], str)


def test_an_empty_prompt_is_answered_too(generator: Generator) -> None:
    generator.spec = LanguageSpec((), ("prompt",), ("completion",), (), separator="")
    assert isinstance(generator.answers([asked("")], Decoding(max_new_tokens=3))[0], str)


@pytest.mark.parametrize(
    ("answer", "expected", "pattern", "right"),
    [
        (" yes\n", "yes", None, True),
        ("yes.", "yes", None, False),
        ("so it is #### 18", "6 * 3 = 18\n#### 18", r"#### (-?[0-9.,]+)", True),
        ("#### 3 no, #### 18.", "#### 18", r"#### (-?[0-9.,]+)", True),
        ("#### 1,800", "#### 1,800", r"#### (-?[0-9.,]+)", True),
        ("18", "#### 18", r"#### (-?[0-9.,]+)", False),
        ("none", "none", r"#### (-?[0-9.,]+)", False),
        ("answer: b", "(b)", r"\b[abc]\b", True),
        ("x", "x", "(y)?x", False),
    ],
)
def test_what_counts_as_right(answer: str, expected: str, pattern: str | None, right: bool) -> None:
    assert matches(answer, expected, pattern) == right


def judge(generator: Generator, dialogues: list[Dialogue], *, compare: bool = True) -> list[dict[str, Any]]:
    rows = Rows(ids=[f"r{at}" for at in range(len(dialogues))], content=Dialogues(dialogues))
    return generator.judge(rows, max_new_tokens=3, pattern=None, compare=compare, batch_size=4)


def test_answers_are_judged_beside_those_of_the_rows(generator: Generator) -> None:
    found = judge(generator, [asked(prompt, "good line") for prompt in PROMPTS[:2]])
    assert [(row["id"], row["prompt"], row["expected"]) for row in found] == [
        ("r0", PROMPTS[0], "good line"), ("r1", PROMPTS[1], "good line"),
    ]  # fmt: skip
    assert [row["match"] for row in found] == [False, False]
    right = found[0]["answer"]
    judged = judge(generator, [asked(PROMPTS[0], right.strip() or "x"), asked("a", "never")])
    assert judged[0]["match"] == bool(right.strip())
    (plain,) = judge(generator, [asked(PROMPTS[0], "good line")], compare=False)
    assert plain["answer"] == right
    assert "match" not in plain


def test_each_row_is_answered_or_says_why_not(generator: Generator) -> None:
    text = Dialogue.of_text("the agent was kind")
    rows = Rows(ids=["r0", "r1", "r2"], content=Dialogues([asked("line", "its own answer"), asked("line " * 80), text]))
    found = generator.answer(rows, max_new_tokens=4, batch_size=2)
    decoding = Decoding(max_new_tokens=4)
    assert found[0] == {"text": generator.answers([asked("line")], decoding)[0]}
    assert found[1].keys() == {"error"}
    assert "positions for 64" in found[1]["error"]
    assert found[2] == {"text": generator.answers([text], decoding)[0]}, "a text goes on from its end"


def test_a_text_is_shown_with_how_it_goes_on() -> None:
    text = Dialogue.of_text(" ".join(map(str, range(30))))
    assert readable(text.opening()) == " ".join(map(str, range(16)))
    chat = Dialogue((Turn("system", "be kind"), Turn("user", "hi")), chat=True)
    assert readable(chat) == "system: be kind\nuser: hi"


def test_a_row_without_an_answer_is_answered_but_not_judged(generator: Generator) -> None:
    found = judge(generator, [asked("the agent", "good line"), asked("line")])
    assert ["match" in row for row in found] == [True, False]
    assert found[0]["match"] is False
    assert isinstance(found[1]["answer"], str)

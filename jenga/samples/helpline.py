"""A seeded generator of helpline calls in English and Swahili, labelled for quality, sentiment and entities.

Labels follow from who says what to whom and when: an item is met only where the agent does it, in earnest, at the
right moment, about the caller's problem. So most unmet items are not silent: the caller says the agent's line, the
agent refuses or mocks it, asks for permission after the hold, or offers the remedy of another problem.
"""

import re
from typing import Any, Final

from jenga.samples.names import ENTITY_TYPES, Dice, case_number, compose
from jenga.samples.phrases import PHRASES, TOPICS

__all__ = ["ENTITY_TYPES", "HEADS", "SENTIMENTS", "generate"]

HEADS: Final[dict[str, tuple[str, ...]]] = {
    "opening": ("greets_caller", "gives_own_name", "asks_caller_name"),
    "listening": ("acknowledges_feeling", "lets_caller_finish", "paraphrases_problem"),
    "proactiveness": ("asks_open_question", "offers_extra_help"),
    "resolution": ("gives_correct_next_step", "confirms_agreement"),
    "hold": ("asks_before_hold", "thanks_after_hold"),
    "closing": ("summarises_call", "says_goodbye_politely", "gives_reference"),
}
SENTIMENTS: Final = ("negative", "neutral", "positive")

_PASS_RATE: Final = {
    "greets_caller": 0.52,
    "gives_own_name": 0.47,
    "asks_caller_name": 0.45,
    "acknowledges_feeling": 0.47,
    "lets_caller_finish": 0.53,
    "paraphrases_problem": 0.44,
    "asks_open_question": 0.46,
    "offers_extra_help": 0.45,
    "gives_correct_next_step": 0.48,
    "confirms_agreement": 0.44,
    "asks_before_hold": 0.47,
    "thanks_after_hold": 0.48,
    "summarises_call": 0.44,
    "says_goodbye_politely": 0.52,
    "gives_reference": 0.46,
}
_MIN_WORDS, _MAX_WORDS = 60, 150
_ALTERNATIVES: Final = re.compile(r"\[([^\]]*)\]")
_SLOT: Final = re.compile(r"\{(\w+)\}")
_WORD: Final = re.compile(r"[A-Za-z]{5,}")

Piece = tuple[str, str | None]  # text and its entity type


def generate(n_rows: int = 3000, *, seed: int = 0, label_noise: float = 0.02) -> list[dict[str, Any]]:
    """Write `n_rows` calls; row i depends on (seed, i) alone, so a longer list begins with the shorter one.

    Each row: ``id``; ``language`` "en" or "sw"; ``text``, one turn a line, "Agent: ..." or "Caller: ...", 60 to 150
    words; ``labels``, for each head of `HEADS` a list of 1 (met), 0 (not met) or None (does not apply), one an item;
    ``sentiment``, the caller's feeling at the end; ``entities``, dicts of ``start``, ``end`` (characters of ``text``,
    end exclusive) and ``label``, one of `ENTITY_TYPES`, in text order; ``code_switched``: whether a sentence of the
    other language is among them; ``typos``: how many words are mistyped. `evaluation.slices` judges by the last two.

    `label_noise` is the share of item labels and sentiments that an inattentive annotator got wrong; the texts do not
    depend on it, so ``label_noise=0`` gives the true labels of the same calls.
    """
    return [_row(seed, index, label_noise) for index in range(n_rows)]


def _row(seed: int, index: int, label_noise: float) -> dict[str, Any]:
    dice = Dice(f"helpline:{seed}:{index}")
    language = dice.pick(("en", "sw"))
    call = _Call(dice, language)
    while not _MIN_WORDS <= call.n_words() <= _MAX_WORDS:
        call = _Call(dice, language)
    annotator = Dice(f"annotator:{seed}:{index}")
    labels = {
        head: [_annotated(annotator, call.items[item], label_noise) for item in items] for head, items in HEADS.items()
    }
    sentiment = call.sentiment
    if annotator.chance(label_noise):
        sentiment = annotator.pick([other for other in SENTIMENTS if other != sentiment])
    text, entities = call.written()
    return {
        "id": f"helpline-{index:05d}",
        "language": call.language,
        "text": text,
        "labels": labels,
        "sentiment": sentiment,
        "entities": entities,
        "code_switched": call.code_switched,
        "typos": call.typos,
    }


def _annotated(annotator: Dice, label: int | None, label_noise: float) -> int | None:
    # The chance is drawn for None too, so that the noise of one item does not move with another's applicability.
    wrong = annotator.chance(label_noise)
    return label if label is None or not wrong else 1 - label


class _Call:
    """One call as it is spoken: `turns` of (speaker, pieces), and the labels that follow from them."""

    def __init__(self, dice: Dice, language: str) -> None:
        self.dice = dice
        self.language = language
        self.mixed = dice.chance(0.08)
        self.lower_case = dice.chance(0.1)
        self.unpunctuated = dice.chance(0.1)
        self.code_switched, self.typos = False, 0
        self.topic, self.other_topic = _two(dice, sorted(TOPICS))
        self.turns: list[tuple[str, list[Piece]]] = []
        self.items: dict[str, int | None] = {item: None for items in HEADS.values() for item in items}
        self.sentiment = dice.pick(SENTIMENTS)
        self._opening()
        if dice.chance(0.04):
            self._hang_up()
            return
        self._listening()
        if dice.chance(0.5):
            self._hold()
        elif dice.chance(0.15):
            self._say("Agent", "hold.none")
        self._resolution()
        self._closing()

    def _opening(self) -> None:
        for item in HEADS["opening"]:
            self._judge(item)
        for item in HEADS["opening"]:
            self._echo(item)
        if self.dice.chance(0.35):
            self._say("Caller", f"feeling.{self.dice.pick(SENTIMENTS)}")
        if self.dice.chance(0.25):
            self._say("Caller", "caller.where")
        self._tell_problem()

    def _tell_problem(self) -> None:
        finishes = self._draw("lets_caller_finish")
        if not finishes:
            self._say_text("Caller", self._topic_phrase("half") + " -")
            self._say("Agent", self.dice.pick(("lets_caller_finish.not", "lets_caller_finish.cut")))
        elif self.dice.chance(0.3):
            self._say_text("Caller", self._topic_phrase("half") + " -")
            self._say("Caller", "caller.pauses")
        elif self.dice.chance(0.3):
            self._say("Agent", "lets_caller_finish.yes")
        self._say_text("Caller", self._topic_phrase("problem"))
        if self.dice.chance(0.1):
            self._say("Agent", "lets_caller_finish.cut")
        if self.dice.chance(0.15):
            self._say("Caller", self.dice.pick(("caller.chat", "caller.where")))

    def _hang_up(self) -> None:
        self.sentiment = "negative"
        self._judge("acknowledges_feeling")
        self._say("Caller", "caller.chat")
        self._say_text("Caller", self._topic_phrase("detail"))
        self._say("Caller", "caller.where")
        self._say("Caller", "sentiment.negative")
        self._say("Caller", "caller.hangs_up")

    def _listening(self) -> None:
        self._judge("acknowledges_feeling")
        if self.dice.chance(0.1):
            self._say("Caller", "lets_caller_finish.caller")
        if self._draw("paraphrases_problem"):
            self._say_about("Agent", "paraphrases_problem.yes", self.topic)
        elif self.dice.chance(0.25):
            self._say_about("Agent", "paraphrases_problem.yes", self.other_topic)
        else:
            self._decoy("paraphrases_problem")
        self._judge("asks_open_question")
        for item in ("acknowledges_feeling", "paraphrases_problem", "asks_open_question"):
            self._echo(item)
        self._say_text("Caller", self._topic_phrase("detail"))

    def _hold(self) -> None:
        asks = self._draw("asks_before_hold")
        late = not asks and self.dice.chance(0.3)
        if asks:
            self._say("Agent", "asks_before_hold.yes")
            self._say("Caller", "caller.yes")
        elif not late and self.dice.chance(0.4):
            self._say("Caller", "asks_before_hold.caller")
        if not asks and self.dice.chance(0.3):
            self._say("Agent", "asks_before_hold.not")
        elif not asks or self.dice.chance(0.5):
            self._say("Agent", "hold.begins")
        thanks = self._draw("thanks_after_hold")
        if not thanks and self.dice.chance(0.15):
            self._say("Agent", "thanks_after_hold.yes")
        self._say("Agent", "hold.marker")
        self._echo("thanks_after_hold")
        self._say("Agent", "thanks_after_hold.yes" if thanks else "thanks_after_hold.not")
        if late:
            self._say("Agent", "asks_before_hold.late")

    def _resolution(self) -> None:
        step = "gives_correct_next_step"
        if self._draw(step):
            self._say_about("Agent", f"{step}.yes", self.topic)
        elif self.dice.chance(0.3):
            self._say_about("Agent", f"{step}.yes", self.other_topic)
        elif self.dice.chance(0.5):
            self._say_about("Agent", f"{step}.not", self.topic)
        else:
            self._say_about("Caller", f"{step}.caller", self.topic)
            self._say("Agent", f"{step}.denied")
        self._judge("confirms_agreement")
        self._echo("confirms_agreement")
        self._say("Caller", "caller.yes")

    def _closing(self) -> None:
        self._judge("offers_extra_help")
        self._echo("offers_extra_help")
        self._say("Caller", f"{self.dice.pick(('sentiment', 'feeling'))}.{self.sentiment}")
        if self.dice.chance(0.08):
            self._say("Caller", "line.drops")
            return
        if self._draw("summarises_call"):
            self._say_about("Agent", "summarises_call.yes", self.topic)
        else:
            self._decoy("summarises_call")
        self._judge("gives_reference")
        self._judge("says_goodbye_politely")
        for item in HEADS["closing"]:
            self._echo(item)

    def _draw(self, item: str) -> bool:
        met = self.dice.chance(_PASS_RATE[item])
        self.items[item] = int(met)
        return met

    def _judge(self, item: str) -> None:
        if self._draw(item):
            self._say("Agent", f"{item}.yes")
        else:
            self._decoy(item)

    def _decoy(self, item: str) -> None:
        if self.dice.chance(0.3):
            self._say("Agent", f"{item}.not")

    def _echo(self, item: str) -> None:
        # Callers say these lines in met calls too, or their voice alone would give the label away.
        if self.dice.chance(0.08 if self.items[item] else 0.28):
            self._say("Caller", f"{item}.caller")

    def _topic_phrase(self, part: str) -> str:
        return self.dice.pick(TOPICS[self.topic][self.language][part])

    def _say(self, speaker: str, key: str) -> None:
        self._say_about(speaker, key, self.topic)

    def _say_about(self, speaker: str, key: str, topic: str) -> None:
        language = self.language
        if self.mixed and self.dice.chance(0.3):
            language = "sw" if language == "en" else "en"
            self.code_switched = True
        self._say_text(speaker, self.dice.pick(PHRASES[language][key]), language, topic)

    def _say_text(self, speaker: str, template: str, language: str | None = None, topic: str | None = None) -> None:
        if not self.turns or self.turns[-1][0] != speaker:
            self.turns.append((speaker, []))
        pieces = self.turns[-1][1]
        if self.dice.chance(0.04):
            pieces.append((self.dice.pick(PHRASES[self.language]["filler"]) + " ", None))
        pieces += self._render(template, language or self.language, topic or self.topic)
        pieces.append((" ", None))

    def _render(self, template: str, language: str, topic: str) -> list[Piece]:
        dice = self.dice
        sentence = _ALTERNATIVES.sub(lambda found: dice.pick(found[1].split("|")), template)
        pieces: list[Piece] = []
        for position, part in enumerate(_SLOT.split(sentence)):
            if position % 2 == 0:
                pieces.append((self._roughened(part), None))
            elif part in ENTITY_TYPES:
                name = compose(dice, part, language)
                pieces.append((name.lower() if self.lower_case else name, part))
            elif part == "REF":
                pieces.append((case_number(dice), None))
            else:
                pieces.append((self._roughened(dice.pick(TOPICS[topic][language][part])), None))
        return pieces

    def _roughened(self, words: str) -> str:
        words = _WORD.sub(self._mistyped, words)
        if self.unpunctuated:
            words = re.sub(r"[.,?]", "", words)
        return words.lower() if self.lower_case else words

    def _mistyped(self, found: re.Match[str]) -> str:
        word = found[0]
        if not self.dice.chance(0.015):
            return word
        self.typos += 1
        at = self.dice.number(1, len(word) - 2)
        swapped = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        return self.dice.pick((swapped, word[:at] + word[at + 1 :], word[:at] + word[at] + word[at:]))

    def n_words(self) -> int:
        return len(self.written()[0].split())

    def written(self) -> tuple[str, list[dict[str, Any]]]:
        """The text and its entities, by character offsets."""
        text, entities = "", []
        for speaker, pieces in self.turns:
            text = f"{text.rstrip()}\n{speaker}: " if text else f"{speaker}: "
            for piece, label in pieces:
                if label:
                    entities.append({"start": len(text), "end": len(text) + len(piece), "label": label})
                text += piece
        return text.rstrip(), entities


def _two(dice: Dice, options: list[str]) -> tuple[str, str]:
    first = dice.pick(options)
    return first, dice.pick([option for option in options if option != first])

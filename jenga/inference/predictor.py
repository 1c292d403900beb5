"""Predictions of a trained model on raw rows."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, BinaryIO, cast

import torch

from jenga.bundle import Bundle
from jenga.errors import ConfigError, DataError
from jenga.inference.heads import head_answers, language_spec
from jenga.inference.judged import configured_sources, labelled_sources
from jenga.inference.live import LIMITS, Limits, LineBatches
from jenga.inference.reading import Parsed, Plan, Reader, Reasons, carried, joined, names, pieces, readings
from jenga.inference.routing import Router
from jenga.modalities import Encoder
from jenga.modalities.base import Generates, Tell
from jenga.rows.batches import FEATURES, EncodedSplit, RowEncoder, Source
from jenga.rows.given import LineBatch, RowsLike, is_header
from jenga.rows.parse import SourceSpec
from jenga.rows.raw import RawRows
from jenga.trainer.answers import add_answers
from jenga.trainer.certain import add_certainty
from jenga.trainer.evaluate import Runner, choose_device, describe_split
from jenga.trainer.recipe import evaluation_batch_sizes, evaluation_batch_tokens
from jenga.trainer.worst import add_worst
from jenga.types import BackboneOutput

PIECE_ROWS = 4096
"""Rows, good or bad, that are answered together; what is scored apart has the same batches where it begins at one."""
HeadKey = tuple[str, str]


class Predictor:
    """A trained model with its tokenizer or refinery, label names and thresholds.

    It computes in the precision that it was trained with, but for fp16 on a CPU, where it takes fp32.
    """

    def __init__(self, bundle: Bundle, *, device: str = "auto") -> None:
        self.bundle = bundle
        self._parts: dict[str, Predictor] = {}
        if len(bundle.inputs) > 1:
            self._inputs: Encoder = Router(bundle)
            self._parts = {name: Predictor(bundle.part(name), device=device) for name in bundle.inputs}
        else:
            (self._inputs,) = bundle.inputs.values()
        self._keep: tuple[str, ...] = ()
        self._whole = False
        self.device = choose_device(device)
        self.model = bundle.model.to(self.device).eval()

    def predict(
        self, rows: RowsLike, *, batch_size: int | None = None, probabilities: bool = False, drivers: bool = True
    ) -> list[dict[str, Any]]:
        """Return for each row ``{"id": ..., task: {head: ...}}``, in the order of `rows`.

        rows: a text, texts, or mappings with the columns that the model was trained on (label columns may be absent);
        for a model of events also JSON as bytes or text. Or a table of pandas (in which NaN is no value), polars or
        Arrow with these columns, or a column of texts. A class is ``{"label", "probability"}``, with `probabilities`
        also all ``"probabilities"``. Items are ``{item: {"value", "probability"}}``. Tags are ``{"entities": [{"start",
        "end", "label", "text", "probability"}]}`` in characters of the text (words given as a list are joined by
        spaces), for a row given as words also ``"tags"`` by word. A number is ``{"value"}``, several are ``{"values":
        {name: ...}}``. With `evaluation.conformal` a class has a ``"set"`` and a number an ``"interval"`` (several:
        ``"intervals"``); with `evaluation.out_of_scope` a class has its row's ``"unlikeness"`` of all learnt ones and
        whether that makes it ``"out_of_scope"``. Scored heads and their task add ``"score"``, from 0 to 1 (``"score_"``
        where an item or a head has that name). A language task gives ``{"text"}``, what it answers. An anomaly is
        ``{"score", "alert", "threshold"}``, supervised with its class, and an alert has the ``"drivers"`` that
        `jenga.tasks.anomaly.explain.add_drivers` describes, unless `drivers` is False. A row that was cut has
        ``"truncated": True``. A row that cannot be used is ``{"id", "error"}``; one that only some tasks can use has an
        ``"error"`` beside their answers. Of several backbones each answers the rows that have something of what it
        reads. Raises DataError where no row has a column that any task reads.
        """
        return list(self.stream(rows, batch_size=batch_size, probabilities=probabilities, drivers=drivers))

    def stream(
        self, rows: RowsLike, *, batch_size: int | None = None, probabilities: bool = False, drivers: bool = True
    ) -> Iterator[dict[str, Any]]:
        """Yield what `predict` returns, a few thousand rows at a time.

        No more than these are held at once, beside the rows as they are given and the features of events.
        """
        raw = self._raw(rows)
        plan = self.plan(raw)
        # Of several backbones each answers a piece at a time, which goes on where the one before ended.
        one = self if not self._parts or self.inputs.told is not None else self.session(keep=self._keep)
        for piece, encoder in self.pieces(raw):
            yield from one.answers(
                piece, plan, encoder, batch_size=batch_size, probabilities=probabilities, drivers=drivers
            )

    def plan(self, raw: RawRows) -> Plan:
        """Return how rows are read, with a warning for what they lack. Raises DataError where nothing can be read."""
        if self._parts:
            cast(Router, self.inputs).check(raw)
            return Plan(raw, [])
        return Plan(raw, readings(raw, self.bundle.specs, warn=self.inputs.warn))

    def routed(self, raw: RawRows) -> list[tuple[Predictor, RawRows]]:
        """Return what answers some of the rows in a model of several backbones, with these; nothing of one."""
        return [(self._parts[name], own) for name, own in cast(Router, self.inputs).routed(raw)] if self._parts else []

    def pieces(self, raw: RawRows) -> Iterator[tuple[RawRows, RowEncoder | None]]:
        """Yield rows a piece at a time for `answers`, each with what was made beforehand of its rows, if anything."""
        encoder = None if self._parts else self.inputs.encoder([raw])
        for piece in pieces(raw, PIECE_ROWS):
            yield piece, None if encoder is None or encoder.piece is None else encoder.piece(piece)

    def answers(
        self,
        piece: RawRows,
        plan: Plan,
        encoder: RowEncoder | None = None,
        *,
        batch_size: int | None = None,
        probabilities: bool = False,
        drivers: bool = True,
    ) -> list[dict[str, Any]]:
        """Return the answers to one of `pieces` of rows that are read by `plan`; the rest as in `predict`."""
        ids = self.ids(piece)
        if self._parts:

            def predict(name: str, own: RawRows) -> list[dict[str, Any]]:
                return self._parts[name].predict(
                    own, batch_size=batch_size, probabilities=probabilities, drivers=drivers
                )

            routed = cast(Router, self.inputs).answers(piece, predict)
            return joined(ids, [self._kept(piece), *routed])
        encoder = self.inputs.encoder([piece]) if encoder is None else encoder
        unread = {bad.number: bad.reason for bad in [*piece.bad, *encoder.bad]}
        found: list[dict[int, dict[str, Any]]] = []
        reasons = Reasons(unread)
        for reader in plan.readers:
            parsed = reader.parse(piece)
            reasons.add(parsed.bad.items())
            usable = [number for number in parsed.rows.numbers if number not in unread]
            known = len(encoder.bad)
            found.append(self._predict(parsed, encoder, piece, usable, batch_size, probabilities, drivers))
            reasons.add((bad.number, bad.reason) for bad in encoder.bad[known:])
        return joined(ids, [self._kept(piece), *found, reasons.told()])

    def _kept(self, raw: RawRows) -> dict[int, dict[str, Any]]:
        return carried(raw, self._keep, whole=self._whole)

    def logits(self, rows: RowsLike, *, batch_size: int | None = None) -> dict[HeadKey, list[torch.Tensor]]:
        """Return each row's float32 logits by (task, head): ``(K,)``, or for tags ``(W, K)``, NaN without a token.

        As the model gives them, before the calibration by which `predict` makes probabilities of them.

        Raises DataError for a row that cannot be used, and where backbones do not read the same rows.
        """
        raw = self._raw(rows)
        if self._parts:
            return self._routed_logits(raw, batch_size)
        encoder = self.inputs.encoder([raw])
        found: dict[HeadKey, list[torch.Tensor]] = {}
        for reading in readings(raw, self.bundle.specs):
            parsed = Reader(raw, reading).parse(raw)
            for number, reason in [*parsed.bad.items(), *((bad.number, bad.reason) for bad in encoder.bad)]:
                raise DataError(f"{raw.file}:{number}: {reason}")
            for name in reading.tasks:
                if self.model.tasks[name].generates:
                    raise ConfigError(f"task '{name}' has no logits by row; use predict, or generator()")
            split = encoder.encode(parsed.rows, reading.spec, {})
            for bad in encoder.bad:
                raise DataError(str(bad))
            made = self._runner(batch_size).logits(split, reading.tasks)
            found |= {key: list(rows) for key, rows in made.items()}
        return found

    def _routed_logits(self, raw: RawRows, batch_size: int | None) -> dict[HeadKey, list[torch.Tensor]]:
        router = cast(Router, self.inputs)
        router.check(raw)
        found: dict[HeadKey, list[torch.Tensor]] = {}
        for name, own in router.routed(raw):
            if len(own.rows) < len(raw.rows):
                raise DataError(f"{raw.file}: {name} reads {len(own.rows)} of {len(raw.rows)} rows; give those alone")
            found |= self._parts[name].logits(own, batch_size=batch_size)
        return found

    def session(self, *, keep: Sequence[str] = (), whole: bool = False) -> Predictor:
        """Return a predictor of rows that come one after the other, in as many calls as they like.

        It shares the model, and remembers what a row says of the next one: the time since the event before is that of
        the row before, be it of this call or of the one before it. Not to be shared between threads. keep: columns
        that its answers carry over from their rows, by dotted name, None where a row lacks one; a recording or
        a picture in words, without its content.
        whole: whether each answer carries its row, a `reading.Given` under the key `reading.ASIDE`, for whoever takes
        that out again. Raises ConfigError for a name that an answer has already.
        """
        taken = {"id", "error", "truncated", *self.model.tasks}
        if clash := [name for name in keep if name in taken]:
            raise ConfigError(f"keep: an answer has a '{clash[0]}' of its own; rename the column in the rows")
        made = copy.copy(self)
        made._inputs, made._keep, made._whole = self.inputs.session(keep), tuple(keep), whole
        made._parts = {name: part.session() for name, part in self._parts.items()}
        return made

    def follow(
        self,
        stream: BinaryIO,
        *,
        limits: Limits = LIMITS,
        batch_size: int | None = None,
        probabilities: bool = False,
        drivers: bool = True,
    ) -> Iterator[list[dict[str, Any]]]:
        """Yield the answers to the lines of `stream`, batch by batch as they come, in memory that does not grow.

        Lines are JSON where the first one begins so, else plain texts; a JSON array, a table and what is compressed are
        read to their end first. A line that cannot be used is ``{"id", "error"}`` and ends nothing. The rest as in
        `predict`.
        """
        session = self.session(keep=self._keep, whole=self._whole)
        answered = partial(session.predict, batch_size=batch_size, probabilities=probabilities, drivers=drivers)
        lines = LineBatches(stream, limits)
        columns = {name for spec in self.bundle.specs for name in spec.content.readable}
        if lines.whole or is_header(lines.first_line, columns):
            yield answered(session.read(lines.rest()))
            return
        for batch in lines:
            raw = session.lines(batch)
            try:
                yield answered(raw)
            except DataError as error:
                # Such as a batch without any column that is read: the next one may have it.
                yield session.unanswered(raw, str(error))

    def unanswered(self, raw: RawRows, reason: str) -> list[dict[str, Any]]:
        """Return what `predict` gives for rows none of which can be used for the same reason."""
        kept = self._kept(raw)
        return [{"id": name, **kept.get(number, {}), "error": reason} for number, name in self.ids(raw).items()]

    def ids(self, raw: RawRows) -> dict[int, str]:
        """Return the ``id`` of the answer to each row, bad ones too, by its number and in that order."""
        return names(raw, self.bundle.specs[0].id)

    def read(self, source: str | bytes) -> RawRows:
        """Return the rows of a file, or of bytes as standard input holds them, for `predict` and `stream`."""
        return self.inputs.read(source, self._unlabelled, split="test")

    def lines(self, batch: LineBatch) -> RawRows:
        """Return lines as rows, for `predict` and `stream`."""
        return self.inputs.lines(batch, self._unlabelled)

    def given(self, rows: RowsLike, file: str) -> RawRows:
        """Return rows that come from somebody else; messages call them `file`."""
        return replace(self.inputs.given(rows, self._unlabelled), file=file)

    @property
    def _unlabelled(self) -> list[SourceSpec]:
        """How rows are read, but for their labels, which no answer needs."""
        return [replace(spec, heads=()) for spec in self.bundle.specs]

    @property
    def inputs(self) -> Encoder:
        """What makes the inputs of the encoder that reads all rows, or hands them on to those that do."""
        return self._inputs

    @property
    def takes_texts(self) -> bool:
        """Whether a row may be given as its text alone."""
        return any(spec.content.given("text") is not None for spec in self.bundle.specs)

    def evaluate(self, path: str | None = None, *, split: str = "test") -> dict[str, Any]:
        """Return how well the model does, in the form of a split of evaluation.json: ``rows``, ``metrics``, ``heads``.

        path: labelled rows; None: the rows of `split` (train, valid or test) that the run was configured with. Raises
        DataError where the rows have no text or no label that the model knows, where more of them than
        data.max_bad_fraction cannot be used, or their split does not exist.
        """
        bundle = self.bundle
        sources = configured_sources(bundle, split) if path is None else labelled_sources(bundle, path, split=split)
        return self.judge(sources, split)

    def judge(self, sources: Sequence[Source], split: str) -> dict[str, Any]:
        """Return what `evaluate` does, of rows that are read already: the `split` of `sources`."""
        bundle = self.bundle
        runner, judged = self.judges(), bundle.config.evaluation
        result = runner.evaluate(sources, split, report=True, logits=True)
        found = describe_split(result, self.model, sources, split, metric=judged.metric, slices=judged.slices)
        add_certainty(found, self.model, result, bundle.certainty, judged)
        add_answers(found, runner, bundle.inputs, sources, split)
        add_worst(found, runner, result, bundle.inputs, sources, split, most=judged.worst_errors, run=None)
        return found

    # --------------------------------------------------------------------------------------------------------- model

    def _raw(self, rows: RowsLike) -> RawRows:
        return self.inputs.given(rows, self.bundle.specs)

    def _predict(
        self,
        parsed: Parsed,
        encoder: RowEncoder,
        raw: RawRows,
        numbers: Sequence[int],
        batch_size: int | None,
        probabilities: bool,
        drivers: bool,
    ) -> dict[int, dict[str, Any]]:
        """Return the answers to the rows `numbers` by their number, but for those that cannot be encoded."""
        if not numbers:
            return {}
        rows = parsed.taken(numbers)
        first = parsed.reading.tasks[0]
        if self.model.tasks[first].generates:
            size = batch_size or self.inputs.rows_at_once
            found = self.model.tasks[first].respond(rows, self.generator(first), batch_size=size)
            return dict(zip(numbers, (each if "error" in each else {first: each} for each in found), strict=True))
        runner = self._runner(batch_size)
        encoded = encoder.encode(rows, parsed.reading.spec, {})
        rows, numbers = encoded.rows, encoded.rows.numbers
        if not numbers:
            return {}
        said = runner.logits(encoded, parsed.reading.tasks)
        logits = runner.calibrated(said)
        predictions = runner.predictions(logits)
        tell = self.inputs.tell(raw, numbers)
        cut = encoded.encoded.truncated
        is_cut = [False] * len(numbers) if cut is None else cut
        answered: list[dict[str, Any]] = [{"truncated": True} if each else {} for each in is_cut]
        for name in parsed.reading.tasks:
            task = self.model.tasks[name]
            by_head = head_answers(
                self.bundle, name, predictions, said, logits, rows.content, probabilities=probabilities
            )
            answers = [dict(zip(by_head, each, strict=True)) for each in zip(*by_head.values(), strict=True)]
            if drivers:
                self._explain(name, encoded, tell, answers)
            task.complete(answers, {head: predictions[name, head] for head in task.heads.sizes})
            for row, answer in zip(answered, answers, strict=True):
                row[name] = answer
        return dict(zip(numbers, answered, strict=True))

    def language_task(self, name: str | None = None) -> SourceSpec:
        """Return how the rows of the language task `name` are read; None: of the first there is.

        Raises ConfigError where the model has no such task.
        """
        return language_spec(self.bundle, name)

    def generator(self, task: str | None = None) -> Generates:
        """Return what answers prompts by a language task; `task`, and what is raised, as in `language_task`."""
        spec = self.language_task(task)
        backbone = self.model.encoder_of(spec.heads[0].task)
        encoder = self.bundle.encoder_of(spec)
        return encoder.generator(backbone, spec.content, device=self.device, autocast=self._autocast)

    def _explain(self, name: str, encoded: EncodedSplit, tell: Tell | None, answers: list[dict[str, Any]]) -> None:
        """Let the task say which fields of its row drove an answer, where the encoder reads features of fields."""
        features = encoded.encoded.features
        if features is None or tell is None:
            return
        if not self.model.explains:
            self.inputs.warn("drivers", "alerts come without what drove them: a graph has no gradients to tell it by")
            return

        def encode(some: torch.Tensor) -> BackboneOutput:
            return self.model.encode({FEATURES: some}, [name])[name]

        self.model.tasks[name].explain(answers, features, encode, tell)

    def _runner(self, batch_size: int | None) -> Runner:
        """Return what runs the model. Raises ConfigError for less than one row of a forward pass."""
        if batch_size is not None and batch_size < 1:
            raise ConfigError(f"batch_size: got {batch_size}; allowed: 1 or more")
        sizes = dict.fromkeys(self.bundle.inputs, batch_size or self.inputs.rows_at_once)
        tokens = {name: each.tokens_at_once for name, each in self.bundle.inputs.items() if each.tokens_at_once}
        return self.runs(sizes, tokens if batch_size is None else None)

    def judges(self) -> Runner:
        """Return what runs the model over rows as evaluations in training do."""
        config = self.bundle.config
        return self.runs(evaluation_batch_sizes(config), evaluation_batch_tokens(config))

    def runs(self, batch_sizes: Mapping[str, int], batch_tokens: Mapping[str, int] | None = None) -> Runner:
        """Return what runs the model over rows. batch_sizes, batch_tokens: of a forward pass, by encoder."""
        bundle = self.bundle
        return Runner(
            self.model, self.device, self._autocast, batch_sizes, bundle.thresholds, certainty=bundle.certainty,
            batch_tokens=batch_tokens or {},
        )  # fmt: skip

    def _autocast(self) -> AbstractContextManager[Any]:
        kind = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.bundle.config.training.precision)
        if kind is None or (kind is torch.float16 and self.device.type == "cpu"):
            return nullcontext()
        return torch.autocast(self.device.type, dtype=kind)

"""A model as it is served: loaded, with a queue of its own."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from jenga import saved
from jenga.errors import DataError, JengaError
from jenga.inference.loading import load
from jenga.inference.merged import Answers, kinship, together
from jenga.inference.predictor import Predictor
from jenga.inference.reading import Plan
from jenga.inference.serve.batcher import Batcher, Observer, QueueLimits
from jenga.rows.given import LineBatch, RowsLike
from jenga.rows.raw import REQUEST, RawRows

if TYPE_CHECKING:
    from jenga.modalities.text.dialogue import LanguageSpec
    from jenga.modalities.text.generation import Generator

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loading:
    """How models are loaded; see `jenga.inference.loading.load`."""

    device: str = "auto"
    base_model: str | None = None
    trust_remote_code: bool = False
    runtime: str | None = None


@dataclass(frozen=True)
class Asked:
    """What is asked of a model for one call's rows: parameters of `Predictor.predict`."""

    probabilities: bool = False
    drivers: bool = True


@dataclass
class _Rows:
    """Rows that wait for their answers. `session`: of the caller; it alone sees what rows say of those after them."""

    session: Predictor
    raw: RawRows
    asked: Asked


@dataclass
class _Call:
    """A function that waits for its turn. `tokens`: that it takes at most."""

    work: Callable[[], Any]
    tokens: int


@dataclass(frozen=True)
class Talker:
    """The first language task of a model. `language`: how its rows are read; `max_new_tokens`: where nobody says."""

    generator: Generator
    language: LanguageSpec
    max_new_tokens: int

    @classmethod
    def of(cls, predictor: Predictor) -> Talker | None:
        """Return that of a model; None where it has no language task."""
        if not any(task.generates for task in predictor.model.tasks.values()):
            return None
        spec = predictor.language_task()
        settings = predictor.model.tasks[spec.heads[0].task].config.generation
        # Its prompts are dialogues, which only a generator of texts answers.
        generator = cast("Generator", predictor.generator())
        return cls(generator, cast("LanguageSpec", spec.content), settings.max_new_tokens)


class Served:
    """The model in one folder, which answers until it is closed.

    `fingerprint`: of the folder's content; `example`: a row such as it reads; `loaded`: when, in seconds since 1970.
    """

    def __init__(self, name: str, folder: Path, loading: Loading, limits: QueueLimits, observer: Observer) -> None:
        """Load it, and let it answer one row. Raises SetupError where it cannot be loaded."""
        self.name, self.folder = name, folder
        self.fingerprint = saved.fingerprint(folder)
        self.predictor = load(
            folder, device=loading.device, base_model=loading.base_model, trust_remote_code=loading.trust_remote_code,
            runtime=loading.runtime,
        )  # fmt: skip
        self.example = saved.read(folder).example()
        self.talker = Talker.of(self.predictor)
        self.loaded = int(time.time())
        self._shared = self.predictor.session()
        self._tokens = self._shared.inputs.counter(self.predictor.bundle.specs)
        self._try()
        self._uses, self._closes = 0, False
        self.batcher = Batcher(self._answer, self._count, limits, observer, name=name)

    def session(self) -> Predictor:
        """Return what reads the rows of one caller, in one call or several that follow one another."""
        return self.predictor.session() if self.predictor.inputs.ordered else self._shared

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep it answering for one request, whatever takes its place meanwhile."""
        self._uses += 1
        try:
            yield
        finally:
            self._uses -= 1
            self._end()

    def close(self) -> None:
        """Let it end once no request uses it any more."""
        self._closes = True
        self._end()

    def join(self) -> None:
        """Wait until all is answered, after `close`."""
        self.batcher.join()

    def _end(self) -> None:
        if self._closes and not self._uses:
            self.batcher.close()

    def given(self, session: Predictor, rows: RowsLike) -> RawRows:
        """Return rows of a request. Raises TypeError where they are none."""
        return session.given(rows, REQUEST)

    def lines(self, session: Predictor, lines: Sequence[tuple[bytes, bool]], first: int) -> RawRows:
        """Return lines of JSON as rows, the first of which has the number `first`; see `LineCutter`."""
        refused = {at: "the line is too long" for at, (_, is_cut) in enumerate(lines) if is_cut}
        return session.lines(LineBatch([line for line, _ in lines], first, True, refused, REQUEST))

    def predict(self, session: Predictor, raw: RawRows, asked: Asked) -> asyncio.Future[Answers]:
        """Let rows of a `session` wait for their answers. Raises QueueFullError."""
        return self.batcher.put(_Rows(session, raw, asked), rows=len(raw.numbers) + len(raw.bad))

    def call(self, work: Callable[[], Any], *, tokens: int) -> asyncio.Future[Any]:
        """Let a function wait for its turn in the thread that runs the model. Raises QueueFullError."""
        return self.batcher.put(_Call(work, tokens), rows=1)

    def _try(self) -> None:
        """Answer one row, so that what cannot answer is not served, and the first caller does not wait for it."""
        session = self.session()
        raw = self.given(session, [self.example])
        try:
            together(session, [raw], session.plan(raw))
        except DataError as error:
            logger.debug("%s: its example is no row that it reads: %s", self.name, error)

    # ------------------------------------------------------------------------------------------------- in the thread

    def _count(self, works: Sequence[Any]) -> list[int]:
        """Return the tokens of each work."""
        found = {at: work.tokens for at, work in enumerate(works) if not isinstance(work, _Rows)}
        places = [at for at in range(len(works)) if at not in found]
        found |= zip(places, self._tokens([works[at].raw for at in places]), strict=True)
        return [found[at] for at in range(len(works))]

    def _answer(self, batch: Sequence[Any]) -> Iterator[Mapping[int, Any]]:
        """Yield answers, or why there are none, by the places of the works of a batch."""
        groups: dict[Hashable, list[int]] = {}
        plans: dict[int, Plan] = {}
        calls: list[int] = []
        for at, work in enumerate(batch):
            if not isinstance(work, _Rows):
                calls.append(at)
                continue
            plan = _tried(partial(work.session.plan, work.raw))
            if isinstance(plan, DataError):
                plan = _unread(work, plan)
            if not isinstance(plan, Plan):
                yield {at: plan}
                continue
            plans[at] = plan
            kin = kinship(work.session, work.raw, plan)
            groups.setdefault(at if kin is None else (kin, work.asked), []).append(at)
        for group in groups.values():
            yield _together([batch[at] for at in group], group, plans)
        for at in calls:
            yield {at: _tried(batch[at].work)}


def _together(works: Sequence[_Rows], places: Sequence[int], plans: Mapping[int, Plan]) -> dict[int, Any]:
    """Return the answers to works of one kinship by their places; where one spoils them all, each on its own."""
    made = _tried(partial(_answers, works, plans[places[0]]))
    if not isinstance(made, Exception):
        return dict(zip(places, made, strict=True))
    if len(works) > 1:
        found: dict[int, Any] = {}
        for work, at in zip(works, places, strict=True):
            found |= _together([work], [at], plans)
        return found
    return {places[0]: _unread(works[0], made) if isinstance(made, DataError) else made}


def _unread(work: _Rows, error: DataError) -> Answers:
    """Return the answers to rows of which none has a column that is read, which of a file would be one error."""
    return work.session.unanswered(work.raw, str(error))


def _answers(works: Sequence[_Rows], plan: Plan) -> list[Answers]:
    first = works[0]
    raws = [work.raw for work in works]
    return together(
        first.session, raws, plan, probabilities=first.asked.probabilities, drivers=first.asked.drivers
    )  # fmt: skip


def _tried(work: Callable[[], Any]) -> Any:
    """Return what `work` returns, or the exception that it raises; one that is no user's is logged."""
    try:
        return work()
    except JengaError as error:
        return error
    except Exception as error:
        logger.exception("a request could not be answered")
        return error

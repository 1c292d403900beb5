"""Every key of the schema changes something that is built, computed or written; a key that changes nothing is a bug.

The schema is walked to its leaves. Each leaf has a probe: a value that is not the base's, and what must then differ.
What is compared is never the configuration itself.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock, patch

import numpy as np
import pytest
import soundfile
import torch
from guarded import guarded
from pydantic import BaseModel
from rich.console import Console
from torch import nn

from jenga.callbacks.chain import Chain
from jenga.callbacks.configured import configured_callbacks, named_callbacks
from jenga.callbacks.sentinel import Sentinel
from jenga.callbacks.trackers import Trackers
from jenga.config.load import load_search
from jenga.config.schema import ExperimentConfig
from jenga.config.shape import entry_branches, field_branches, item_branches
from jenga.config.training import resolved
from jenga.errors import ConfigError, JengaError, SetupError
from jenga.labels.metric import Metric
from jenga.modalities import BackboneManager
from jenga.modalities.audio.backbone import AudioBackbone
from jenga.modalities.audio.settings import AudioConfig
from jenga.modalities.events.backbone import SequentialBackbone, SequentialConfig
from jenga.modalities.events.ft_transformer import FTTransformer, FTTransformerConfig
from jenga.modalities.text.backbone import TextBackbone
from jenga.modalities.text.columns import Texts
from jenga.modalities.text.dialogue import Dialogues
from jenga.modalities.text.settings import ModelConfig
from jenga.modalities.vision.backbone import VisionBackbone
from jenga.modalities.vision.settings import VisionConfig
from jenga.processes import Processes
from jenga.rows.batches import EncodedSplit
from jenga.rows.content import Content
from jenga.rows.load import load_sources
from jenga.rows.parse import Rows
from jenga.run import build, experiment
from jenga.sentinel.ledger import Entry, write_entries
from jenga.tasks import TASK_REGISTRY, BaseTask
from jenga.trainer.evaluate import Runner
from jenga.trainer.optim import Maker, make_scheduler, parameter_groups, parameter_names
from jenga.trainer.recipe import trainings_of
from jenga.trainer.together import check_shards
from jenga.trainer.turns import make_sampler
from jenga.trainer.window import Window
from jenga.tuning import study
from jenga.tuning.trials import FIRST_TRIALS, Trials
from jenga.types import HeadSpace

OTHER_BACKBONE, OTHER_SEQUENTIAL, OTHER_FIELDS = "other_text", "other_sequential", "other_fields"
OTHER_TASK = "other_task"
OTHER_VISION, OTHER_AUDIO = "other_vision", "other_audio"


# ------------------------------------------------------------------------------------------------------------ the walk


def leaves(model: type[BaseModel], path: str = "") -> Iterator[str]:
    """Yield each leaf of a schema, such as ``tasks[ner].heads[].weight``; the tag of a union's member in brackets.

    Of the blocks in a mapping by names of one's own only what they have beside the keys of such a block elsewhere.
    """
    for key in model.model_fields:
        below = f"{path}.{key}".removeprefix(".")
        found = field_branches(model, key)
        seen = set()
        for branch in (*found, *item_branches(found)):
            if branch.model is not None and branch.model not in seen:
                seen.add(branch.model)
                in_list = branch not in found
                yield from leaves(branch.model, below + (f"[{branch.tag or ''}]" if branch.tag or in_list else ""))
        for entry in entry_branches([each for each in found if each.kind == "mapping" and not each.model], ""):
            if entry.model is not None and entry.model not in seen:
                seen.add(entry.model)
                (plain,) = entry.model.__bases__
                yield from (leaf for leaf in leaves(entry.model, f"{below}{{}}") if is_own(leaf, below, plain))
        if any(branch.model is None and not any(each.model for each in item_branches([branch])) for branch in found):
            yield below


def is_own(leaf: str, below: str, plain: type[BaseModel]) -> bool:
    """Whether a leaf of a block in a mapping is of a key that such a block does not have elsewhere."""
    return re.split(r"[.\[]", leaf.removeprefix(below + "{}."))[0] not in plain.model_fields


LEAVES = list(dict.fromkeys(leaves(build.schema())))
TYPES = list(dict.fromkeys(match[1] for leaf in LEAVES if (match := re.match(r"tasks\[(\w+)\]", leaf))))


# ------------------------------------------------------------------------------------------------------------ the rows

WORDS = "call good great hello help late no not play right song thanks wrong yes".split()  # noqa: SIM905
CLASSES = ("clean", "no", "yes")
N_ROWS = 24


def words_of(number: int, shift: int) -> list[str]:
    return [WORDS[(number * step + shift) % len(WORDS)] for step in (1, 2, 3, 5, 7)]


def label_of(kind: str, number: int) -> Any:
    match kind:
        case "classification" | "anomaly_detection":
            return CLASSES[number % 7 % 3]
        case "regression":
            return float(number * number % 11)
        case "transcription":
            return " ".join(words_of(number, 0)[: number % 2 + 1]).capitalize()
        case "sound_event_detection":
            return [{"start": 0.1 * (number % 5), "end": 1.0, "label": CLASSES[number % 3]}]
        case "ner":
            return ["B-place" if word in ("help", "song") else "O" for word in words_of(number, 0)]
        case _:
            return [name for at, name in enumerate(("good", "late", "wrong")) if number % (at + 2) == 0]


def row_of(kind: str, number: int) -> dict[str, Any]:
    first, second = label_of(kind, number), label_of(kind, number + 1)
    words = words_of(number, 0)
    spans = [{"start": 0, "end": len(words_of(number, 4)[0]), "label": "thing"}]
    return {
        "id": f"r{number}",
        "name": f"n{number}",
        "tokens": words,
        "words": words_of(number, 3),
        "text": " ".join(words_of(number, 4)),
        "other": " ".join(words_of(number, 5)),
        "second": second,
        "prompt": f"is {words[0]} right",
        "completion": words[1],
        "chat": [{"role": "user", "content": words[2]}, {"role": "assistant", "content": words[3]}],
        "labels": {"first": first, "renamed": first},
        "other_labels": {"first": second},
        **({"transcript": first, "sentence": second} if kind == "transcription" else {}),
        **(
            {"events": first, "annotated": second, "maybe": "late" if number % 4 == 3 else first}
            if kind == "sound_event_detection"
            else {}
        ),
        **({"ner_tags": first, "tags2": second, "spans": spans} if kind == "ner" else {}),
    }


def media_of(number: int, folder: Path) -> dict[str, Any]:
    """Two pictures, wider than high, and the files of two sounds, longer than short: as JSON they take long to read."""

    def sound(step: int) -> str:
        path = folder / f"{number}-{step}.wav"
        if not path.exists():
            soundfile.write(path, np.arange(3_000) * (number + step) % 50 / 50 - 0.5, 1000)
        return str(path)

    picture = [[(x * 9 + y * 5 + number * 11) % 256 for x in range(12)] for y in range(8)]
    return {
        "image": picture, "picture": picture[::-1], "audio": sound(3), "sound": sound(5), "from": 0.1 * (number + 1),
        "to": 0.1 * (number + 2),
    }  # fmt: skip


def write_files(folder: Path) -> None:
    def write(name: str, rows: list[dict[str, Any]]) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    for kind in TYPES:
        rows = [row_of(kind, number) for number in range(N_ROWS)]
        if kind in OF_MOMENTS:
            rows = [{**row, **media_of(at, folder)} for at, row in enumerate(rows)]
        write(f"{kind}.jsonl", rows)
        write(f"elsewhere/{kind}.jsonl", rows[: N_ROWS // 2])
        write(f"{kind}_bad.jsonl", [*rows, {**rows[0], "tokens": [], "text": ""}])
        write(f"{kind}_media.jsonl", [{**row, **media_of(at, folder)} for at, row in enumerate(rows)])
    words = [" ".join(words_of(number, 0)) for number in range(N_ROWS)]
    tags = [label_of("ner", number) for number in range(N_ROWS)]
    write(
        "any.jsonl",
        [{"text": t, "label": i % 2, "ner_tags": y} for i, (t, y) in enumerate(zip(words, tags, strict=True))],
    )
    write(
        "any_sound.jsonl",
        [{"labels": [name], "events": label_of("sound_event_detection", i), **media_of(i, folder)}
         for i, name in enumerate(CLASSES * 8)],
    )  # fmt: skip
    good = [{"id": f"r{i}", "text": t, "n": i, "duration": i, "label": i % 2} for i, t in enumerate(words)]
    odd = [
        '{"id": "unread", "text": "a", "n": 1, "label": 1, "other": tru}',
        '{"id": "nan", "text": "a", "n": NaN, "label": 1}',
        '{"id": "twice", "text": "a", "n": 1, "n": 2, "label": 1}',
    ]
    (folder / "odd.jsonl").write_text("\n".join([*map(json.dumps, good), *odd]), encoding="utf-8")
    help_me = [{"start": 0, "end": 4, "label": "thing"}]
    write(
        "cells.jsonl",
        [
            {
                "text": t,
                "label": ("good", "late", "good/late")[i % 3],
                "number": i if i % 3 else "late",
                "spans": [{"start": 0, "end": len(t.split()[0]), "label": "thing"}] if i % 3 else "late",
                # Half of the offsets count UTF-16 units.
                "smiling": "\U0001f600 help me" if i % 2 else "help me",
                "smile": [{"start": 3, "end": 7, "label": "thing"}] if i % 2 else help_me,
            }
            for i, t in enumerate(words)
        ],
    )
    write("any.dat", [row_of("classification", number) for number in range(N_ROWS)])
    lines = [f"call {words[number]};{CLASSES[number % 3]}" for number in range(N_ROWS)]
    rows = [{"text": f"row {at}", "label": "ab"[at % 2]} for at in range(60)]
    (folder / "listed.json").write_text(json.dumps({"all": {"rows": rows}, "some": {"rows": rows[:40]}}))
    (folder / "marks.csv").write_text("\n".join(["text;label", *lines]), encoding="utf-8")
    write("audit.jsonl", [{"file": str(folder / "marks.csv"), "row": number} for number in (2, 5, 7)])
    write(
        "ticks.jsonl",
        [{"text": t, "label": i % 2, "greets": i % 2, "names": int(i % 3 == 0)} for i, t in enumerate(words)],
    )
    write("mixed.jsonl", [{"text": t, "label": [0.5, i] if i % 3 else [0.5]} for i, t in enumerate(words)])


# -------------------------------------------------------------------------------------------------------- observations


def rows_of(config: ExperimentConfig) -> Any:
    """The rows, labels and label spaces of every source; or the error's class, where they are refused."""
    try:
        sources = load_sources(build.source_specs(config), data=config.data)
    except JengaError as error:
        return type(error).__name__
    return [
        (
            {key: (space.kind, space.labels) for key, space in source.spaces.items()},
            {split: (rows.ids, read(rows.content), numbers(rows)) for split, rows in source.splits.items()},
        )
        for source in sources
    ]


def read(content: Content) -> Any:
    """The texts or the dialogues; what is equal here is the same to a model."""
    if isinstance(content, Dialogues):
        return content.dialogues
    return (content.texts, content.pairs) if isinstance(content, Texts) else content.keys()


def numbers(rows: Rows) -> Any:
    return {key: [np.asarray(label).tolist() for label in labels] for key, labels in rows.labels.items()}


class Built:
    """An experiment as `build` makes it, and its first training batch."""

    def __init__(self, config: ExperimentConfig, folder: Path) -> None:
        # A folder of its own: a refinery is fitted once a folder.
        self.experiment = build.build(config, Path(tempfile.mkdtemp(dir=folder)))
        self.config = self.experiment.bundle.config
        self.model = self.experiment.bundle.model
        self.source = self.experiment.sources[0]
        train = self.source.splits["train"]
        self.batch = train.batch(range(min(8, len(train))))


def features(built: Built) -> Any:
    return built.batch.inputs["features"].tolist()


def tokens(built: Built) -> Any:
    return built.batch.inputs["input_ids"].tolist()


def inputs(built: Built) -> Any:
    """What the backbone reads of a batch."""
    return {name: tensor.tolist() for name, tensor in built.batch.inputs.items()}


def changed_in_training(built: Built) -> Any:
    """What a batch holds in training, from one seed."""
    train = built.source.splits["train"]
    batch = train.batch(range(min(8, len(train))), changes=torch.Generator().manual_seed(0))
    return {name: tensor.tolist() for name, tensor in batch.inputs.items()}


def modules(built: Built) -> Any:
    """Every module's class and dropout, every parameter and buffer."""
    parts = [(name, type(part).__name__, getattr(part, "p", None)) for name, part in built.model.named_modules()]
    tensors = [*built.model.named_parameters(), *built.model.named_buffers()]
    return parts, [(name, tuple(tensor.shape), tensor.double().sum().item()) for name, tensor in tensors]


def input_dropouts(built: Built) -> Any:
    return [joint.dropout for joint in built.model.joints.values()]


def dropouts(built: Built) -> Any:
    return [(name, part.p) for name, part in built.model.named_modules() if isinstance(part, nn.Dropout)]


def attention_dropouts(built: Built) -> Any:
    return [layer.attention_dropout for layer in built.model.encoders["shared"].layers]


def encoder_dropout(built: Built) -> Any:
    return built.model.encoders["shared"].encoder.dropout


def backbone_class(built: Built) -> Any:
    return type(built.model.encoders["shared"]).__name__


def scales(built: Built) -> Any:
    """How strong the update of each layer is."""
    return [(name, part.scaling) for name, part in built.model.named_modules() if hasattr(part, "scaling")]


def pooled(built: Built) -> Any:
    built.model.eval()
    return built.model.encoders["shared"](**built.batch.inputs).pooler_output.tolist()


def loss(built: Built) -> Any:
    """The total loss of one batch as a training step adds it up, without dropout."""
    built.model.eval()
    accelerator = experiment.make_accelerator(built.config.training.precision, "cpu")
    with accelerator.autocast():
        outputs = built.model(built.batch.inputs, built.source.tasks, built.batch.labels)
    parts = Window(accelerator.device).add(outputs, built.model.tasks, None, 1.0)
    return sum(part.loss for part in parts.values()).item()


def taught_loss(built: Built) -> Any:
    """The loss of one batch with what its teacher adds, in training, where the models have no dropout."""
    batch = built.source.splits["train"].batch(range(8))
    if built.experiment.teacher is not None:
        built.experiment.teacher.teach(batch)
    built.model.train()
    outputs = built.model(batch.inputs, built.source.tasks, batch.labels, batch.teacher, batch.states)
    parts = Window(torch.device("cpu")).add(outputs, built.model.tasks, None, 1.0)
    return sum(part.loss for part in parts.values()).item()


def workers(built: Built) -> Any:
    return built.experiment.workers


def learnt(built: Built) -> Any:
    return built.batch.labels["task"]["first"].tolist()


def checkpointing(built: Built) -> Any:
    return built.model.encoders["shared"].encoder.is_activation_checkpointing


def metrics(built: Built) -> Any:
    runner = Runner(built.model, torch.device("cpu"), contextlib.nullcontext, {"shared": 8}, {})
    return runner.evaluate(built.experiment.sources, "train").metrics


def groups(built: Built) -> Any:
    """What the optimizer does with each parameter, and the rates of the first ten steps."""
    training = resolved(built.config.training)
    make = Maker(training, Chain(named_callbacks(built.config)))
    trained = parameter_groups(built.model, trainings_of(built.config))
    optimizer = make(trained, parameter_names(model=built.model))
    scheduler = make_scheduler(optimizer, training, 10)
    of_level = ("level_period", "level_reduction", "level_max_grad_norm")
    settings = [
        (g["name"], g["lr"], g["weight_decay"], len(g["params"]), sorted(g), [g.get(key) for key in of_level])
        for g in optimizer.param_groups
    ]
    rates = []
    for _ in range(10):
        optimizer.step()
        rates.append(scheduler.get_last_lr())
        scheduler.step()
    return type(optimizer).__name__, settings, rates


def turns(built: Built) -> Any:
    sampler = make_sampler(built.experiment.sources, built.config)
    return [[(part.source, part.rows) for part in turn.parts] for epoch in range(3) for turn in sampler.epoch(epoch)]


def refused_whole(built: Built) -> Any:
    """What one process says of sharing its encoders with others."""
    with contextlib.suppress(SetupError):
        return check_shards(resolved(built.experiment.bundle.config.training), Processes())
    return "refused"


def is_deterministic(_: Built) -> Any:
    return torch.are_deterministic_algorithms_enabled()


@dataclass
class Run:
    """A finished run, and what it asked of its surroundings."""

    folder: Path
    evaluation: dict[str, Any]
    batches: list[int]
    client: MagicMock
    logged_models: int
    records: list[dict[str, Any]] = field(init=False)

    def __post_init__(self) -> None:
        lines = (self.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        self.records = [json.loads(line) for line in lines]


def place(run: Run) -> Any:
    return run.folder.parent


def last_step(run: Run) -> Any:
    return max(record["step"] for record in run.records)


def train_records(run: Run) -> Any:
    return [record["step"] for record in run.records if record["event"] == "train"]


def task_weights(run: Run) -> Any:
    return [record.get("task_weight") for record in run.records if record["event"] == "train"]


def task_cosines(run: Run) -> Any:
    return [record.get("task_cosine") for record in run.records if record["event"] == "train"]


def evaluations(run: Run) -> Any:
    return [record["step"] for record in run.records if record["event"] == "eval"]


def best_value(run: Run) -> Any:
    newest = max((run.folder / "checkpoints").glob("step-*"))
    return json.loads((newest / "state.json").read_text())["state"]["best_value"]


def batch_sizes(run: Run) -> Any:
    return run.batches


def recorded(run: Run) -> Any:
    """What continual.json says of the stages, and what is judged beside them."""
    found = json.loads((run.folder / "continual.json").read_text())
    return [stage["name"] for stage in found["stages"]], list(found["baselines"])


def checkpoints(run: Run) -> Any:
    return sorted(path.name for path in (run.folder / "checkpoints").glob("step-*"))


def trained_weights(run: Run) -> Any:
    return hashlib.sha256((run.folder / "best" / "heads.safetensors").read_bytes()).hexdigest()


def thresholds(run: Run) -> Any:
    return json.loads((run.folder / "best" / "jenga.json").read_text())["thresholds"]


def certainty(run: Run) -> Any:
    return json.loads((run.folder / "best" / "jenga.json").read_text())["certainty"]


def warned(run: Run) -> Any:
    return json.loads((run.folder / "run.json").read_text())["warnings"]


def metric_intervals(run: Run) -> Any:
    return [head.get("intervals") for head in run.evaluation["splits"]["valid"]["heads"]]


def baselines(run: Run) -> Any:
    return [list(head["baselines"]) for head in run.evaluation["splits"]["valid"]["heads"]]


def worst_rows(run: Run) -> Any:
    return [list(head["details"].get("worst", ())) for head in run.evaluation["splits"]["valid"]["heads"]]


def slices(run: Run) -> Any:
    return [head["details"].get("slices") for head in run.evaluation["splits"]["valid"]["heads"]]


def tracked(run: Run) -> Any:
    return len(run.client.mock_calls) > 0


def tracking_server(run: Run) -> Any:
    return run.client.server


def tracked_experiment(run: Run) -> Any:
    return run.client.create_experiment.call_args.args


def tracked_tags(run: Run) -> Any:
    calls = run.client.log_batch.call_args_list
    return sorted((tag.key, tag.value) for call in calls for tag in call.kwargs.get("tags", ()))


def logged_models(run: Run) -> Any:
    return run.logged_models


def answers(run: Run) -> Any:
    return run.evaluation["splits"]["valid"]["heads"][0]["details"]["answers"]


def judged(run: Run) -> Any:
    return sorted(run.evaluation["splits"]["valid"]["metrics"])


RUN_VIEWS = {
    place, answers, judged, last_step, train_records, task_weights, task_cosines, evaluations, best_value,
    batch_sizes, checkpoints, recorded,
    certainty, warned, metric_intervals,
    trained_weights, thresholds, baselines, worst_rows, slices, tracked, tracking_server, tracked_experiment,
    tracked_tags,
    logged_models,
}  # fmt: skip


def accepted(settings: dict[str, Any]) -> Any:
    """Whether settings are a configuration."""
    try:
        experiment.load_config(settings)
    except ConfigError:
        return False
    return True


def cached_tokens(config: ExperimentConfig, folder: Path) -> Any:
    """The files of tokens under the folder that the probe gives."""
    build.build(config, folder)
    return len(list((folder / "tokens-here").glob("*/input_ids")))


def remote_code(config: ExperimentConfig, folder: Path) -> Any:
    """What transformers is asked for by every loader."""
    import transformers

    asked = []
    with pytest.MonkeyPatch.context() as patch:
        for loader in (transformers.AutoTokenizer, transformers.AutoConfig, transformers.AutoModel):
            real = loader.from_pretrained

            def spy(*args: Any, real: Callable[..., Any] = real, **options: Any) -> Any:
                asked.append(options.get("trust_remote_code"))
                return real(*args, **options)

            patch.setattr(loader, "from_pretrained", spy)
        build.build(config, folder)
    return asked


def kept_rows(config: ExperimentConfig, folder: Path) -> Any:
    """Which events are used, and why the others are not."""
    made = build.build(config, Path(tempfile.mkdtemp(dir=folder)))
    ids = [split.rows.ids for source in made.sources for split in source.splits.values()]
    return sorted(name for each in ids for name in each), [bad.reason for bad in made.bad]


def refused_events(config: ExperimentConfig, folder: Path) -> Any:
    """Whether an event that has one of two fields is refused."""
    encoder = build.build(config, Path(tempfile.mkdtemp(dir=folder))).bundle.inputs["shared"]
    return [bad.reason for bad in encoder.encoder([encoder.given([{"n": 1.0}], [])]).bad]


def kept_logits(config: ExperimentConfig, folder: Path) -> Any:
    """The files of a teacher's logits under the folder that the probe gives."""
    build.build(config, folder)
    return len(list((folder / "top-k").rglob("*.safetensors")))


def drawn(settings: dict[str, Any], folder: Path) -> Any:
    """What the first trials of a search draw, where greater values of the searched key score better."""
    trials = trials_of(settings, folder)
    for _ in range(FIRST_TRIALS + 2):
        trial = trials.begin()
        if trial is not None:
            trials.end(trial.number, float(trial.values[SEARCHED]))
    return [trial.values for trial in trials.all()]


def pruned(settings: dict[str, Any], folder: Path) -> Any:
    """How trials ended of which the last has the worst scores."""
    trials = trials_of(settings, folder)
    for score in (*range(1, FIRST_TRIALS + 1), 0):
        trial = trials.begin()
        assert trial is not None
        for at in range(3):
            trials.report(trial.number, at, float(score), False)
        trials.end(trial.number, float(score))
    return [trial.state for trial in trials.all()]


def trials_of(settings: dict[str, Any], folder: Path) -> Trials:
    search = load_search(settings, schema=build.schema())
    database = Path(tempfile.mkdtemp(dir=folder)) / "study.db"
    return Trials(database, search.tune, search.dimensions, greater_is_better=True)


def trial_count(settings: dict[str, Any], folder: Path) -> Any:
    return len(study.tune(settings, device="cpu")["trials"])


def judged_by(settings: dict[str, Any], folder: Path) -> Any:
    return study.tune(settings, device="cpu")["metric"]


def kept_weights(settings: dict[str, Any], folder: Path) -> Any:
    return [(Path(trial["run"]) / "best").exists() for trial in study.tune(settings, device="cpu")["trials"]]


SEARCH_VIEWS = {drawn, pruned, trial_count, judged_by, kept_weights}


def watched_training(config: ExperimentConfig, folder: Path) -> Any:
    """What a sentinel tells, asks for, sets aside and keeps."""
    entry = Entry("r5", "calls", "task", "first", "label_error", 0.1, "by hand", 3, 3, "quarantined", "c")
    write_entries(folder / "given.jsonl", [entry])
    (sentinel,) = (each for each in configured_callbacks(config, Console(quiet=True)) if isinstance(each, Sentinel))
    with tempfile.TemporaryDirectory(dir=folder) as run:
        return guarded(sentinel, config, Path(run))


def told_trackers(config: ExperimentConfig, folder: Path) -> Any:
    """What stands in for trackers is made with."""
    made: list[Any] = []

    class Tracker(MagicMock):
        def __init__(self, run: str = "", **options: Any) -> None:
            super().__init__()
            made.append((run, sorted(options)))

    known = dict.fromkeys(("wandb", "comet_ml"), Tracker)
    with (
        patch("accelerate.tracking.get_available_trackers", return_value=list(known)),
        patch.dict("accelerate.tracking.LOGGER_TYPE_TO_CLASS", known),
    ):
        (told,) = (each for each in configured_callbacks(config, Console(quiet=True)) if isinstance(each, Trackers))
        (folder / "run.json").write_text("{}")
        here, state = SimpleNamespace(first=True), SimpleNamespace(step=0)
        told.on_train_begin(SimpleNamespace(processes=here, config=config, folder=folder, state=state))
        told.on_close("finished")
    return made


WHOLE_VIEWS = {cached_tokens, remote_code, kept_rows, refused_events, kept_logits, watched_training, told_trackers}


# ----------------------------------------------------------------------------------------------------------- the probes


@dataclass(frozen=True)
class Probe:
    """A value of the key, and what it changes.

    `value`: of the key, or by task type. `base`: the key's value to compare with; None: absent. `given`: settings that
    both have, by dotted key. ``{tmp}`` stands for the folder of the rows.
    """

    see: Callable[..., Any]
    value: Any
    given: Mapping[str, Any] = field(default_factory=dict)
    base: Any = None


@dataclass(frozen=True)
class ByType:
    """A value for each task type."""

    values: Mapping[str, Any]


ODD_CELLS = {"tasks[].data_path": "cells.jsonl"}
GOOD_IS_YES = {**ODD_CELLS, "tasks[].heads[].true_values": ["good", "good/late"]}
ODD_NUMBERS = {**ODD_CELLS, "tasks[].columns.label": "number"}
ODD_SPANS = {**ODD_CELLS, "tasks[].columns.entities": "spans"}
SMILES = {
    **ODD_CELLS, "tasks[].columns.entities": "smile", "tasks[].columns.text": "smiling", "data.max_bad_fraction": 0.5,
}  # fmt: skip
ITEM_NAMES = ["wrong", "late", "good"]
FUSED = {"fusion.type": "attention"}
ONE_SOURCE_MORE = {"second_task": True}
TRACKED = {"tracking.enabled": True}
FOUR_EPOCHS = {"training.epochs": 4}
MORE_VALID_ROWS = {"data.valid_fraction": 0.4}
ITEMS_TO_JUDGE = {"tasks[].type": "multi_label_classification", **MORE_VALID_ROWS}
COSTS = {**ITEMS_TO_JUDGE, "evaluation.thresholds.objective": "cost"}
OF_EVENTS = {"model": {"base_model": "mlp", "backbone_type": "sequential", "hidden_sizes": [8]}, "data": {}}

SEARCHED = "training.weight_decay"
INTERVAL = {"tune.space": {SEARCHED: {"low": 0.1, "high": 0.9}}}
SHORT_SEARCH = {**INTERVAL, "tune.trials": 1, "training.max_steps": 1}
EVENTS = {"model": {"base_model": "security_mlp_v1", "backbone_type": "sequential"}, "data": {"max_bad_fraction": 0.5}}
FIELDS = {
    "model": {"base_model": "ft_transformer_small", "backbone_type": "ft_transformer"},
    "data": {"max_bad_fraction": 0.5},
}
ODD_EVENTS = {
    **EVENTS, "tasks[].data_path": "odd.jsonl",
    "model.refinery": {"schema": {"fields": [{"path": "text", "kind": "text"}, {"path": "n", "kind": "numeric"}]}},
}  # fmt: skip

PICTURES = {
    "model": {"base_model": "jenga/tiny-vision", "backbone_type": "vision", "image_size": 8}, "data": {}, "media": True,
}  # fmt: skip
SOUND = {"model": {"base_model": "{whisper}", "backbone_type": "audio", "max_seconds": 2.5}, "data": {}, "media": True}
CHANGED_PICTURES = {**PICTURES, "model.augment": {"flip": False, "crop": 1.0, "brightness": 0.0}}
MASKED_SOUND = {**SOUND, "model.augment": {"time_masks": 2, "frequency_masks": 2}}

LEVELS = {"callbacks": {"nested_learning": {"levels": [{"match": "encoders.*", "period": 4}]}}}

OF_MOMENTS = ("transcription", "sound_event_detection")

LANGUAGE = {"tasks[].type": "causal_lm"}
TEACHER = {"base_model": "{gpt2}", "dropout": 0.0, "teacher_student_config": {"teacher_model": "{teacher}"}}
TAUGHT = {**LANGUAGE, "model": TEACHER}
TOP_K = {**LANGUAGE, "model": {**TEACHER, "teacher_student_config": {"teacher_model": "{teacher}", "top_k": 5}}}

STAGES: dict[str, Any] = {
    "stages": [{"name": "a", "where": {"second": ["clean", "no"]}}, {"name": "b", "where": {"second": "yes"}}],
    "data.test_fraction": 0.4, "training.epochs": 2, "training.learning_rate": 0.01, "training.batch_size": 4,
}  # fmt: skip
"""Two stages of other classes of a column that is no label."""
STRONG = {**STAGES, "continual.ewc": {"strength": 1e5}}

BOTH = {name: {"backbone_type": "text", "base_model": base} for name, base in (("one", "{gpt2}"), ("two", "{teacher}"))}
SEVERAL: dict[str, Any] = {"model": {"backbones": BOTH}, "data": {"max_length": 96}, "readers": ("two", "one")}
"""Two backbones of texts and a task more for each of them."""
JOINT: dict[str, Any] = {**SEVERAL, "tasks[].backbone": None, "tasks[].inputs": ["one", "two"]}

WATCHED: dict[str, Any] = {"callbacks.sentinel.mode": "act"}
PROBES: dict[str, Probe] = {
    "project_name": Probe(place, "other"),
    "data_root": Probe(rows_of, "{tmp}/elsewhere"),
    "output_dir": Probe(place, "{tmp}/other-runs"),
    # model
    "model[text].base_model": Probe(modules, "{wider}"),
    "model[text].tokenizer": Probe(tokens, "{other_words}"),
    "model[text].pooling": Probe(pooled, "cls"),
    "model[text].prefix": Probe(tokens, "query: "),
    "model[text].window_tokens": Probe(pooled, 5),
    "model[text].window_stride_tokens": Probe(pooled, 1, {"model.window_tokens": 5}),
    "model[text].dropout": Probe(dropouts, 0.4),
    "model[text].trust_remote_code": Probe(remote_code, True),
    "model[text].backbone_type": Probe(backbone_class, OTHER_BACKBONE),
    "model[text].teacher_student_config.enabled": Probe(taught_loss, False, TAUGHT),
    "model[text].teacher_student_config.teacher_model": Probe(taught_loss, "{other_teacher}", TAUGHT, base="{teacher}"),
    "model[text].teacher_student_config.distillation_alpha": Probe(taught_loss, 0.9, TAUGHT),
    "model[text].teacher_student_config.temperature": Probe(taught_loss, 5.0, TAUGHT),
    "model[text].teacher_student_config.divergence": Probe(taught_loss, "jsd", TAUGHT),
    "model[text].teacher_student_config.teacher_dtype": Probe(taught_loss, "bf16", TAUGHT),
    "model[text].teacher_student_config.student.from_teacher": Probe(
        modules, "every_2nd", {**LANGUAGE, "model": {**TEACHER, "base_model": "{teacher}"}}
    ),
    "model[text].teacher_student_config.top_k": Probe(taught_loss, 5, TAUGHT),
    "model[text].teacher_student_config.top_k_dir": Probe(kept_logits, "{tmp}/top-k", TOP_K),
    "model[text].teacher_student_config.hidden_states.weight": Probe(taught_loss, 3.0, TAUGHT, base=1.0),
    "model[text].teacher_student_config.hidden_states.loss": Probe(taught_loss, "cosine", TAUGHT, base="mse"),
    "model[text].teacher_student_config.hidden_states.layers": Probe(taught_loss, "last", TAUGHT, base="auto"),
    "model[text].teacher_student_config.attentions.weight": Probe(taught_loss, 3.0, TAUGHT, base=1.0),
    "model[text].teacher_student_config.attentions.layers": Probe(taught_loss, "auto", TAUGHT, base="last"),
    "model[sequential].backbone_type": Probe(backbone_class, OTHER_SEQUENTIAL, EVENTS, base="sequential"),
    "model[sequential].base_model": Probe(accepted, "mlp", EVENTS),
    "model[sequential].hidden_sizes": Probe(modules, [8], EVENTS),
    "model[sequential].residual": Probe(modules, True, EVENTS),
    "model[sequential].clip": Probe(modules, 1.0, EVENTS),
    "model[sequential].log_scale": Probe(modules, 10.0, EVENTS),
    "model[sequential].bins": Probe(modules, 8, EVENTS),
    "model[sequential].values_shared_by": Probe(modules, 1, {**EVENTS, "model.bins": 4}),
    "model[sequential].members": Probe(modules, 3, EVENTS),
    "model[sequential].normalization": Probe(modules, "layer", EVENTS),
    "model[sequential].dropout": Probe(dropouts, 0.4, EVENTS),
    "model[sequential].activation": Probe(pooled, "tanh", EVENTS),
    "model[ft_transformer].backbone_type": Probe(backbone_class, OTHER_FIELDS, FIELDS, base="ft_transformer"),
    "model[ft_transformer].base_model": Probe(modules, "ft_transformer", FIELDS),
    "model[ft_transformer].hidden_size": Probe(modules, 8, FIELDS),
    "model[ft_transformer].num_hidden_layers": Probe(modules, 1, FIELDS),
    "model[ft_transformer].num_attention_heads": Probe(pooled, 2, FIELDS),
    "model[ft_transformer].attention_dropout": Probe(attention_dropouts, 0.4, FIELDS),
    "model[ft_transformer].dropout": Probe(dropouts, 0.4, FIELDS),
    "model[ft_transformer].clip": Probe(modules, 1.0, {**FIELDS, "model.log_scale": None}),
    "model[ft_transformer].log_scale": Probe(pooled, 1.0, FIELDS),
    "model[ft_transformer].bins": Probe(modules, 8, FIELDS),
    "model[ft_transformer].values_shared_by": Probe(modules, 1, {**FIELDS, "model.bins": 4}),
    "model[sequential].refinery.preset": Probe(features, "nsl_kdd", {**EVENTS, "tasks[].data_path": "odd.jsonl"}),
    "model[sequential].refinery.schema": Probe(features, {"fields": [{"path": "text", "kind": "text"}]}, EVENTS),
    "model[sequential].refinery.validate": Probe(kept_rows, "fast", ODD_EVENTS),
    "model[sequential].refinery.nan": Probe(kept_rows, "missing", ODD_EVENTS),
    "model[sequential].refinery.duplicates": Probe(kept_rows, "quarantine", ODD_EVENTS),
    "model[vision].backbone_type": Probe(backbone_class, OTHER_VISION, PICTURES, base="vision"),
    "model[vision].base_model": Probe(modules, "{vit}", {**PICTURES, "model.image_size": 16}),
    "model[vision].image_size": Probe(inputs, 6, PICTURES),
    "model[vision].fit": Probe(inputs, "squash", PICTURES),
    "model[vision].dropout": Probe(dropouts, 0.4, PICTURES),
    "model[vision].trust_remote_code": Probe(
        remote_code, True, {**PICTURES, "model.base_model": "{vit}", "model.image_size": 16}
    ),
    "model[vision].augment.flip": Probe(changed_in_training, True, CHANGED_PICTURES),
    "model[vision].augment.crop": Probe(changed_in_training, 0.5, CHANGED_PICTURES),
    "model[vision].augment.shift": Probe(changed_in_training, 3, CHANGED_PICTURES),
    "model[vision].augment.brightness": Probe(changed_in_training, 0.5, CHANGED_PICTURES),
    "model[vision].augment.erase": Probe(changed_in_training, 0.9, CHANGED_PICTURES),
    "model[audio].backbone_type": Probe(backbone_class, OTHER_AUDIO, SOUND, base="audio"),
    "model[audio].base_model": Probe(modules, "{deeper_whisper}", SOUND),
    "model[audio].pooling": Probe(modules, "attention", SOUND),
    "model[audio].max_seconds": Probe(inputs, 2.1, SOUND),
    "model[audio].window_seconds": Probe(inputs, 1.0, SOUND),
    "model[audio].window_stride_seconds": Probe(inputs, 0.5, {**SOUND, "model.window_seconds": 1.0}),
    "model[audio].min_seconds": Probe(pooled, 1.0, {**SOUND, "tasks[].columns": {"start": "from", "end": "to"}}),
    "model[audio].dropout": Probe(encoder_dropout, 0.4, SOUND),
    "model[audio].trust_remote_code": Probe(remote_code, True, SOUND),
    "model[audio].augment.time_masks": Probe(changed_in_training, 5, MASKED_SOUND),
    "model[audio].augment.time_share": Probe(changed_in_training, 0.5, MASKED_SOUND),
    "model[audio].augment.frequency_masks": Probe(changed_in_training, 5, MASKED_SOUND),
    "model[audio].augment.frequency_share": Probe(changed_in_training, 0.9, MASKED_SOUND),
    "model[sequential].refinery.max_missing": Probe(refused_events, 0.2, ODD_EVENTS),
    "model[several backbones].backbones": Probe(
        modules, {**BOTH, "two": {**BOTH["two"], "base_model": "{other_teacher}"}}, SEVERAL, base=BOTH
    ),
    "model[several backbones].backbones{}.training.epochs": Probe(turns, 3, SEVERAL),
    "model[several backbones].backbones{}.training.batch_size": Probe(turns, 4, SEVERAL),
    "model[several backbones].backbones{}.training.tokens_per_step": Probe(turns, 40, SEVERAL),
    "model[several backbones].backbones{}.training.learning_rate": Probe(groups, 0.5, SEVERAL),
    "model[several backbones].backbones{}.training.learning_rate.backbone": Probe(groups, 0.5, SEVERAL),
    "model[several backbones].backbones{}.training.learning_rate.adapters": Probe(
        groups, 0.5, {**SEVERAL, "model.backbones.one.peft": {"type": "lora"}}
    ),
    "model[several backbones].backbones{}.training.learning_rate.fusion": Probe(groups, 0.5, {**SEVERAL, **FUSED}),
    "model[several backbones].backbones{}.training.learning_rate.heads": Probe(groups, 0.5, SEVERAL),
    "model[several backbones].backbones{}.training.learning_rate.rest": Probe(
        groups, 0.5, {**SEVERAL, "training.optimizer": "muon"}
    ),
    "model[several backbones].backbones{}.training.layer_decay": Probe(groups, 0.5, SEVERAL),
    "model[several backbones].backbones{}.training.weight_decay": Probe(groups, 0.5, SEVERAL),
    "model[several backbones].backbones{}.peft[lora].target": Probe(modules, ["c_attn"], SEVERAL),
    "model[several backbones].backbones{}.peft[dora].target": Probe(modules, ["c_attn"], SEVERAL),
    # tasks
    "tasks[*].backbone": Probe(modules, "two", SEVERAL, base="one"),
    "tasks[causal_lm].backbone": Probe(loss, "two", SEVERAL, base="one"),
    "tasks[*].inputs": Probe(accepted, ["one", "two"], {**SEVERAL, "tasks[].backbone": None}),
    # What labels words, moments or tokens reads one input.
    "tasks[ner].inputs": Probe(accepted, ["one", "two"], SEVERAL),
    "tasks[causal_lm].inputs": Probe(accepted, ["one", "two"], SEVERAL),
    **{
        f"tasks[{kind}].{key}": Probe(accepted, value, SOUND)
        for kind in OF_MOMENTS
        for key, value in (("inputs", ["one", "two"]), ("backbone", "one"))
    },
    "tasks[*].columns.image": Probe(rows_of, "picture", PICTURES),
    "tasks[*].columns.audio": Probe(rows_of, "sound", SOUND),
    "tasks[*].columns.start": Probe(rows_of, "from", SOUND),
    "tasks[*].columns.end": Probe(rows_of, "to", SOUND),
    "tasks[*].name": Probe(rows_of, "renamed"),
    "tasks[*].type": Probe(
        modules,
        ByType({kind: "regression" if kind == "classification" else "classification" for kind in TYPES}),
        {"tasks[].data_path": "any.jsonl"},
    ),
    "tasks[*].data_path": Probe(rows_of, ByType({kind: f"elsewhere/{kind}.jsonl" for kind in TYPES})),
    "tasks[*].data_path.train": Probe(rows_of, ByType({kind: f"elsewhere/{kind}.jsonl" for kind in TYPES})),
    "tasks[*].data_path.valid": Probe(rows_of, ByType({kind: f"elsewhere/{kind}.jsonl" for kind in TYPES})),
    "tasks[*].data_path.test": Probe(rows_of, ByType({kind: f"elsewhere/{kind}.jsonl" for kind in TYPES})),
    "tasks[*].columns.text": Probe(rows_of, "other"),
    "tasks[*].columns.text_pair": Probe(rows_of, "other"),
    "tasks[*].columns.tokens": Probe(rows_of, "words"),
    "tasks[*].columns.id": Probe(rows_of, "name"),
    "tasks[*].columns.label": Probe(rows_of, "second"),
    "tasks[*].columns.labels": Probe(rows_of, "other_labels"),
    "tasks[ner].columns.entities": Probe(rows_of, "spans"),
    "tasks[ner].columns.ner_tags": Probe(rows_of, "tags2"),
    "tasks[transcription].type": Probe(modules, "classification"),
    "tasks[sound_event_detection].type": Probe(
        modules, "multi_label_classification", {"tasks[].data_path": "any_sound.jsonl"}
    ),
    "tasks[transcription].columns.transcript": Probe(rows_of, "sentence"),
    "tasks[sound_event_detection].columns.events": Probe(rows_of, "annotated"),
    "tasks[*].max_length": Probe(tokens, 4),
    "tasks[causal_lm].max_length": Probe(tokens, 9, {"tasks[].columns": {"text": "text"}}),
    "tasks[causal_lm].columns.prompt": Probe(rows_of, "other"),
    "tasks[causal_lm].columns.completion": Probe(rows_of, "other"),
    "tasks[causal_lm].columns.messages": Probe(rows_of, "chat"),
    "tasks[causal_lm].loss_on": Probe(learnt, "all"),
    "tasks[causal_lm].template": Probe(tokens, "chat", {"model.tokenizer": "{chatty}"}),
    "tasks[causal_lm].separator": Probe(tokens, " then "),
    "tasks[causal_lm].packing": Probe(tokens, True),
    "tasks[causal_lm].generation.rows": Probe(answers, 1),
    "tasks[causal_lm].generation.max_new_tokens": Probe(answers, 1),
    "tasks[causal_lm].generation.exact_match": Probe(judged, True),
    "tasks[causal_lm].generation.answer_pattern": Probe(answers, "$", {"tasks[].generation": {"exact_match": True}}),
    "tasks[*].weight": Probe(loss, 3.0),
    "tasks[*].dropout": Probe(dropouts, 0.4),
    # heads
    "tasks[*].heads[].name": Probe(rows_of, "renamed", base="first"),
    "tasks[*].heads[].num_labels": Probe(modules, 7),
    "tasks[regression].heads[].num_labels": Probe(
        rows_of, 1, {"tasks[].data_path": "mixed.jsonl", "data.max_bad_fraction": 0.9}
    ),
    "tasks[classification].heads[].labels": Probe(rows_of, list(reversed(CLASSES))),
    "tasks[anomaly_detection].heads[].labels": Probe(rows_of, list(reversed(CLASSES))),
    "tasks[multi_label_classification].heads[].labels": Probe(rows_of, ITEM_NAMES),
    "tasks[qa_scoring].heads[].labels": Probe(rows_of, ITEM_NAMES),
    "tasks[ner].heads[].labels": Probe(rows_of, ["place", "person"]),
    "tasks[regression].heads[].labels": Probe(rows_of, ["minutes"]),
    "tasks[*].heads[].column": Probe(rows_of, "second"),
    "tasks[*].heads[].columns": Probe(rows_of, ["greets", "names"], {"tasks[].data_path": "ticks.jsonl"}),
    "tasks[*].heads[].missing_values": Probe(rows_of, ["late"], ODD_CELLS),
    "tasks[regression].heads[].missing_values": Probe(
        rows_of, ["late"], {**ODD_CELLS, "tasks[].columns.label": "number"}
    ),
    "tasks[ner].heads[].missing_values": Probe(rows_of, ["late"], ODD_SPANS),
    "tasks[*].heads[].label_separator": Probe(rows_of, "/", ODD_CELLS),
    "tasks[*].heads[].true_values": Probe(rows_of, ["good", "good/late"], ODD_CELLS),
    "tasks[*].heads[].false_values": Probe(rows_of, ["late"], GOOD_IS_YES),
    "tasks[ner].heads[].offset_unit": Probe(rows_of, "utf16", SMILES),
    "tasks[ner].heads[].partial_words": Probe(rows_of, "widen", SMILES),
    "tasks[transcription].heads[].num_labels": Probe(accepted, 7),
    "tasks[transcription].heads[].labels": Probe(
        rows_of, sorted({each for word in WORDS for each in word + word.upper()} | {"␣"})
    ),
    "tasks[transcription].heads[].missing_values": Probe(rows_of, ["call"]),
    "tasks[transcription].heads[].lowercase": Probe(rows_of, True),
    "tasks[sound_event_detection].heads[].labels": Probe(rows_of, list(reversed(CLASSES))),
    "tasks[sound_event_detection].heads[].missing_values": Probe(
        rows_of, ["late"], {"tasks[].columns.events": "maybe", "data.max_bad_fraction": 0.5}
    ),
    "tasks[sound_event_detection].heads[].threshold": Probe(metrics, 0.001),
    "tasks[sound_event_detection].heads[].min_seconds": Probe(metrics, 60.0),
    "tasks[*].heads[].weight": Probe(loss, 3.0),
    "tasks[*].heads[].calibration": Probe(warned, "isotonic"),
    "tasks[*].heads[].label_smoothing": Probe(loss, 0.3),
    "tasks[*].heads[].class_weight": Probe(loss, "balanced"),
    "tasks[*].heads[].pos_weight": Probe(loss, [1.0, 2.0, 3.0]),
    "tasks[anomaly_detection].mode": Probe(modules, "unsupervised", OF_EVENTS),
    "tasks[anomaly_detection].method": Probe(modules, "mahalanobis", {**OF_EVENTS, "tasks[].mode": "unsupervised"}),
    "tasks[anomaly_detection].loss": Probe(loss, "focal"),
    "tasks[anomaly_detection].gamma": Probe(loss, 5.0, {"tasks[].loss": "focal"}),
    "tasks[anomaly_detection].bottleneck": Probe(modules, 3, {**OF_EVENTS, "tasks[].mode": "unsupervised"}),
    "tasks[anomaly_detection].decoder": Probe(modules, [5], {**OF_EVENTS, "tasks[].mode": "unsupervised"}),
    "tasks[anomaly_detection].memory": Probe(
        trained_weights, 5, {**OF_EVENTS, "tasks[].mode": "unsupervised", "tasks[].method": "nearest"}
    ),
    "tasks[anomaly_detection].projection": Probe(
        modules, 5, {"tasks[].mode": "unsupervised", "tasks[].method": "deep_svdd"}
    ),
    "tasks[anomaly_detection].heads[].normal": Probe(metrics, "no"),
    "tasks[anomaly_detection].heads[].calibration": Probe(trained_weights, "none", MORE_VALID_ROWS),
    "tasks[anomaly_detection].heads[].target_fpr": Probe(trained_weights, 0.5, MORE_VALID_ROWS),
    "tasks[qa_scoring].heads[].kind": Probe(rows_of, "class", {"tasks[].data_path": "any.jsonl"}),
    "tasks[qa_scoring].heads[].item_weights": Probe(metrics, [5.0, 1.0, 0.0]),
    "tasks[regression].heads[].standardize": Probe(loss, False),
    # data
    "data.valid_fraction": Probe(rows_of, 0.3),
    "data.test_fraction": Probe(rows_of, 0.3),
    "data.split_seed": Probe(rows_of, 1),
    "data.max_length": Probe(tokens, 4),
    "data.max_bad_fraction": Probe(rows_of, 0.5, {"tasks[].data_path": "classification_bad.jsonl"}),
    "data.blank_rows": Probe(rows_of, "skip", {"tasks[].data_path": "classification_bad.jsonl"}),
    "data.format": Probe(rows_of, "jsonl", {"tasks[].data_path": "any.dat"}),
    "data.delimiter": Probe(rows_of, ";", {"tasks[].data_path": "marks.csv"}, base=","),
    "data.records": Probe(rows_of, "some.rows", {"tasks[].data_path": "listed.json"}, base="all.rows"),
    "data.max_rows": Probe(rows_of, 8),
    "data.exclude": Probe(rows_of, "{tmp}/audit.jsonl", {"tasks[].data_path": "marks.csv"}),
    "data.streaming": Probe(turns, True, {"training.max_steps": 3}),
    "data.cache_dir": Probe(cached_tokens, "{tmp}/tokens-here"),
    "data.workers": Probe(workers, 1),
    # peft
    "peft[lora].type": Probe(modules, "dora", base="lora"),
    "peft[dora].type": Probe(modules, "lora", base="dora"),
    "peft[adapter].type": Probe(modules, "lora", base="adapter"),
    "peft[*].rank": Probe(modules, 3),
    "peft[*].alpha": Probe(scales, 2.0),
    "peft[*].dropout": Probe(dropouts, 0.4),
    "peft[*].rslora": Probe(scales, True),
    "peft[*].target": Probe(modules, ["query"]),
    "peft[adapter].style": Probe(modules, "houlsby"),
    "peft[adapter].bottleneck": Probe(modules, 5),
    "peft[adapter].activation": Probe(modules, "relu"),
    "fusion.type": Probe(modules, "attention"),
    "fusion.dropout": Probe(dropouts, 0.4, FUSED),
    "fusion.input_dropout": Probe(input_dropouts, 0.9, JOINT),
    # training
    "training.epochs": Probe(last_step, 2),
    "training.max_steps": Probe(last_step, 2),
    "training.batch_size": Probe(turns, 4),
    "training.tokens_per_step": Probe(turns, 40, {"training.batch_size": None}),
    "training.gradient_accumulation_steps": Probe(turns, 2),
    "training.learning_rate": Probe(groups, 0.5),
    "training.learning_rate.backbone": Probe(groups, 0.5, FUSED),
    "training.learning_rate.rest": Probe(groups, 0.5, {**FUSED, "training.optimizer": "muon"}),
    "training.layer_decay": Probe(groups, 0.5),
    "training.learning_rate.adapters": Probe(groups, 0.5, {"peft.type": "lora"}),
    "training.learning_rate.fusion": Probe(groups, 0.5, FUSED),
    "training.learning_rate.heads": Probe(groups, 0.5, FUSED),
    "callbacks.nested_learning.levels[].match": Probe(groups, "tasks.*", LEVELS, base="encoders.*"),
    "callbacks.nested_learning.levels[].period": Probe(groups, 2, LEVELS, base=4),
    "callbacks.nested_learning.levels[].reduction": Probe(groups, "sum", LEVELS),
    "callbacks.nested_learning.levels[].optimizer": Probe(groups, "m3", LEVELS),
    "callbacks.nested_learning.levels[].optimizer.name": Probe(groups, "m3", LEVELS),
    "callbacks.nested_learning.levels[].max_grad_norm": Probe(groups, 0.5, LEVELS),
    "callbacks.nested_learning.levels[].learning_rate_factor": Probe(groups, 0.5, LEVELS),
    "training.optimizer": Probe(groups, "sgd"),
    "training.optimizer.name": Probe(groups, "sgd"),
    "training.scheduler": Probe(groups, "cosine"),
    "training.scheduler.name": Probe(groups, "cosine_with_restarts"),
    "training.warmup_steps": Probe(groups, 5),
    "training.warmup_ratio": Probe(groups, 0.5),
    "training.weight_decay": Probe(groups, 0.5),
    "training.max_grad_norm": Probe(trained_weights, 1e-8),
    "training.ema": Probe(trained_weights, 0.5),
    "training.precision": Probe(loss, "bf16"),
    "training.sampler": Probe(turns, "proportional", ONE_SOURCE_MORE),
    "training.rows_per_step": Probe(turns, {"task": 3}, {**ONE_SOURCE_MORE, "training.sampler": "together"}),
    "training.loss_balance": Probe(task_weights, "uncertainty", {"training.log_every_steps": 1}),
    "training.loss_balance.name": Probe(task_weights, "uncertainty", {"training.log_every_steps": 1}),
    "training.gradient_conflict": Probe(
        task_cosines, "sum", {**ONE_SOURCE_MORE, "training.sampler": "together", "training.log_every_steps": 1}
    ),
    "training.temperature": Probe(
        turns, 9.0, {**ONE_SOURCE_MORE, "training.sampler": "temperature", "training.batch_size": 2}
    ),
    "stages[].name": Probe(recorded, "other", STAGES, base="a"),
    "stages[].tasks": Probe(turns, ["task"], {**ONE_SOURCE_MORE, **STAGES}),
    "stages[].where": Probe(turns, {"second": "no"}, STAGES, base={"second": "clean"}),
    "stages[].epochs": Probe(last_step, 2, STAGES, base=1),
    "continual.replay.memory": Probe(turns, 2, STAGES),
    "continual.replay.keep": Probe(turns, "balanced", {**STAGES, "continual.replay.memory": 3}),
    "continual.replay.rows_per_step": Probe(turns, 1, {**STAGES, "continual.replay.memory": 20}),
    "continual.agem.memory": Probe(trained_weights, 1, STAGES, base=20),
    "continual.agem.keep": Probe(trained_weights, "reservoir", {**STAGES, "continual.agem.memory": 3}),
    "continual.agem.rows_per_step": Probe(trained_weights, 1, {**STAGES, "continual.agem.memory": 20}),
    "continual.ewc.strength": Probe(trained_weights, 1e6, STRONG, base=1.0),
    "continual.ewc.rows": Probe(trained_weights, 1, STRONG, base=8),
    "continual.prototypes": Probe(recorded, False, STAGES),
    "training.seed": Probe(modules, 1),
    "training.log_every_steps": Probe(train_records, 1),
    "training.gradient_checkpointing": Probe(checkpointing, True),
    "training.deterministic": Probe(is_deterministic, True),
    "training.fsdp": Probe(refused_whole, True),
    # evaluation
    "evaluation.every_steps": Probe(evaluations, 1),
    "evaluation.metric": Probe(best_value, "eval_task_first_accuracy", base="eval_loss"),
    "evaluation.greater_is_better": Probe(
        best_value,
        True,
        {"tasks[].type": OTHER_TASK, "evaluation.metric": "eval_task_first_evaluations", **FOUR_EPOCHS},
        base=False,
    ),
    "evaluation.batch_size": Probe(batch_sizes, 1),
    "evaluation.thresholds": Probe(thresholds, 0.3, {"tasks[].type": "multi_label_classification"}),
    "evaluation.thresholds.objective": Probe(
        thresholds, "recall", {**ITEMS_TO_JUDGE, "evaluation.thresholds.at": 0.9}, base="precision"
    ),
    "evaluation.thresholds.at": Probe(
        thresholds, 0.01, {**ITEMS_TO_JUDGE, "evaluation.thresholds.objective": "false_positive_rate"}, base=0.99
    ),
    "evaluation.thresholds.costs.false_positive": Probe(thresholds, 1e6, COSTS, base=1e-6),
    "evaluation.thresholds.costs.false_negative": Probe(thresholds, 1e6, COSTS, base=1e-6),
    "evaluation.calibration": Probe(warned, "isotonic"),
    "evaluation.conformal.coverage": Probe(certainty, 0.6, MORE_VALID_ROWS, base=0.3),
    "evaluation.out_of_scope.score": Probe(certainty, "probability", MORE_VALID_ROWS, base="energy"),
    "evaluation.out_of_scope.keep": Probe(certainty, 0.1, MORE_VALID_ROWS, base="auto"),
    "evaluation.bootstrap": Probe(metric_intervals, 0),
    "evaluation.baselines": Probe(baselines, ["tfidf"]),
    "evaluation.worst_errors": Probe(worst_rows, 1, base=0),
    "evaluation.slices": Probe(slices, ["id"]),
    "early_stopping.patience": Probe(last_step, 2, {**FOUR_EPOCHS, "early_stopping.min_delta": 1000.0}, base=1),
    "early_stopping.min_delta": Probe(
        last_step, 1000.0, {**FOUR_EPOCHS, "early_stopping.patience": 1, "evaluation.metric": "eval_loss"}, base=0.0
    ),
    "checkpoint.every_steps": Probe(checkpoints, 1, {"checkpoint.keep": 9}),
    "checkpoint.keep": Probe(checkpoints, 2, {"checkpoint.every_steps": 1}),
    # callbacks
    "callbacks.trackers.to": Probe(told_trackers, ["comet_ml"], base=["wandb"]),
    "callbacks.trackers.project": Probe(told_trackers, "ours", {"callbacks.trackers.to": ["wandb"]}),
    "callbacks.trackers.init": Probe(told_trackers, {"wandb": {"entity": "us"}}, {"callbacks.trackers.to": ["wandb"]}),
    "callbacks.sentinel.mode": Probe(watched_training, "act", base="observe"),
    "callbacks.sentinel.window": Probe(watched_training, 25, WATCHED),
    "callbacks.sentinel.spike_z": Probe(watched_training, 20.0, WATCHED),
    "callbacks.sentinel.undo_z": Probe(watched_training, 5.0, WATCHED),
    "callbacks.sentinel.keep": Probe(watched_training, 4, WATCHED),
    "callbacks.sentinel.verify_steps": Probe(watched_training, 8, WATCHED),
    "callbacks.sentinel.label_errors": Probe(watched_training, False, WATCHED),
    "callbacks.sentinel.early_epochs": Probe(watched_training, 1, WATCHED),
    "callbacks.sentinel.triggers": Probe(watched_training, False, WATCHED),
    "callbacks.sentinel.max_fraction": Probe(watched_training, 0.02, WATCHED),
    "callbacks.sentinel.max_class_fraction": Probe(watched_training, 0.02, WATCHED),
    "callbacks.sentinel.drift_psi": Probe(watched_training, 1e-9, WATCHED, base=50.0),
    "callbacks.sentinel.quarantine": Probe(watched_training, "{tmp}/given.jsonl", WATCHED),
    # tracking
    "tracking.enabled": Probe(tracked, True, base=False),
    "tracking.uri": Probe(tracking_server, "sqlite:///{tmp}/other.db", TRACKED),
    "tracking.experiment": Probe(tracked_experiment, "other", TRACKED),
    "tracking.tags": Probe(tracked_tags, {"team": "helpline"}, TRACKED),
    "tracking.log_model": Probe(logged_models, False, TRACKED),
    # the search
    "tune.space": Probe(drawn, {SEARCHED: [0.1, 0.3]}, base={SEARCHED: [0.1, 0.2]}),
    "tune.space{}.low": Probe(drawn, 0.2, INTERVAL),
    "tune.space{}.high": Probe(drawn, 0.8, INTERVAL),
    "tune.space{}.log": Probe(drawn, True, INTERVAL),
    "tune.space{}.step": Probe(drawn, 0.2, INTERVAL),
    "tune.sampler": Probe(drawn, "random", INTERVAL),
    "tune.seed": Probe(drawn, 1, INTERVAL),
    "tune.pruner": Probe(pruned, "none", INTERVAL),
    "tune.trials": Probe(trial_count, 2, SHORT_SEARCH),
    "tune.timeout_s": Probe(trial_count, 1e-9, SHORT_SEARCH),
    "tune.metric": Probe(judged_by, "eval_task_loss", SHORT_SEARCH),
    "tune.keep": Probe(kept_weights, "all", {**SHORT_SEARCH, "tune.trials": 2}),
}

PROBES |= {
    name.replace("model[sequential].", "model[ft_transformer]."): replace(
        probe, given={**probe.given, "model": FIELDS["model"]}
    )
    for name, probe in PROBES.items()
    if name.startswith("model[sequential].refinery.")
}


IN_SEVERAL = "model[several backbones].backbones{}."
"""Where the blocks beside `model` stand of one backbone of several."""


def probe_of(leaf: str) -> str | None:
    """Return the name of a leaf's probe: its own, else the one for every type."""
    shorter = leaf.removeprefix(IN_SEVERAL) if leaf.startswith(f"{IN_SEVERAL}peft[") else leaf
    names = (leaf, shorter, re.sub(r"^(tasks|peft)\[\w+\]", r"\1[*]", shorter))
    return next((name for name in names if name in PROBES), None)


# ----------------------------------------------------------------------------------------------------------- the tests


class Laboratory:
    """Makes configurations and looks at what comes of them; what was looked at once is remembered."""

    def __init__(self, folder: Path, checkpoints: Mapping[str, str]) -> None:
        self.folder = folder
        self.checkpoints = {"{tmp}": str(folder), **checkpoints}
        self.runs: dict[str, Run] = {}
        self.built: dict[str, Built] = {}
        write_files(folder)

    def settings(self, kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
        given = dict(given)
        task = {"name": "task", "type": kind, "data_path": f"{kind}.jsonl", "heads": [{"name": "first"}]}
        settings: dict[str, Any] = {
            "project_name": "test", "model": {"base_model": "{bert}"}, "tasks": [task], "data_root": "{tmp}",
            "data": {"max_length": 16}, "training": {"epochs": 1, "batch_size": 8},
            "evaluation": {"baselines": ["majority"]}, "tracking": {"enabled": False}, "output_dir": "{tmp}/runs",
        }  # fmt: skip
        if given.pop("media", False):
            task["data_path"] = f"{kind}_media.jsonl"
        if given.pop("second_task", False):
            settings["tasks"].append({**copy.deepcopy(task), "name": "more", "data_path": f"elsewhere/{kind}.jsonl"})
        for reader in given.pop("readers", ()):
            more = {"name": reader, "data_path": "classification.jsonl", "backbone": reader}
            settings["tasks"].append({**task, "type": "classification", **more})
            task["backbone"] = "one"
        for key, value in given.items():
            put(settings, key, value)
        if given.get("tasks[].type"):
            task["data_path"] = f"{given['tasks[].type']}.jsonl"
        if task["type"] in OF_MOMENTS and settings["model"].get("base_model") == "{bert}":
            # They read sound alone, and all of it.
            own = {k: v for k, v in settings["model"].items() if k != "base_model"}
            settings |= {"model": {**SOUND["model"], "max_seconds": 3.5, **own}}
            settings["data"].pop("max_length")
        if task["type"] == "causal_lm":
            settings["data"]["max_length"] = 96
            if settings["model"].get("base_model") == "{bert}":
                settings["model"]["base_model"] = "{gpt2}"
        return settings

    def see(self, view: Callable[..., Any], settings: dict[str, Any]) -> Any:
        text = json.dumps(settings)
        for name, path in self.checkpoints.items():
            text = text.replace(name, path)
        if view is accepted:
            return accepted(json.loads(text))
        if view in SEARCH_VIEWS:
            return view(json.loads(text), self.folder)
        config = experiment.load_config(json.loads(text))
        torch.use_deterministic_algorithms(False)
        try:
            if view is rows_of:
                return rows_of(config)
            if view in WHOLE_VIEWS:
                return view(config, self.folder)
            if view in RUN_VIEWS:
                if text not in self.runs:
                    self.runs[text] = self.run(config)
                return view(self.runs[text])
            if text not in self.built or view is is_deterministic:
                self.built[text] = Built(config, self.folder)
            return view(self.built[text])
        finally:
            torch.use_deterministic_algorithms(False)

    def run(self, config: ExperimentConfig) -> Run:
        batches: list[int] = []
        client, models = MagicMock(), []
        client.get_experiment_by_name.return_value = None
        client.create_experiment.return_value = "0"
        client.create_run.return_value.info.run_id = "run"

        def connect(**options: Any) -> MagicMock:
            client.server = options["tracking_uri"]
            return client

        real = EncodedSplit.batch

        def batch(split: EncodedSplit, index: Any, **options: Any) -> Any:
            batches.append(len(index))
            return real(split, index, **options)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(EncodedSplit, "batch", batch)
            patch.setattr(experiment, "write_report", lambda folder: None)
            patch.setattr(experiment, "write_card", lambda folder: None)
            if config.tracking.enabled:
                patch.setattr("mlflow.tracking.MlflowClient", connect)
                patch.setattr("jenga.callbacks.mlflow.log_model", lambda *_, **__: models.append(1))
                patch.setattr("jenga.callbacks.mlflow.write_plots", lambda *_: None)
                patch.setattr("jenga.callbacks.mlflow._ARTIFACTS", ())
            result = experiment.train(config, device="cpu")
        return Run(result.run, result.evaluation, batches, client, len(models))


def put(settings: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key, as of a leaf or shorter; what is in brackets picks the first item, or nothing."""
    key = key.replace(IN_SEVERAL, "model.backbones.one.").replace("tune.space{}.", "tune.space.{searched}.")
    *holders, last = re.sub(r"(^model|\bpeft)\[[\w ]+\]", r"\1", key).split(".")
    at: Any = settings
    for holder in holders:
        name, bracket, _ = holder.replace("{searched}", SEARCHED).partition("[")
        if name == "data_path" and isinstance(at.get(name), str):
            at[name] = {"train": at[name]}
        at = at.setdefault(name, {})
        at = at[0] if bracket else at
    at[last] = copy.deepcopy(value)


@pytest.fixture(scope="module")
def laboratory(
    tmp_path_factory: pytest.TempPathFactory,
    make_bert: Callable[..., Path],
    make_gpt2: Callable[..., Path],
    make_whisper: Callable[..., Path],
    make_vit: Callable[..., Path],
) -> Iterator[Laboratory]:
    class OtherBackbone(TextBackbone):
        pass

    class OtherSequential(SequentialBackbone):
        pass

    class OtherFields(FTTransformer):
        pass

    class OtherVision(VisionBackbone):
        pass

    class OtherAudio(AudioBackbone):
        pass

    class OtherTask(BaseTask):
        """Counts evaluations, of which it does not say which way they are better."""

        n_evaluations = 0

        def declared_metrics(self, space: HeadSpace) -> tuple[Metric, ...]:
            return (Metric("evaluations"),)

        def metrics(self, *_: Any, **__: Any) -> dict[str, float]:
            self.n_evaluations += 1
            return {"evaluations": float(self.n_evaluations)}

    TASK_REGISTRY.register(OTHER_TASK)(OtherTask)
    BackboneManager.register(OTHER_BACKBONE, config=ModelConfig)(OtherBackbone)
    BackboneManager.register(OTHER_SEQUENTIAL, config=SequentialConfig)(OtherSequential)
    BackboneManager.register(OTHER_FIELDS, config=FTTransformerConfig)(OtherFields)
    BackboneManager.register(OTHER_VISION, config=VisionConfig)(OtherVision)
    BackboneManager.register(OTHER_AUDIO, config=AudioConfig)(OtherAudio)
    words = " ".join(WORDS)
    checkpoints = {
        "{bert}": make_bert(words=words),
        "{wider}": make_bert(words=words, hidden_size=24),
        "{other_words}": make_bert(words=" ".join(reversed(WORDS))),
        "{gpt2}": make_gpt2(width=16, positions=300),
        "{teacher}": make_gpt2(layers=4, width=24, positions=300, seed=1),
        "{other_teacher}": make_gpt2(layers=4, width=24, positions=300, seed=2),
        "{chatty}": chatty(make_gpt2(width=16)),
        "{whisper}": make_whisper(),
        "{deeper_whisper}": make_whisper(layers=3),
        "{vit}": make_vit(),
    }
    laboratory = Laboratory(tmp_path_factory.mktemp("effects"), {name: str(path) for name, path in checkpoints.items()})
    shutil.copy(laboratory.folder / "classification.jsonl", laboratory.folder / f"{OTHER_TASK}.jsonl")
    yield laboratory
    del TASK_REGISTRY[OTHER_TASK]
    for name in (OTHER_BACKBONE, OTHER_SEQUENTIAL, OTHER_FIELDS, OTHER_VISION, OTHER_AUDIO):
        del BackboneManager._REGISTRY[name]


def chatty(folder: Path) -> Path:
    """Give the tokenizer in `folder` a chat template."""
    turns = "{% for each in messages %}{{ each.role }}: {{ each.content }}<|end|>\n{% endfor %}"
    (folder / "chat_template.jinja").write_text(turns + "{% if add_generation_prompt %}assistant: {% endif %}")
    return folder


def test_the_walk_reaches_every_block() -> None:
    assert len(LEAVES) > 150
    assert len(TYPES) >= 5
    for leaf in (
        "training.learning_rate", "training.learning_rate.backbone", "tasks[ner].heads[].label_smoothing",
        "tasks[qa_scoring].heads[].item_weights", "tasks[regression].data_path.valid", "model[text].pooling",
        "tasks[classification].columns.label", "early_stopping.patience", "tracking.tags",
    ):  # fmt: skip
        assert leaf in LEAVES


def test_every_key_has_a_probe_and_every_probe_a_key() -> None:
    assert [leaf for leaf in LEAVES if probe_of(leaf) is None] == []
    assert sorted(PROBES.keys() - {probe_of(leaf) for leaf in LEAVES}) == []


@pytest.mark.parametrize("view", [rows_of, modules, loss, groups, turns, trained_weights, batch_sizes])
def test_equal_settings_look_equal(view: Callable[..., Any], laboratory: Laboratory) -> None:
    settings = laboratory.settings("classification", {})
    first = laboratory.see(view, settings)
    laboratory.runs.clear()
    laboratory.built.clear()
    assert laboratory.see(view, settings) == first


def test_a_key_without_an_effect_would_be_noticed(laboratory: Laboratory) -> None:
    base, changed = laboratory.settings("ner", {}), laboratory.settings("ner", {"data.cache_dir": "{tmp}/unseen"})
    assert laboratory.see(tokens, base) == laboratory.see(tokens, changed)
    assert laboratory.see(rows_of, base) == laboratory.see(rows_of, changed)


@pytest.mark.parametrize("leaf", LEAVES)
def test_key_has_an_effect(leaf: str, laboratory: Laboratory) -> None:
    name = probe_of(leaf)
    assert name is not None
    probe = PROBES[name]
    found = re.match(r"tasks\[(\w+)\]", leaf)
    kind = found[1] if found else "classification"
    value = probe.value.values[kind] if isinstance(probe.value, ByType) else probe.value
    given = dict(probe.given)
    if leaf.startswith(IN_SEVERAL):
        given = {**SEVERAL, **given}
    if found := re.match(rf"({re.escape(IN_SEVERAL)})?peft\[(\w+)\]", leaf):
        given[f"{found[1] or ''}peft.type"] = found[2]
    base, changed = laboratory.settings(kind, given), laboratory.settings(kind, given)
    key = re.sub(r"^tasks\[\w+\]", "tasks[]", leaf)
    if probe.base is not None:
        put(base, key, probe.base)
    elif key.startswith("tasks[].data_path."):
        put(base, "tasks[].data_path.train", base["tasks"][0]["data_path"])
    put(changed, key, value)
    assert base != changed
    assert laboratory.see(probe.see, base) != laboratory.see(probe.see, changed)

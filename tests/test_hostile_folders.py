"""Folders from somebody else whose code must not run: 0 of those below may, whatever they say of themselves.

Each writes a file if its code runs. That it could is shown each time: by the same command with --trust-remote-code, or
by the loader that a careless program would have used. All checksums are renewed, as whoever changes a folder can.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import pickle
import re
import runpy
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

import jenga
from jenga.cli.main import jenga as command
from jenga.errors import SetupError
from jenga.files import MANIFEST
from jenga.inference.pyfunc import _load_pyfunc

pytestmark = pytest.mark.usefixtures("without_report")

Control = Callable[[], object]
REFUSED = r"needs code of its own \(.+\), which was not run.*--trust-remote-code.*trust_remote_code=True"
CODE = """
from pathlib import Path
Path({marker!r}).touch()
from transformers import BertConfig, BertModel, BertTokenizerFast, GPT2Config, GPT2LMHeadModel

class Config(BertConfig):
    model_type = {kind!r}

class Model(BertModel):
    config_class = Config

class Plain(BertModel):
    pass

class Tokenizer(BertTokenizerFast):
    pass

class Causal(GPT2LMHeadModel):
    pass

def generate(model, *arguments, **options):
    return type(model).generate(model, *arguments, **options)
"""
LINES = [{"text": f"is it a {word} song", "label": word} for word in ("good", "great", "wrong") for _ in range(10)]
CHATS = [
    {"messages": [{"role": "user", "content": f"play {word}"}, {"role": "assistant", "content": "yes"}]}
    for word in ("song", "a song", "the song", "it", "right", "great") * 5
]
TEMPLATE = (
    "{% for each in messages %}<{{ each.role }}>{{ each.content }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


class Touch:
    """An object whose pickle makes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@dataclass
class Attack:
    """A command on a hostile folder: how it ends, and what would run the code (None: the command, once allowed)."""

    arguments: list[str]
    says: str = REFUSED
    exit_code: int = 4
    control: Control | None = None


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(command, arguments, prog_name="jenga")


def edit(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def renew_checksums(folder: Path) -> None:
    manifest = folder / "manifest.json"
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path != manifest]
    digests = {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    manifest.write_text(json.dumps(digests))


def say_trusted(best: Path, **model: Any) -> None:
    """Let a model say of itself that its code may run."""
    config = json.loads((best / "jenga.json").read_text())["config"]
    config["model"] |= {"trust_remote_code": True, **model}
    edit(best / "jenga.json", config=config)


# ------------------------------------------------------------------------------------------------- what is made hostile


def experiment(folder: Path, model: dict[str, Any], rows: list[Any], task: dict[str, Any], **blocks: Any) -> Path:
    """Write an experiment of one step and its rows; return its file."""
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    content = {
        "project_name": "test", "model": model, "tasks": [{"name": "t", "data_path": "rows.jsonl", **task}],
        "data": {"max_length": 64, "cache_dir": str(folder / "cache")}, "training": {"max_steps": 1, "batch_size": 8},
        "evaluation": {"baselines": []}, "tracking": {"enabled": False}, "output_dir": str(folder / "runs"), **blocks,
    }  # fmt: skip
    path = folder / "test.yml"
    path.write_text(json.dumps(content))
    return path


HEADS: dict[str, Any] = {"type": "classification", "heads": [{"name": "kind"}]}
CAUSAL: dict[str, Any] = {"type": "causal_lm", "generation": {"rows": 0}}


@pytest.fixture(scope="session")
def runs(
    tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path, make_gpt2: Callable[..., Path]
) -> Callable[[str], Path]:
    """Return a function that gives the folder of a finished run by the kind of its model."""
    made: dict[str, Path] = {}

    def make(kind: str) -> Path:
        if kind not in made:
            folder = tmp_path_factory.mktemp(kind)
            if kind == "chat":
                model = shutil.copytree(make_gpt2(), folder / "gpt2")
                (model / "chat_template.jinja").write_text(TEMPLATE)
                config = experiment(folder, {"base_model": str(model)}, CHATS, CAUSAL)
            else:
                base = "jenga/tiny-text" if kind == "tiny" else str(tiny_bert)
                blocks = {"peft": {"type": "lora", "rank": 2}} if kind == "lora" else {}
                config = experiment(folder, {"base_model": base}, LINES, HEADS, **blocks)
            made[kind] = jenga.train(config, device="cpu").run
        return made[kind]

    return make


class Lab:
    """Where a hostile folder is made."""

    def __init__(self, folder: Path, runs: Callable[[str], Path], bert: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.runs, self.bert, self.patch = folder, runs, bert, patch
        self.marker = folder / "ran"
        self.kind = f"evil-{folder.name}".lower()

    def run(self, kind: str) -> Path:
        """Return a copy of a run."""
        return shutil.copytree(self.runs(kind), self.folder / "run")

    def checkpoint(self, source: Path | None = None) -> Path:
        return shutil.copytree(source or self.bert, self.folder / "checkpoint")

    def pickled(self, path: Path) -> Control:
        """Put a pickle in the place of `path`; return what would read it carelessly."""
        if path.suffix == ".bin":
            torch.save({"weight": Touch(self.marker)}, path)
            return lambda: torch.load(path, weights_only=False)
        content = pickle.dumps(Touch(self.marker))
        path.write_bytes(content)
        return lambda: pickle.loads(content)

    def taint(self, checkpoint: Path, *what: str) -> None:
        """Give a checkpoint code for its config, model, plain (a known type's model), causal model or tokenizer."""
        (checkpoint / "evil.py").write_text(CODE.format(marker=str(self.marker), kind=self.kind))
        names = {"config": ("AutoConfig", "Config"), "model": ("AutoModel", "Model"), "plain": ("AutoModel", "Plain"),
                 "causal": ("AutoModelForCausalLM", "Causal")}  # fmt: skip
        if found := {names[each][0]: f"evil.{names[each][1]}" for each in what if each in names}:
            edit(checkpoint / "config.json", auto_map=found, **({"model_type": self.kind} if "config" in what else {}))
        if "tokenizer" in what:
            given = {"AutoTokenizer": [None, "evil.Tokenizer"]}
            edit(checkpoint / "tokenizer_config.json", auto_map=given, tokenizer_class="Tokenizer")

    def tainted_run(self, kind: str, *what: str) -> Path:
        run = self.run(kind)
        self.taint(run / "best" / "backbone", *what)
        say_trusted(run / "best")
        renew_checksums(run / "best")
        return run

    def predict(self, run: Path) -> list[str]:
        return ["predict", str(run), "--text", "is it a good song"]

    def experiment(self, model: dict[str, Any], task: dict[str, Any] = HEADS, **blocks: Any) -> str:
        rows: list[Any] = CHATS if task["type"] == "causal_lm" else LINES
        return str(experiment(self.folder, {"base_model": str(self.bert), **model}, rows, task, **blocks))


@pytest.fixture
def lab(tmp_path: Path, runs: Callable[[str], Path], tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    from transformers import dynamic_module_utils

    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    return Lab(tmp_path, runs, tiny_bert, monkeypatch)


# ------------------------------------------------------------------------------------------- hostile models of a run


def run_with_a_config_class(lab: Lab) -> Attack:
    return Attack(lab.predict(lab.tainted_run("bert", "config", "model")))


def run_with_a_model_of_a_known_type(lab: Lab) -> Attack:
    return Attack(lab.predict(lab.tainted_run("bert", "plain")))


def run_with_a_tokenizer(lab: Lab) -> Attack:
    return Attack(lab.predict(lab.tainted_run("bert", "tokenizer")))


def run_that_is_evaluated(lab: Lab) -> Attack:
    return Attack(["evaluate", str(lab.tainted_run("bert", "config", "model")), "--split", "test"])


def run_that_is_exported_in_another_type(lab: Lab) -> Attack:
    run = lab.tainted_run("bert", "config", "model")
    return Attack(["export", str(run), "-o", str(lab.folder / "out"), "--dtype", "bf16"])


def exported_model(lab: Lab) -> Attack:
    run = lab.tainted_run("bert", "config", "model")
    assert invoke("export", str(run), "-o", str(lab.folder / "out")).exit_code == 0
    return Attack(lab.predict(lab.folder / "out"))


def run_that_generates(lab: Lab) -> Attack:
    return Attack(["generate", str(lab.tainted_run("chat", "causal")), "--prompt", "play it", "--max-new-tokens", "2"])


def run_with_its_own_way_to_generate(lab: Lab) -> Attack:
    run = lab.run("chat")
    folder = run / "best" / "backbone" / "custom_generate"
    folder.mkdir()
    (folder / "generate.py").write_text(CODE.format(marker=str(lab.marker), kind=lab.kind))
    say_trusted(run / "best")
    renew_checksums(run / "best")
    return Attack(["generate", str(run), "--prompt", "play it", "--max-new-tokens", "2"])


def run_that_does_not_say_so(lab: Lab) -> Attack:
    from transformers import AutoModel

    run = lab.run("bert")
    lab.taint(run / "best" / "backbone", "config", "model")
    renew_checksums(run / "best")
    control = lambda: AutoModel.from_pretrained(run / "best" / "backbone", trust_remote_code=True)  # noqa: E731
    return Attack(lab.predict(run), control=control)


def adapters_on_a_hostile_base(lab: Lab) -> Attack:
    run, base = lab.run("lora"), lab.checkpoint()
    lab.taint(base, "config", "model")
    edit(run / "best" / "backbone" / "adapter_config.json", base_model_name_or_path=str(base))
    say_trusted(run / "best")
    renew_checksums(run / "best")
    return Attack(lab.predict(run))


def adapters_on_a_hostile_base_that_are_merged(lab: Lab) -> Attack:
    run = Path(adapters_on_a_hostile_base(lab).arguments[1])
    return Attack(["export", str(run), "-o", str(lab.folder / "out"), "--merge"])


def adapters_of_a_method_that_loads_a_tokenizer(lab: Lab) -> Attack:
    """PEFT takes the method from the file, and transformers asks on the terminal whether the code may run."""
    from peft import PeftConfig, get_peft_model
    from transformers import AutoModel

    run, tokenizer = lab.run("lora"), lab.checkpoint()
    lab.taint(tokenizer, "config")
    lab.patch.setattr("builtins.input", lambda question: "y")
    folder = run / "best" / "backbone"
    settings = {
        "peft_type": "PROMPT_TUNING", "task_type": "FEATURE_EXTRACTION", "prompt_tuning_init": "TEXT",
        "prompt_tuning_init_text": "good", "num_virtual_tokens": 1, "tokenizer_name_or_path": str(tokenizer),
        "base_model_name_or_path": str(lab.bert),
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    renew_checksums(run / "best")

    def careless() -> None:
        settings = PeftConfig.from_pretrained(str(folder))
        settings.inference_mode = False
        get_peft_model(AutoModel.from_pretrained(lab.bert), settings)

    return Attack(
        lab.predict(run), "adapter_config.json: no settings of adapters of Jenga: peft_type", control=careless
    )


def run_whose_tokenizer_makes_transformers_ask(lab: Lab) -> Attack:
    """A class that a tokenizer names is loaded without the caller's answer, so that the terminal is asked."""
    from transformers import AutoTokenizer

    run = lab.run("bert")
    folder = run / "best" / "backbone"
    lab.taint(folder, "config", "model")
    edit(folder / "tokenizer_config.json", tokenizer_class="AutoModel")
    renew_checksums(run / "best")
    lab.patch.setattr("builtins.input", lambda question: "y")
    return Attack(lab.predict(run), control=lambda: AutoTokenizer.from_pretrained(folder, trust_remote_code=False))


def run_that_asks_for_a_kernel_of_the_hub(lab: Lab) -> Attack:
    from transformers import AutoModel
    from transformers.integrations import hub_kernels

    run = lab.run("bert")
    folder = run / "best" / "backbone"
    edit(folder / "config.json", attn_implementation="kernels-community/evil")
    renew_checksums(run / "best")
    # As if the library that fetches kernels were installed, which it is not here.
    lab.patch.setattr(hub_kernels, "is_kernels_available", lambda *_, **__: True)
    lab.patch.setattr(hub_kernels, "get_kernel", lambda *_, **__: lab.marker.touch())
    says = "asks in config.json for the attention 'kernels-community/evil'"
    return Attack(lab.predict(run), says, control=lambda: AutoModel.from_pretrained(folder))


def run_that_names_a_backbone_by_its_module(lab: Lab) -> Attack:
    run = lab.run("bert")
    module = f"evil_{lab.folder.name}"
    (lab.folder / f"{module}.py").write_text(CODE.format(marker=str(lab.marker), kind=lab.kind))
    lab.patch.syspath_prepend(lab.folder)
    say_trusted(run / "best", backbone_type=f"{module}.Model", _target_=f"{module}.Model")
    renew_checksums(run / "best")
    return Attack(
        lab.predict(run), "parts or settings that are not here", control=lambda: importlib.import_module(module)
    )


def run_that_names_a_callback_by_its_module(lab: Lab) -> Attack:
    attack = run_that_names_a_backbone_by_its_module(lab)
    best = Path(attack.arguments[1]) / "best"
    shutil.copy(lab.runs("bert") / "best" / "jenga.json", best)
    config = json.loads((best / "jenga.json").read_text())["config"] | {
        "callbacks": {f"evil_{lab.folder.name}.Model": {}}
    }
    edit(best / "jenga.json", config=config)
    renew_checksums(best)
    return attack


def run_that_generates_by_a_program_of_the_hub(lab: Lab) -> Attack:
    """Some ways to generate are programs of the hub now, and the model's own settings choose among them."""
    import transformers

    run = lab.run("chat")
    folder = run / "best" / "backbone"
    edit(folder / "generation_config.json", penalty_alpha=0.6, top_k=4)
    edit(folder / "config.json", penalty_alpha=0.6, top_k=4)
    say_trusted(run / "best")
    renew_checksums(run / "best")
    # In place of fetching it, for which a test has no network.
    fetched = lambda *_, **__: lambda **__: lab.marker.touch()  # noqa: E731
    lab.patch.setattr(transformers.GPT2LMHeadModel, "load_custom_generate", fetched)

    def careless() -> None:
        model = transformers.GPT2LMHeadModel.from_pretrained(folder)
        model.generate(torch.ones(1, 1, dtype=torch.long), trust_remote_code=True)

    arguments = ["generate", str(run), "--prompt", "play it", "--max-new-tokens", "2"]
    return Attack(arguments, "generation_config.json chooses a way to generate that is code", control=careless)


# ------------------------------------------------------------------------------------------ pickles, templates, scripts


def run_with_pickled_weights(lab: Lab) -> Attack:
    run = lab.run("bert")
    folder = run / "best" / "backbone"
    (folder / "model.safetensors").unlink()
    control = lab.pickled(folder / "pytorch_model.bin")
    renew_checksums(run / "best")
    return Attack(lab.predict(run), "cannot load .*backbone.*a pickle, of which some would run code", control=control)


def run_with_a_pickle_called_safetensors(lab: Lab) -> Attack:
    run = lab.run("bert")
    control = lab.pickled(run / "best" / "backbone" / "model.safetensors")
    renew_checksums(run / "best")
    return Attack(lab.predict(run), "cannot load .*backbone", control=control)


def run_with_pickled_heads(lab: Lab) -> Attack:
    run = lab.run("bert")
    control = lab.pickled(run / "best" / "heads.safetensors")
    renew_checksums(run / "best")
    return Attack(lab.predict(run), "heads.safetensors", control=control)


def chat_template_that_is_a_program(lab: Lab) -> Attack:
    from jinja2 import Environment

    run = lab.run("chat")
    template = f"{{{{ cycler.__init__.__globals__.os.system('touch {lab.marker}') }}}}"
    (run / "best" / "backbone" / "chat_template.jinja").write_text(template)
    renew_checksums(run / "best")
    control = lambda: Environment().from_string(template).render()  # noqa: E731
    arguments = ["generate", str(run), "--prompt", "play it", "--max-new-tokens", "2"]
    return Attack(arguments, "chat template refuses a row's messages: access to attribute '__init__'", 3, control)


def refinery_that_is_a_pickle(lab: Lab) -> Attack:
    state, rows = lab.folder / "state.safetensors", lab.folder / "rows.jsonl"
    rows.write_text('{"a": 1}')
    control = lab.pickled(state)
    arguments = ["refine", "transform", str(rows), "--state", str(state), "-o", str(lab.folder / "out.npy")]
    return Attack(arguments, "no fitted state of a refinery", 3, control)


def experiment_with_a_yaml_tag(lab: Lab) -> Attack:
    import yaml

    path = Path(lab.experiment({}))
    text = f"!!python/object/apply:os.system ['touch {lab.marker}']"
    path.write_text(f"project_name: {text}\n")
    return Attack(["check", str(path)], "tag", 2, lambda: yaml.unsafe_load(text))


def data_set_with_a_script(lab: Lab) -> Attack:
    script = lab.folder / "evil" / "evil.py"
    script.parent.mkdir()
    script.write_text(CODE.format(marker=str(lab.marker), kind=lab.kind))
    lab.patch.chdir(lab.folder)
    arguments = ["check", lab.experiment({}, HEADS | {"data_path": "hf://evil"})]
    return Attack(arguments, "Dataset scripts are no longer supported", 4, lambda: runpy.run_path(str(script)))


def cached_tokens_that_are_pickled(lab: Lab) -> Attack:
    path = lab.experiment({})
    assert invoke("train", path, "--device", "cpu").exit_code == 0
    caches = list((lab.folder / "cache").glob("*/input_ids"))
    controls = [lab.pickled(each) for each in caches]
    for each in caches:  # as if whoever put it there had the right digest at hand
        edit(each.parent / MANIFEST, input_ids=hashlib.sha256(each.read_bytes()).hexdigest())
    return Attack(["train", path, "--device", "cpu"], "", 0, lambda: controls[0]())


def kept_logits_of_a_teacher_that_are_pickled(lab: Lab) -> Attack:
    """The manifest says the right digest of what is no logits."""
    base = str(lab.runs("chat").parents[2] / "gpt2")
    teacher = {"teacher_model": base, "top_k": 2, "top_k_dir": str(lab.folder / "kept")}
    path = lab.experiment({"base_model": base, "teacher_student_config": teacher}, CAUSAL)
    assert invoke("train", path, "--device", "cpu").exit_code == 0
    (shard,) = (lab.folder / "kept").rglob("*.safetensors")
    control = lab.pickled(shard)
    edit(shard.parent / "top_k.json", shards={shard.name: hashlib.sha256(shard.read_bytes()).hexdigest()})
    return Attack(["train", path, "--device", "cpu"], r"000000\.safetensors: no logits", 4, control)


# ----------------------------------------------------------------------------------------- training, teachers, resuming


def base_model_with_a_config_class(lab: Lab) -> Attack:
    checkpoint = lab.checkpoint()
    lab.taint(checkpoint, "config", "model")
    return Attack(["train", lab.experiment({"base_model": str(checkpoint)})])


def base_model_that_is_checked(lab: Lab) -> Attack:
    attack = base_model_with_a_config_class(lab)
    return Attack(["check", attack.arguments[1]])


def base_model_of_a_known_type(lab: Lab) -> Attack:
    """Transformers has a class of that type itself, which is taken."""
    checkpoint = lab.checkpoint()
    lab.taint(checkpoint, "plain", "tokenizer")
    return Attack(["check", lab.experiment({"base_model": str(checkpoint)})], "", 0)


def tokenizer_from_elsewhere(lab: Lab) -> Attack:
    checkpoint = lab.checkpoint()
    lab.taint(checkpoint, "config", "tokenizer")
    return Attack(["check", lab.experiment({"tokenizer": str(checkpoint)})], "model.tokenizer: .*needs code of its own")


def base_model_that_is_a_hostile_run(lab: Lab) -> Attack:
    return Attack(["check", lab.experiment({"base_model": str(lab.tainted_run("bert", "config", "model"))})])


def teacher_from_elsewhere(lab: Lab) -> Attack:
    checkpoint = lab.checkpoint()
    lab.taint(checkpoint, "config", "model")
    teacher = {"teacher_model": str(checkpoint), "hidden_states": {"weight": 1.0}}
    return Attack(["check", lab.experiment({"teacher_student_config": teacher})])


def teacher_that_is_a_hostile_run(lab: Lab) -> Attack:
    run = lab.tainted_run("bert", "config", "model")
    model = {"base_model": "jenga/tiny-text", "teacher_student_config": {"teacher_model": str(run)}}
    return Attack(["check", lab.experiment(model)])


def unfinished_run_with_a_hostile_best_model(lab: Lab) -> Attack:
    from transformers import AutoModel

    run = lab.run("tiny")
    config = lab.runs("tiny").parents[2] / "test.yml"
    lab.taint(run / "best" / "backbone", "config", "model")
    say_trusted(run / "best")
    renew_checksums(run / "best")
    edit(run / "run.json", status="interrupted")
    folder = run / "best" / "backbone"
    control = lambda: AutoModel.from_pretrained(folder, trust_remote_code=True)  # noqa: E731
    return Attack(["train", str(config), "--resume", str(run), "--device", "cpu"], control=control)


def unfinished_run_with_a_hostile_preset(lab: Lab) -> Attack:
    attack = unfinished_run_with_a_hostile_best_model(lab)
    run = Path(attack.arguments[3])
    shutil.rmtree(run / "best")
    shutil.copytree(lab.runs("tiny") / "best", run / "best")
    preset = run / "preset"
    lab.taint(preset, "config", "model")
    renew_checksums(preset)
    from transformers import AutoModel

    return Attack(attack.arguments, control=lambda: AutoModel.from_pretrained(preset, trust_remote_code=True))


def unfinished_run_with_pickled_checkpoints(lab: Lab) -> Attack:
    attack = unfinished_run_with_a_hostile_best_model(lab)
    run = Path(attack.arguments[3])
    shutil.rmtree(run / "best")
    shutil.copytree(lab.runs("tiny") / "best", run / "best")
    (checkpoint,) = (run / "checkpoints").iterdir()
    control = lab.pickled(checkpoint / "model.safetensors")
    renew_checksums(checkpoint)
    return Attack(attack.arguments, "checkpoint .*cannot be read", control=control)


ATTACKS = [each for each in globals().copy().values() if getattr(each, "__annotations__", {}).get("return") == "Attack"]


@pytest.mark.parametrize("make", ATTACKS, ids=lambda make: make.__name__)
def test_code_in_a_hostile_folder_runs_only_where_the_caller_allows_it(make: Callable[[Lab], Attack], lab: Lab) -> None:
    attack = make(lab)
    result = invoke(*attack.arguments)
    assert not lab.marker.exists()
    assert re.search(attack.says, result.stderr, re.DOTALL), result.stderr
    assert result.exit_code == attack.exit_code, result.stderr
    assert "mistake in Jenga" not in result.stderr
    # Whether the code does anything sensible once it runs is not what this is about.
    with contextlib.suppress(Exception):
        if attack.control is None:
            invoke(*attack.arguments, "--trust-remote-code")
        else:
            attack.control()
    assert lab.marker.exists(), "the folder is no threat, so that this test could not fail"


def test_a_run_trained_with_code_answers_where_the_caller_allows_it_again(lab: Lab) -> None:
    checkpoint = lab.checkpoint()
    lab.taint(checkpoint, "config", "model", "tokenizer")
    path = lab.experiment({"base_model": str(checkpoint)})
    trained = invoke("train", path, "--json", "--device", "cpu", "--trust-remote-code")
    assert trained.exit_code == 0, trained.stderr
    run = Path(json.loads(trained.stdout)["run"])
    assert (run / "best" / "backbone" / "evil.py").is_file()
    lab.marker.unlink()
    refused = invoke(*lab.predict(run))
    assert (refused.exit_code, refused.stdout) == (4, "")
    assert re.search(REFUSED, refused.stderr)
    assert not lab.marker.exists()
    exported = invoke("export", str(run), "-o", str(lab.folder / "out"), "--dtype", "fp32", "--trust-remote-code")
    assert exported.exit_code == 0, exported.stderr
    answers = [invoke(*lab.predict(each), "--trust-remote-code") for each in (run, lab.folder / "out")]
    assert [each.exit_code for each in answers] == [0, 0]
    assert answers[0].stdout == answers[1].stdout
    assert "kind" in json.loads(answers[0].stdout)["t"]


def test_a_run_that_was_trusted_without_need_answers_without_permission(lab: Lab) -> None:
    run = lab.run("bert")
    say_trusted(run / "best")
    renew_checksums(run / "best")
    assert invoke(*lab.predict(run)).exit_code == 0


def test_a_model_trained_without_code_is_not_given_any_by_permission(lab: Lab) -> None:
    """Its type is one that transformers knows, and with the folder's code it would answer otherwise."""
    run = lab.run("bert")
    lab.taint(run / "best" / "backbone", "plain")
    renew_checksums(run / "best")
    assert invoke(*lab.predict(run), "--trust-remote-code").exit_code == 0
    assert not lab.marker.exists()


@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")
def test_no_model_that_mlflow_loads_runs_code_though_its_own_settings_allow_it(lab: Lab) -> None:
    import mlflow

    best = lab.tainted_run("bert", "config", "model") / "best"
    with pytest.raises(SetupError, match=REFUSED):
        _load_pyfunc(str(best))
    folder = lab.folder / "model"
    mlflow.pyfunc.save_model(
        folder, loader_module="jenga.inference.pyfunc", data_path=str(best), pip_requirements=["jenga"],
        model_config={"trust_remote_code": True},
    )  # fmt: skip
    # MLflow hands on the settings of the folder, and a pyfunc of Jenga takes none.
    with pytest.raises(TypeError):
        mlflow.pyfunc.load_model(str(folder))
    assert not lab.marker.exists()
    jenga.load(best, device="cpu", trust_remote_code=True)
    assert lab.marker.exists()

"""`jenga init`: a commented experiment to start from."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import click

from jenga.cli import options
from jenga.errors import ConfigError
from jenga.files import write_atomic

_HEAD = """\
# jenga train {file}
#
# Before that: jenga check {file}      reads the data, tries one step a task, writes nothing.
# All keys:    jenga schema             a JSON Schema, with which editors complete and explain them.

model:
  # Any encoder or decoder of transformers, by its name on the hub or its folder, such as
  # distilbert-base-multilingual-cased. jenga/tiny-text is small, starts from nothing and needs no download.
  base_model: jenga/tiny-text

# peft:                               # freeze a pretrained encoder and train small parts beside it
#   type: lora                        # or dora, or adapter
#   rank: 8
#   target: all-linear                # or auto, a regular expression, or a list of names

# Tasks that read the same rows share one pass of the encoder.
tasks:
"""

_TASKS = {
    "classification": """\
  - name: sentiment
    type: classification              # one class of several
    data_path: jenga/helpline         # or a .jsonl, .json, .csv or .parquet file; columns: text, label
    columns: {label: sentiment}       # only where the columns have other names
    heads:
      - name: feeling                 # num_labels and labels come from the training rows where they are not given
""",
    "multi_label_classification": """\
  - name: service
    type: multi_label_classification  # independent yes/no items
    data_path: jenga/helpline         # or a .jsonl, .json, .csv or .parquet file; columns: text, labels
    heads:                            # labels: {closing: [1, 0, null], ...}, or a list of the items that apply
      - name: closing
        labels: [summarises_call, says_goodbye_politely, gives_reference]
      - name: hold
        labels: [asks_before_hold, thanks_after_hold]
""",
    "qa_scoring": """\
  - name: QA
    type: qa_scoring                  # criteria of a conversation and the score that they add up to
    data_path: jenga/helpline         # or a .jsonl, .json, .csv or .parquet file; columns: text, labels
    heads:                            # labels: {opening: [1, 0, 1], ...}; null: does not apply
      - name: opening
        labels: [greets_caller, gives_own_name, asks_caller_name]
      - name: listening
        labels: [acknowledges_feeling, lets_caller_finish, paraphrases_problem]
      - name: resolution
        labels: [gives_correct_next_step, confirms_agreement]
        item_weights: [2, 1]          # points of each item; default: 1
      - name: closing
        labels: [summarises_call, says_goodbye_politely, gives_reference]
""",
    "ner": """\
  - name: entities
    type: ner                         # spans of the text
    data_path: jenga/helpline         # or a .jsonl, .json, .csv or .parquet file; columns: text, entities
                                      # entities: [{start: 0, end: 5, label: PERSON}]; or tokens and ner_tags
""",
    "regression": """\
  - name: rating
    type: regression                  # numbers
    data_path: ratings.jsonl          # .jsonl, .json, .csv or .parquet; columns: text, label
    heads:
      - name: value
""",
}

_EVENT_TASKS = {
    "anomaly_detection": """\
  - name: ThreatDetection
    type: anomaly_detection           # or classification, regression ...: tasks share one encoder
    data_path: jenga/network          # or a .json (a list of objects), .jsonl (.gz, .zst), .csv or .parquet file
    mode: supervised                  # unsupervised: normal rows alone, no label; measured with security_mlp_v1
    heads:
      - name: threat                  # labels: column threat, or label; other names: column: ...
        num_labels: 2
""",
}

_EVENT_HEAD = """\
# jenga train {file}
#
# Before that: jenga check {file}      reads the data, tries one step a task, writes nothing.
# All keys:    jenga schema             a JSON Schema, with which editors complete and explain them.

model:
  backbone_type: sequential           # an MLP over the features of events
  base_model: tabular_v1              # security_tab_v1: one network in place of 8 members; or hidden_sizes ...
  # refinery:                         # how events become features; default: found in the training rows
  #   preset: zeek                    # or nsl_kdd, unsw_nb15, cicflowmeter, suricata, sysmon, cloudtrail, ecs
  #   schema: schema.yml              # or fields of your own
  #   nan: quarantine                 # rows with NaN; missing: only the value is

tasks:
"""

_EVENT_TAIL = """\

data:
  valid_fraction: 0.1                 # cut from the rows, class by class; to name files instead, write
  test_fraction: 0.1                  #   data_path: {train: ..., valid: ..., test: ...}
  max_bad_fraction: 0.01              # share of unusable rows above which the run stops; see quarantine.jsonl

training:
  # epochs: 20                        # these follow from the rows where nothing is said; the run's first lines tell
  # batch_size: 128                   #   them, and its config.yml keeps them
  # learning_rate: 3.0e-3
  seed: 0

evaluation:
  metric: eval_loss                   # picks the best model; or eval_<task>_<head>_<metric>
  baselines: [majority, boosting]     # what the model must beat, printed beside its results

# early_stopping:                     # end before the learning rate has come down
#   patience: 5

# tracking:                           # MLflow, where it is installed: pip install 'jenga[track]'
#   uri: http://127.0.0.1:5000        #   a server; default: mlflow.db in output_dir

output_dir: runs
"""

_AUDIO_TASKS = {
    "transcription": """\
  - name: spelt
    type: transcription               # what is said, in characters
    data_path: jenga/spelt            # or a .jsonl, .json, .csv or .parquet file; columns: audio (a path), text
""",
    "sound_event_detection": """\
  - name: scene
    type: sound_event_detection       # what sounds from when to when
    data_path: jenga/scenes           # or a .jsonl, .json, .csv or .parquet file; columns: audio (a path), events
                                      # events: [{start: 0.5, end: 1.2, label: beep}], in seconds; []: nothing sounds
""",
}

_MEDIA_HEADS = {
    "audio": """\
# jenga train {file}
#
# Before that: jenga check {file}      reads the data, tries one step a task, writes nothing.
# All keys:    jenga schema             a JSON Schema, with which editors complete and explain them.

model:
  backbone_type: audio                # pip install 'jenga[audio]'
  # Whisper (its encoder), Wav2Vec2, HuBERT, WavLM or AST, by hub name or folder, such as openai/whisper-tiny.
  # jenga/tiny-audio is small, starts from nothing and needs no download.
  base_model: jenga/tiny-audio
  # max_seconds: 30                   # of a clip; what is longer is cut
  # pooling: attention                # frames weighted by a trained score; default: their mean
  # augment: {{time_masks: 2, frequency_masks: 2}}

# Tasks that read the same rows share one pass of the encoder.
tasks:
  - name: pitch
    type: classification              # or multi_label_classification, qa_scoring, regression; what is said
                                      # and what sounds when: jenga init --task transcription
    data_path: jenga/tones            # or a .jsonl, .json, .csv or .parquet file; columns: audio (a path), label
    columns: {{label: pitch}}           # start and end, in seconds, cut a clip out of a recording

  - name: sound
    type: classification
    data_path: jenga/tones
    columns: {{label: sound}}
""",
    "vision": """\
# jenga train {file}
#
# Before that: jenga check {file}      reads the data, tries one step a task, writes nothing.
# All keys:    jenga schema             a JSON Schema, with which editors complete and explain them.

model:
  backbone_type: vision               # pip install 'jenga[vision]'
  # A network of timm by name, such as resnet18, or an image model of transformers by hub name or folder.
  # jenga/tiny-vision is small, starts from nothing and needs no download.
  base_model: jenga/tiny-vision
  image_size: 32                      # default: the model's own
  augment: {{shift: 2}}                 # or crop, flip, brightness, erase; of training pictures alone

# Tasks that read the same rows share one pass of the encoder.
tasks:
  - name: shape
    type: classification              # or multi_label_classification, qa_scoring, regression
    data_path: jenga/shapes           # or a .jsonl, .json, .csv or .parquet file; columns: image (a path), label
    columns: {{label: shape}}

  - name: colour
    type: classification
    data_path: jenga/shapes
    columns: {{label: colour}}
""",
    "mixed": """\
# jenga train {file}
#
# Before that: jenga check {file}      reads the data, tries one step a task, writes nothing.
# All keys:    jenga schema             a JSON Schema, with which editors complete and explain them.

model:
  # Each of these is what `model` is where there is one backbone, by a name of your own, with peft and training beside.
  backbones:
    text:
      base_model: jenga/tiny-text     # any encoder of transformers; this one starts from nothing
      # peft: {{type: lora, rank: 8}}   # of this backbone alone
      # training: {{epochs: 10, batch_size: 32, learning_rate: {{heads: 1.0e-3}}}}
    audio:                            # pip install 'jenga[audio]'
      base_model: jenga/tiny-audio    # or Whisper, Wav2Vec2, HuBERT, WavLM, AST
    events:
      base_model: security_mlp_v1     # an MLP over the features of events

# A row goes to the backbone that its task names; `jenga predict` gives it to those that find their columns in it.
tasks:
  - name: sentiment
    type: classification
    backbone: text                    # inputs: [text, audio] instead: one task reads both of a row, or what it has
    data_path: jenga/helpline         # or a .jsonl, .json, .csv or .parquet file
    columns: {{label: sentiment}}

  - name: pitch
    type: classification
    backbone: audio
    data_path: jenga/tones
    columns: {{label: pitch}}

  - name: threat
    type: anomaly_detection
    backbone: events
    data_path: jenga/network
    heads:
      - {{name: threat, num_labels: 2}}
""",
}

_LANGUAGE = """\
# jenga train {file}
#
# Before that: jenga check {file}      reads the data, tries one step, writes nothing.
# After it:    jenga generate RUN      answers prompts; jenga export RUN -o FOLDER writes a plain checkpoint.
# All keys:    jenga schema            a JSON Schema, with which editors complete and explain them.

model:
  # Any causal language model of transformers, by its name on the hub or its folder.
  name: HuggingFaceTB/SmolLM2-135M-Instruct
  # teacher_student_config:            # learn from a bigger model too
  #   teacher_model: HuggingFaceTB/SmolLM2-360M-Instruct   # reads the same tokens
  #   distillation_alpha: 0.5          # share of the teacher in the loss
  #   temperature: 2.0
  #   student: {{from_teacher: every_2nd}}   # or make the student of the teacher's layers, in place of model.name
  #   top_k: 64                        # run the teacher once and keep its largest logits on disk

data:
  path: rows.jsonl                     # .jsonl, .json, .csv, .parquet or .txt; or {{train: ..., valid: ..., test: ...}}
  prompt: question                     # columns; or text: COLUMN, or messages: COLUMN of {{role, content}} lists
  completion: answer                   # only completions are learnt; loss_on: all learns prompts too
  max_length: 512                      # tokens of a row
  # template: chat                     # write prompts and completions as the tokenizer's chat template does
  # packing: true                      # lay short rows end to end; they do not see one another

# peft: {{type: lora, rank: 16}}         # train small parts beside a frozen model

training:
  epochs: 1
  batch_size: 8
  gradient_accumulation_steps: 4       # 32 rows a step
  learning_rate: 5.0e-5                # of a LoRA 1.0e-4 to 1.0e-3
  scheduler: cosine
  # gradient_checkpointing: true       # less memory, a third more time
  # precision: bf16
  seed: 0

generation:                            # answers after training, shown in the report
  rows: 8
  max_new_tokens: 256
  # exact_match: true                  # count those that equal the row's own
  # answer_pattern: "#### (-?[0-9.,]+)"    # what of an answer is compared

# tracking:                           # MLflow, where it is installed: pip install 'jenga[track]'
#   uri: http://127.0.0.1:5000        #   a server; default: mlflow.db in output_dir

output_dir: runs
"""

_TAIL = """\

data:
  valid_fraction: 0.1                 # cut from the rows, class by class; to name files instead, write
  test_fraction: 0.1                  #   data_path: {train: ..., valid: ..., test: ...}
  max_length: 256                     # tokens read of a text

training:
  # epochs: 10                        # these follow from the rows and the encoder where nothing is said; the run's
  # batch_size: 32                    #   first lines tell them, and its config.yml keeps them
  # learning_rate: {backbone: 5.0e-5, heads: 5.0e-4}   # adapters: 1.0e-3, in place of backbone under peft
  seed: 0

evaluation:
  metric: auto                        # picks the best model; or eval_loss, eval_<task>_<head>_<metric>
  baselines: [majority, tfidf]        # what the model must beat, printed beside its results

# early_stopping:                     # end before the learning rate has come down
#   patience: 3

# tracking:                           # MLflow, where it is installed: pip install 'jenga[track]'
#   uri: http://127.0.0.1:5000        #   a server; default: mlflow.db in output_dir

output_dir: runs
"""


@click.command(cls=options.Command)
@click.argument("kind", type=click.Choice(["text", "security", "audio", "vision", "mixed", "llm"]), required=False)
@click.option(
    "--task", "tasks", type=click.Choice([*_TASKS, *_EVENT_TASKS, *_AUDIO_TASKS]), multiple=True,
    help="Type of a task. May be repeated.  [default: qa_scoring, classification, ner; of security: anomaly_detection; "
    "of audio: classification]",
)  # fmt: skip
@click.option(
    "-o", "--output", type=click.Path(allow_dash=True), default="experiment.yml", show_default=True,
    help="File to write; - is standard output.",
)  # fmt: skip
def init(kind: str | None, tasks: tuple[str, ...], output: str) -> None:
    """Write a commented experiment to start from.

    KIND: text (the default), security (events), audio (recordings), vision (pictures), mixed (several backbones), or
    llm (a language model).

    It trains on a built-in sample, but for language models and for regression, which the samples hold nothing for.
    """
    chosen = list(dict.fromkeys(tasks))
    if kind is None and chosen and set(chosen) <= _AUDIO_TASKS.keys():
        kind = "audio"
    if kind in ("llm", *_MEDIA_HEADS) and not set(chosen) <= (_AUDIO_TASKS.keys() if kind == "audio" else set()):
        raise click.UsageError(f"--task {chosen[0]}: the template of {kind} has its own tasks; leave --task out.")
    events = kind == "security" or (kind is None and bool(chosen) and set(chosen) <= _EVENT_TASKS.keys())
    known = _AUDIO_TASKS if kind == "audio" else _EVENT_TASKS if events else _TASKS
    if strangers := set(chosen) - known.keys():
        what, other = ("events", "jenga init") if events else ("texts", "jenga init security, jenga init audio")
        raise click.UsageError(f"--task {min(strangers)}: no template of it on {what}; see {other}.")
    default = list(_EVENT_TASKS) if events else ["qa_scoring", "classification", "ner"]
    if kind == "llm":
        text = language_template(file=output)
    elif kind in _MEDIA_HEADS:
        text = media_template(kind, chosen, file=output)
    else:
        text = template(chosen or default, file=output)
    if output == "-":
        click.echo(text, nl=False)
        return
    if os.path.lexists(output):
        raise ConfigError(f"{output} is there already; choose another name with -o, or move it away")
    write_atomic(Path(output), text)
    click.echo(f"wrote {output}; next: jenga check {output}")


def template(tasks: list[str], *, file: str) -> str:
    """Return the YAML text of an experiment with a task of each of the types `tasks`, to be kept in `file`."""
    name = _name(file)
    events = set(tasks) <= _EVENT_TASKS.keys()
    head, blocks, tail = (_EVENT_HEAD, _EVENT_TASKS, _EVENT_TAIL) if events else (_HEAD, _TASKS, _TAIL)
    return head.format(file=name) + "\n".join(blocks[task] for task in tasks) + tail


def media_template(kind: str, tasks: Sequence[str] = (), *, file: str) -> str:
    """Return the YAML text of an experiment on recordings (audio), pictures (vision) or both with others (mixed).

    tasks: types of those that audio has templates of; default: classification. file: where it is to be kept.
    """
    tail = _TAIL
    if kind == "mixed":
        tail = tail.replace("these follow from the rows and the encoder", "these follow from the rows and the encoders")
    else:
        # What only texts have.
        tail = re.sub(r"  max_length: .*\n", "", tail).replace("[majority, tfidf]       ", "[majority]              ")
    head, mark, blocks = _MEDIA_HEADS[kind].format(file=_name(file)).partition("\ntasks:\n")
    return head + mark + ("\n".join(_AUDIO_TASKS[task] for task in tasks) or blocks) + tail


def language_template(*, file: str) -> str:
    """Return the YAML text of a language model's experiment, to be kept in `file`."""
    return _LANGUAGE.format(file=_name(file))


def _name(file: str) -> str:
    return "experiment.yml" if file == "-" else file

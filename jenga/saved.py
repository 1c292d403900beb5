"""What a saved model says of itself, in ``jenga.json``: the only reader and writer of that file."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from jenga import __version__, hub
from jenga.certainty.head import Certainty
from jenga.errors import ConfigError, JengaError, SetupError, suggest
from jenga.files import MANIFEST, damage, sha256_of
from jenga.labels.column import HeadColumn
from jenga.modalities import Modality, modality_of
from jenga.modalities.joint import JointSpec
from jenga.modalities.text.remote_code import named_code
from jenga.rows.content import ContentSpec
from jenga.rows.parse import SourceSpec
from jenga.rows.readers import FileForm
from jenga.types import SHARED, HeadSpace

ENCODER_FOLDER = "backbone"
"""The folder of a model's one backbone; where there are several each has one of its own in it, by its name."""
FILE = "jenga.json"
GRAPHS_FILE = "graphs.json"
"""What says of a model's graphs what they take and give, where it has some in place of weights."""
_FORMAT = 4
_OF_ONE_ENCODER = 2
"""The format in which `inputs` were those of the one encoder that there was."""
_UNCALIBRATED = 3
"""The last format that knew of no calibration."""
# Both ends are possible: the probability of a sure answer rounds to them, and a tuned threshold is one.
Thresholds = tuple[str, str, list[Annotated[float, Field(ge=0, le=1)]]]
HeadKey = tuple[str, str]


@dataclass(frozen=True)
class Description:
    """A saved model in words: its configuration as it was dumped, how rows are read, its labels.

    `inputs`: what `Encoder.describe` said, by the encoder's name. `thresholds`: by task and head; None: not decided
    yet, as in a run that has not ended. `certainty`: by head, of those that have some. `written_by`: the version of
    Jenga.
    """

    config: dict[str, Any]
    sources: list[SourceSpec]
    inputs: dict[str, dict[str, Any]]
    spaces: list[HeadSpace]
    thresholds: list[tuple[str, str, list[float]]] | None
    certainty: dict[HeadKey, Certainty] = field(default_factory=dict)
    written_by: str = __version__

    @property
    def modalities(self) -> dict[str, Modality]:
        """What each of its backbones reads."""
        return {name: modality_of(block["backbone_type"]) for name, block in _blocks(self.config).items()}

    @property
    def trusting(self) -> list[str]:
        """The backbones in which code that came with their checkpoint ran in training."""
        return [name for name, block in _blocks(self.config).items() if block.get("trust_remote_code", False)]

    def example(self) -> dict[str, Any]:
        """Return a row such as the model reads, with what each of its backbones does, without labels and ids."""
        modalities = self.modalities
        found: dict[str, Any] = {}
        for name, described in self.inputs.items():
            parts = [spec.content.by_backbone(spec.encoder) for spec in self.sources]
            found |= modalities[name].example([part[name] for part in parts if name in part], described)
        return found


class _Source(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    name: str
    train: tuple[str, ...]
    valid: tuple[str, ...]
    test: tuple[str, ...]
    id: str
    heads: tuple[HeadColumn, ...]
    content: dict[str, Any]
    form: FileForm = FileForm()
    skip_blank: bool = False
    encoder: str = SHARED


class _Content(BaseModel):
    """The file as it stands, each part of the type that it has in memory."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    format: int
    jenga: str
    config: dict[str, Any]
    sources: list[_Source]
    inputs: dict[str, dict[str, Any]]
    spaces: list[HeadSpace]
    thresholds: list[Thresholds] | None
    certainty: list[tuple[str, str, Certainty]] = []


def write(folder: Path, said: Description) -> None:
    """Write `said` to `folder`."""
    sources = [{**_shallow(spec), "content": _content(spec)} for spec in said.sources]
    content = {
        "format": _FORMAT,
        "jenga": said.written_by,
        "config": said.config,
        "sources": sources,
        "inputs": said.inputs,
        "spaces": [asdict(space) for space in said.spaces],
        "thresholds": said.thresholds or None,
        "certainty": [(*key, asdict(each)) for key, each in said.certainty.items()],
    }
    (folder / FILE).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def read(folder: Path) -> Description:
    """Return what the model in `folder` says of itself.

    Raises SetupError where there is none, or it is harmed, or of another format.
    """
    if not is_model(folder) or not (folder / MANIFEST).is_file():
        raise SetupError(f"{folder}: no trained model here; give a run folder or its best/ folder")
    if harm := damage(folder):
        raise SetupError(f"{folder}: {harm}; restore the folder from a copy or train again")
    with fitting(folder / FILE):
        text = (folder / FILE).read_text(encoding="utf-8")
        # Before the rest, which may be of other types in another format.
        found = json.loads(text)
        if found["format"] > _FORMAT:
            raise SetupError(f"{folder}: written by Jenga {found['jenga']}, a later version; upgrade Jenga")
        if found["format"] == _OF_ONE_ENCODER:
            text = json.dumps(found | {"inputs": {SHARED: found["inputs"]}})
        elif found["format"] < _UNCALIBRATED:
            raise SetupError(
                f"{folder}: written by Jenga {found['jenga']}, in a form that is no longer read; train again"
            )
        content = _Content.model_validate_json(text)
        try:
            modalities = {name: modality_of(block["backbone_type"]) for name, block in _blocks(content.config).items()}
        except ConfigError as error:
            raise not_here(folder, content.jenga, error) from error
        sources = [_source(each, modalities) for each in content.sources]
    return Description(
        content.config, sources, content.inputs, content.spaces, content.thresholds,
        {(task, head): each for task, head, each in content.certainty}, written_by=content.jenga,
    )  # fmt: skip


def is_model(folder: Path) -> bool:
    """Return whether a model was saved to `folder` itself."""
    return (folder / FILE).is_file()


def is_graph(folder: Path) -> bool:
    """Return whether the encoders of the model in `folder` are graphs, of `jenga export`, and not weights."""
    return (folder / GRAPHS_FILE).is_file()


def model_in(run: str | Path) -> Path | None:
    """Return the folder of the model in `run`: itself or its best/; None where there is none."""
    return next((each for each in (Path(run), Path(run) / "best") if is_model(each)), None)


def find_model(run: str | Path) -> Path:
    """Return the folder of the model in `run`: itself or its best/, or where the hub's has been fetched to.

    Raises SetupError where there is none, ConfigError for an address of the hub (``hf://``) that is none.
    """
    run = hub.fetched(run)
    if (found := model_in(run)) is not None:
        return found
    raise SetupError(f"{run}: {_what_is(Path(run))}")


def fingerprint(folder: Path) -> str:
    """Return the SHA-256, in hex, of the manifest of the model in `folder`, which has that of each of its files."""
    return sha256_of(folder / MANIFEST)


@contextlib.contextmanager
def fitting(path: Path) -> Iterator[None]:
    """Raise SetupError where the content of `path` is not what was written, though its checksums agree."""
    try:
        yield
    except JengaError:
        raise
    except Exception as error:  # whatever content that says anything makes a loader raise
        reason = (str(error).strip().splitlines() or [""])[-1].strip()
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            reason = f"{'.'.join(map(str, first['loc'])) or 'the whole file'}: {first['msg']}"
        raise SetupError(
            f"{path}: its content does not fit together ({type(error).__name__}: {reason}); restore the folder from "
            "a copy or train again"
        ) from error


def not_here(folder: Path, written_by: str, error: Exception) -> SetupError:
    """Return that the model in `folder`, made by this version, has parts that this installation lacks."""
    return SetupError(f"{folder / FILE}: made by Jenga {written_by} with parts or settings that are not here: {error}")


def _shallow(spec: SourceSpec) -> dict[str, Any]:
    return {
        # What tells the rows of stages apart is of the training alone.
        **{each.name: getattr(spec, each.name) for each in fields(spec) if each.name not in ("marks", "slices")},
        "heads": [asdict(head) for head in spec.heads],
        "form": asdict(spec.form),
    }


def _content(spec: SourceSpec) -> dict[str, Any]:
    """Return how rows are read, with the form that tells it; of several inputs that of each, by its backbone."""
    parts = {name: {"form": part.form, **asdict(part)} for name, part in spec.content.by_backbone(spec.encoder).items()}
    return parts.get(spec.encoder) or {"form": spec.content.form, "parts": parts}


def _content_of(name: str, said: Mapping[str, Any], modality: Modality) -> ContentSpec:
    """Return what `_content` wrote of the source `name`, or of a part of it."""
    form = str(said.get("form"))
    kinds: Mapping[str, type[ContentSpec]] = {each.form: each for each in modality.content_specs}
    if form not in kinds:
        raise ValueError(f"source {name}: rows of {modality.noun} have no form '{form}'")
    rest = {key: value for key, value in said.items() if key != "form"}
    adapter: TypeAdapter[ContentSpec] = TypeAdapter(kinds[form])
    return adapter.validate_json(json.dumps(rest), strict=True)


def _source(saved: _Source, modalities: Mapping[str, Modality]) -> SourceSpec:
    content: ContentSpec
    if saved.content.get("form") == JointSpec.form:
        parts = saved.content["parts"].items()
        content = JointSpec(tuple((name, _content_of(saved.name, each, modalities[name])) for name, each in parts))
    else:
        content = _content_of(saved.name, saved.content, modalities[saved.encoder])
    try:
        content.check(saved.heads)
    except ValueError as error:
        raise ValueError(f"source {saved.name}: {error}") from error
    return SourceSpec(
        saved.name, saved.train, saved.valid, saved.test, saved.id, saved.heads, content, saved.form,
        saved.skip_blank, saved.encoder,
    )  # fmt: skip


def encoder_folder(folder: Path, backbone: str) -> Path:
    """Return where the model in `folder` keeps one of its backbones, and what makes inputs of it."""
    return folder / ENCODER_FOLDER if backbone == SHARED else folder / ENCODER_FOLDER / backbone


def code_of(folder: Path, backbone: str, base: str | None) -> str | None:
    """Return what names code that a backbone of the model in `folder` needs; None where nothing does."""
    return named_code(encoder_folder(folder, backbone)) or (named_code(base) if base else None)


def _blocks(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the block of each backbone of a dumped configuration, by its name."""
    model = config["model"]
    return dict(model["backbones"]) if "backbones" in model else {SHARED: model}


def _what_is(folder: Path) -> str:
    advice = "give a run folder (as training printed it) or its best/ folder"
    if not folder.exists():
        parent = folder.parent
        folders = [each.name for each in parent.iterdir() if each.is_dir()] if parent.is_dir() else []
        return f"no such folder{suggest(folder.name, folders) or ';'} {advice}"
    if (folder / "run.json").is_file():
        return "this run has no model yet: it ended before its first evaluation; go on with --resume"
    newest = _newest(folder.glob(f"*/best/{FILE}")) or _newest(folder.glob(f"*/*/best/{FILE}"))
    return f"no trained model here; did you mean {newest[0]}?" if newest else f"no trained model here; {advice}"


def _newest(files: Iterator[Path]) -> Sequence[Path]:
    return sorted((each.parent.parent for each in files), reverse=True)

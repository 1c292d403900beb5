"""A trained model as a predictor, by torch or by what runs its graphs."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

from jenga import hub, saved
from jenga.bundle import Bundle
from jenga.errors import ConfigError, suggest
from jenga.inference.predictor import Predictor

logger = logging.getLogger(__name__)
RUNTIMES = ("torch", "onnx")


def load(
    run: str | Path,
    *,
    device: str = "auto",
    base_model: str | None = None,
    trust_remote_code: bool = False,
    runtime: str | None = None,
) -> Predictor:
    """Return the predictor of a trained model: a run folder, its best/, any folder that a bundle was saved to, or an
    address of the Hugging Face hub, ``hf://owner/name`` or ``hf://owner/name@revision``.

    device: auto, cpu, cuda or mps. base_model: name or folder of the base that the model's adapters stand on; default:
    where it was in training. trust_remote_code: run the code that came with the checkpoint it was trained from; only
    of an author you trust, since that code can do all that you can. runtime: torch, or onnx, which runs the graphs of
    `jenga export` on the CPU, and makes them first where `run` is none of its folders; default: as the folder is.
    Raises SetupError where there is no unharmed model, base or device, or where such code is needed and not allowed.
    """
    if runtime not in (None, *RUNTIMES):
        raise ConfigError(f"runtime: unknown '{runtime}'{suggest(runtime, RUNTIMES)} Known: {', '.join(RUNTIMES)}")
    hub.check_code(run, trusted=trust_remote_code)
    folder = saved.find_model(run)
    if runtime in (None, "torch") and not saved.is_graph(folder):
        bundle = Bundle.load(folder, base_model=base_model, trust_remote_code=trust_remote_code)
        return Predictor(bundle, device=device)
    if runtime == "torch":
        raise ConfigError(f"--runtime torch: {folder} holds graphs, and no weights; give the run that it came from")
    if device not in ("auto", "cpu"):
        raise ConfigError(f"--device {device}: graphs run on the CPU; use auto or cpu, or the run with --runtime torch")
    if base_model is not None and saved.is_graph(folder):
        raise ConfigError(f"--base-model: the graphs in {folder} need no base; leave it out")
    from jenga.inference.graphs import load_graphs

    if saved.is_graph(folder):
        return Predictor(load_graphs(folder, trust_remote_code=trust_remote_code), device="cpu")
    # What writes graphs is a room of its own, which whoever has them does without.
    from jenga.inference.export import export

    logger.warning("%s is no folder of graphs: making them first; jenga export --format onnx keeps them", folder)
    with tempfile.TemporaryDirectory(prefix="jenga-onnx-") as place:
        made = export(
            folder, Path(place) / "onnx", format="onnx", base_model=base_model, trust_remote_code=trust_remote_code
        )
        return Predictor(load_graphs(made, trust_remote_code=trust_remote_code), device="cpu")

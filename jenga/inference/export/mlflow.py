"""An MLflow model: a pyfunc that `mlflow models serve` answers by, or another program calls in Python."""

from __future__ import annotations

import logging
import tempfile
import warnings
from pathlib import Path

from jenga import saved
from jenga.callbacks.mlflow_model import own_code, write_model
from jenga.callbacks.mlflow_server import import_mlflow
from jenga.errors import ConfigError
from jenga.extras import is_here, missing
from jenga.files import atomic_folder
from jenga.inference.export import Options, transformers
from jenga.peft import base_of

logger = logging.getLogger(__name__)


def write(source: Path, target: Path, options: Options) -> None:
    """Write the model in `source` to the new folder `target`, as the one that a run logs.

    merge, dtype: as of the format transformers, whose folder is then what lies in ``data/``. Raises ConfigError where
    the model needs code of its own, which a pyfunc never runs. Raises SetupError where it is harmed, or MLflow is not
    installed.
    """
    if not is_here("mlflow"):
        raise missing("track", "--format mlflow needs MLflow")
    if by := own_code(source, saved.read(source)):
        raise ConfigError(
            f"--format mlflow: the model needs code of its own ({by}), which a pyfunc never runs; give the run to "
            "whoever allows that code, by --format transformers"
        )
    import_mlflow()
    # Beside the model to be, where there is room for another of its size.
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        atomic_folder(target) as staging,
        tempfile.TemporaryDirectory(dir=target.parent, prefix=".mlflow-") as place,
        warnings.catch_warnings(),
    ):
        # MLflow warns of its own type hints.
        warnings.simplefilter("ignore")
        if options.merge or options.dtype or options.base_model:
            merged = Path(place) / source.name
            transformers.write(source, merged, options)
            source = merged
        write_model(source, staging)
        _tell_of_bases(source)


def _tell_of_bases(best: Path) -> None:
    """Warn of bases, which are no part of the folder."""
    found = [base_of(saved.encoder_folder(best, name)) for name in saved.read(best).modalities]
    for base in filter(None, found):
        logger.warning("the adapters in the folder stand on %s, which has to be there too; --merge needs no base", base)

"""The models that are served, by name, and how newer runs take their places."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jenga import saved
from jenga.errors import ConfigError, JengaError, suggest
from jenga.inference.serve.served import Served

logger = logging.getLogger(__name__)
_RUN_FILE = "run.json"


@dataclass(frozen=True)
class Place:
    """Where the runs of a model are: a run, a model's folder, or a folder of runs, of which the newest is served."""

    name: str
    folder: Path

    @property
    def moves(self) -> bool:
        """Whether newer runs may come to lie there."""
        return saved.model_in(self.folder) is None and not (self.folder / _RUN_FILE).is_file()

    def model(self) -> Path:
        """Return the folder of the model to serve. Raises SetupError where there is none."""
        if not self.moves:
            return saved.find_model(self.folder)
        found = [(each.name, model) for each in _folders(self.folder) if (model := _finished(each)) is not None]
        if not found:
            return saved.find_model(self.folder)  # raises, with what the folder is
        return max(found)[1]


def places_of(given: Sequence[str]) -> list[Place]:
    """Return the places in ``RUN`` and ``name=RUN`` of a command line. Raises ConfigError for a name given twice."""
    found: dict[str, Place] = {}
    for each in given:
        name, told, folder = each.partition("=")
        if not told or Path(each).exists():
            name, folder = "", each
        path = Path(folder)
        place = Place(name or _name_of(path), path)
        if place.name in found:
            raise ConfigError(f"two models are called '{place.name}'; name them apart: NAME={folder}")
        if not place.name or "/" in place.name or not place.name.isprintable():
            raise ConfigError(f"'{place.name}' cannot name a model: it stands in addresses; allowed: no / and no blank")
        found[place.name] = place
    return list(found.values())


class Models:
    """Models by name, the first one that which is meant where nobody names one. All methods are of the event loop.

    make: loads the model in a folder under a name; it is called beside the loop.
    """

    def __init__(self, places: Sequence[Place], make: Callable[[str, Path], Served]) -> None:
        """Load all of them. Raises SetupError where one cannot be loaded."""
        self._places, self._make = list(places), make
        self._served = {place.name: make(place.name, place.model()) for place in self._places}
        self._refused: dict[str, str] = {}
        self._told: dict[str, str] = {}
        self._reloading = asyncio.Lock()
        self._forgets: set[asyncio.Task[None]] = set()
        self.reloads = 0

    @property
    def all(self) -> Mapping[str, Served]:
        """The models by name."""
        return self._served

    @property
    def first(self) -> Served:
        """The model that is meant where none is named."""
        return next(iter(self._served.values()))

    def named(self, name: str) -> Served:
        """Return the model `name`. Raises ConfigError where there is none."""
        if name not in self._served:
            known = ", ".join(self._served)
            raise ConfigError(f"no model is called '{name}'{suggest(name, self._served) or ';'} served here: {known}")
        return self._served[name]

    async def reload(self, *, again: bool = False) -> None:
        """Look for newer runs, and let them take over as a whole; requests under way keep the model that they have.

        What cannot be loaded is logged, and the model that was there stays. again: try what was refused once more.
        """
        async with self._reloading:
            if again:
                self._refused.clear()
                self._told.clear()
            for place in self._places:
                await self._renew(place)

    async def watch(self, every_s: float) -> None:
        """Reload from time to time, where folders of runs are served."""
        while any(place.moves for place in self._places):
            await asyncio.sleep(every_s)
            await self.reload()

    def close(self) -> None:
        """Let all models answer what waits, and no more."""
        for served in self._served.values():
            served.close()

    async def _renew(self, place: Place) -> None:
        known = self._served[place.name]
        try:
            folder = place.model()
            fingerprint = saved.fingerprint(folder)
        except (JengaError, OSError) as error:
            self._tell(place, error)
            return
        if fingerprint in (known.fingerprint, self._refused.get(place.name)):
            return
        try:
            made = await asyncio.to_thread(self._make, place.name, folder)
        except Exception as error:  # whatever is wrong with a new run, the old one goes on
            self._refused[place.name] = fingerprint
            self._tell(place, error)
            return
        self._served[place.name] = made
        self._refused.pop(place.name, None)
        self._told.pop(place.name, None)
        self.reloads += 1
        known.close()
        forgets = asyncio.ensure_future(_forgotten(known))
        self._forgets.add(forgets)
        forgets.add_done_callback(self._forgets.discard)
        logger.warning("%s: %s takes over from %s", place.name, made.folder, known.folder)

    def _tell(self, place: Place, error: Exception) -> None:
        """Log why nothing new is served, unless that was the last thing that was logged."""
        reason = str(error) if isinstance(error, JengaError) else f"{type(error).__name__}: {error}"
        if self._told.get(place.name) != reason:
            self._told[place.name] = reason
            folder = self._served[place.name].folder
            logger.error("%s: the new run is not served, %s stays: %s", place.name, folder, reason)


def settle() -> None:
    """Count all that is there among what the collector of cycles never looks at: else it halts the answers to do so.

    With torch and models in the process, each of its full passes takes some hundred milliseconds.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


async def _forgotten(served: Served) -> None:
    """Give back the memory of a model once its last request is answered."""
    await asyncio.to_thread(served.join)
    del served
    settle()


def _name_of(path: Path) -> str:
    """Return what a model is called that nobody names: by its project's folder, where runs lie by their time."""
    resolved = path.resolve()
    if resolved.name == "best":
        resolved = resolved.parent
    is_run = (resolved / _RUN_FILE).is_file()
    return resolved.parent.name if is_run and resolved.parent.name else resolved.name


def _folders(folder: Path) -> list[Path]:
    try:
        return [each for each in folder.iterdir() if each.is_dir()]
    except OSError:
        return []


def _finished(run: Path) -> Path | None:
    """Return the model of a run that has ended; None of one that is still in training, or has no model."""
    model = saved.model_in(run)
    if model is None or not (run / _RUN_FILE).is_file():
        return model
    try:
        status = json.loads((run / _RUN_FILE).read_text(encoding="utf-8")).get("status")
    except (OSError, ValueError):
        return None
    return None if status == "running" else model

"""Named parts (backbones, tasks, callbacks) that a configuration can ask for."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from importlib.metadata import entry_points
from typing import Any, TypeVar

from jenga.errors import suggest

logger = logging.getLogger(__name__)
T = TypeVar("T")


class Registry(MutableMapping[str, type[T]]):
    """A mapping from names to classes, filled beside each class's definition.

    `register` refuses a name that is taken; item assignment replaces it and warns. A part may bring a pydantic model
    of its own parameters, which then becomes a part of the configuration's schema.
    """

    def __init__(self, what: str, *, entry_point_group: str, default_config: Any = None) -> None:
        self.what = what
        self.default_config = default_config
        self.entry_point_group = entry_point_group
        self._parts: dict[str, type[T]] = {}
        self._configs: dict[str, Any] = {}
        self._aliases: dict[str, str] = {}
        self._entry_points_loaded = False

    def register(self, name: str, *, config: Any = None, aliases: Sequence[str] = ()) -> Callable[[type[T]], type[T]]:
        """Return a class decorator that files the class under `name` and its `aliases`.

        `config`: pydantic model of the part's parameters. Raises ValueError when a name is taken.
        """

        def file(part: type[T]) -> type[T]:
            for each in (name, *aliases):
                if each in self._parts or each in self._aliases:
                    raise ValueError(
                        f"{self.what} '{each}' is registered already; assign registry['{each}'] to replace it"
                    )
            self._parts[name] = part
            self._configs[name] = config
            self._aliases.update(dict.fromkeys(aliases, name))
            return part

        return file

    def load_entry_points(self) -> None:
        """Import what installed packages offer under this registry's entry point group, once."""
        if self._entry_points_loaded:
            return
        self._entry_points_loaded = True
        for point in entry_points(group=self.entry_point_group):
            part = point.load()
            if point.name not in self._parts:
                self._parts[point.name] = part

    def registered(self) -> tuple[tuple[str, type[T], Any, tuple[str, ...]], ...]:
        """Return all that is registered: of each part its name, class, parameters' model and aliases."""
        self.load_entry_points()
        return tuple((name, part, self.config_of(name), self.aliases_of(name)) for name, part in self._parts.items())

    def config_of(self, name: str) -> Any:
        """Return the pydantic model registered with `name`; without one, that of all parts which bring none."""
        return self._configs.get(self.canonical(name)) or self.default_config

    def aliases_of(self, name: str) -> tuple[str, ...]:
        """Return the other names under which `name` is known."""
        return tuple(alias for alias, target in self._aliases.items() if target == name)

    def canonical(self, name: str) -> str:
        """Return the main name of `name`, which may be an alias."""
        return self._aliases.get(name, name)

    def __getitem__(self, name: str) -> type[T]:
        try:
            return self._parts[self.canonical(name)]
        except KeyError:
            raise KeyError(
                f"unknown {self.what} '{name}'{suggest(name, self) or '.'} Known: {', '.join(self)}"
            ) from None

    def __setitem__(self, name: str, part: type[T]) -> None:
        name = self.canonical(name)
        if name in self._parts:
            logger.warning("%s '%s' (%s) is replaced by %s", self.what, name, self._parts[name].__name__, part.__name__)
        self._parts[name] = part

    def __delitem__(self, name: str) -> None:
        del self._parts[name]
        self._configs.pop(name, None)
        self._aliases = {alias: target for alias, target in self._aliases.items() if target != name}

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._parts))

    def __len__(self) -> int:
        return len(self._parts)

"""The parameters that a class or a function takes, as a block of the configuration."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Collection
from functools import reduce
from operator import or_
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import create_model

from jenga.config.strict import Strict

_PLAIN = (bool, int, float, str, types.NoneType)
_HOLDERS = (list, tuple, dict)


def parameters_of(part: Callable[..., object]) -> dict[str, inspect.Parameter]:
    """Return the named parameters of a class or function in order; ``*args`` and ``**kwargs`` name none."""
    given = inspect.signature(part).parameters
    return {name: each for name, each in given.items() if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)}


def settings_of(part: Callable[..., object], *, handed: Collection[str]) -> type[Strict]:
    """Return a block with the parameters of `part` that YAML can hold, but for those `handed` over by the program.

    Types are those of its annotations, else of its defaults. One that YAML cannot hold is left out where it has a
    default. Raises ValueError where it has none.
    """
    hints = _hints(part)
    fields: dict[str, Any] = {}
    for name, parameter in parameters_of(part).items():
        if name in handed:
            continue
        required = parameter.default is parameter.empty
        annotation = _in_yaml(hints[name]) if name in hints else _like(parameter.default)
        if annotation is not None:
            fields[name] = (annotation, ... if required else parameter.default)
        elif required:
            raise ValueError(f"takes '{name}', which a configuration cannot give")
    return create_model(_name(part), __base__=Strict, **fields)


def _name(part: Callable[..., object]) -> str:
    return f"{getattr(part, '__name__', type(part).__name__)} parameters"


def _hints(part: Callable[..., object]) -> dict[str, Any]:
    try:
        return get_type_hints(part.__init__ if isinstance(part, type) else part)  # type: ignore[misc]
    except NameError:  # a name that is there for type checkers only
        return {}


def _in_yaml(annotation: Any) -> Any:
    """Return what of `annotation` YAML can hold; None: nothing."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return annotation if _in_yaml(get_args(annotation)[0]) is not None else None
    if origin in (Union, types.UnionType):
        kept = [each for each in map(_in_yaml, get_args(annotation)) if each is not None]
        # None alone is what is left of an object that may be absent.
        return reduce(or_, kept) if any(each is not types.NoneType for each in kept) else None
    if origin is Literal or annotation is Any or annotation in _PLAIN or annotation in _HOLDERS:
        return annotation
    if origin in _HOLDERS:
        inner = tuple(each if each is ... else _in_yaml(each) for each in get_args(annotation))
        return None if None in inner else origin[inner]
    return None


def _like(default: object) -> Any:
    if default is inspect.Parameter.empty or default is None:
        return Any
    # 0 is how many a signature says 0.0.
    return int | float if type(default) is int else _in_yaml(type(default))

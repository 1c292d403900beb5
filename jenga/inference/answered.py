"""What the answers of a model hold, for rules that judge them."""

from __future__ import annotations

from jenga.bundle import Bundle
from jenga.labels import kind_named
from jenga.policy.load import Answered


def answered(bundle: Bundle) -> dict[str, dict[str, Answered]]:
    """Return by task and head what answers hold; a task that tells something of all its heads has a head '' too."""
    found: dict[str, dict[str, Answered]] = {}
    for name in bundle.model.tasks:
        task = bundle.model.tasks[name]
        spaces = [space for (owner, _), space in bundle.spaces.items() if owner == name]
        found[name] = {
            space.head: Answered(tuple(kind_named(space.kind).names(space)), task.conditions(space)) for space in spaces
        }
        if of_all := task.conditions(None):
            found[name][""] = Answered((), of_all)
    return found

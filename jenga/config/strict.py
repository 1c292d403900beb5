"""What every block of the configuration is, and the numbers that blocks share."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0, lt=1)]
PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
UNSEEN = r"\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069"
"""Characters, inside a class of a pattern, that a terminal or a page obeys instead of showing: escapes, line ends."""
NAME = rf"^[^./\s{UNSEEN}]+$"
"""Pattern of the names of tasks and heads."""
BACKBONE_NAME = r"^[A-Za-z0-9_-]+$"
"""Pattern of the names of backbones, which are folders of a saved model."""
PROJECT = rf"^[^./\\\s{UNSEEN}][^/\\{UNSEEN}]*$"
PROJECT_LENGTH = 60
"""Characters of a project's name, at four bytes each no more than the 255 that a folder's name may have."""


class Strict(BaseModel):
    """Base of every block: unknown keys are errors, values are fixed once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)

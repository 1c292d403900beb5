"""The block `teacher_student_config`: a student taught by a frozen teacher."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from jenga.config.paths import PathMark
from jenga.config.strict import PositiveFloat, PositiveInt, Strict

_EVERY = re.compile(r"every_(?:([2-9]|[1-9]\d+)(?:st|nd|rd|th))")
LayerNumber = Annotated[int, Field(ge=0)]


class StudentConfig(Strict):
    """A student cut from the teacher."""

    from_teacher: str | Annotated[list[LayerNumber], Field(min_length=1)] = Field(
        description="Layers of the teacher that the student keeps: every_2nd, every_3rd, every_4th and so on, from the "
        "first on, or a list of their numbers from 0."
    )

    @field_validator("from_teacher")
    @classmethod
    def _is_a_choice(cls, layers: str | list[int]) -> str | list[int]:
        if isinstance(layers, str):
            if not _EVERY.fullmatch(layers):
                raise ValueError(f"'{layers}' is no choice of layers; write every_2nd, every_4th, or [0, 4, 8]")
        elif any(after <= before for before, after in pairwise(layers)):
            raise ValueError(f"layers must rise, got {layers}")
        return layers

    def layers(self, n_layers: int) -> list[int]:
        """Return the numbers of the kept layers of `n_layers`, which may lie outside it where they were listed."""
        if isinstance(self.from_teacher, list):
            return list(self.from_teacher)
        match = _EVERY.fullmatch(self.from_teacher)
        assert match is not None
        return list(range(0, n_layers, int(match[1])))


class HiddenStatesConfig(Strict):
    """The student's hidden states drawn towards the teacher's."""

    weight: PositiveFloat = Field(1.0, description="Factor of this loss in the task's.")
    loss: Literal["mse", "cosine"] = Field("mse", description="mse of the states, or 1 - cosine of their angle.")
    layers: Literal["auto", "last"] | Annotated[list[tuple[LayerNumber, LayerNumber]], Field(min_length=1)] = Field(
        "auto",
        description="Pairs [student, teacher] of layers, from 0; auto: the layers that a student cut from the teacher "
        "has kept, else spread evenly, the last on the last; last: the last pair alone.",
    )


class AttentionsConfig(Strict):
    """The student's attention probabilities drawn towards the teacher's, by their Kullback-Leibler divergence."""

    weight: PositiveFloat = Field(1.0, description="Factor of this loss in the task's.")
    layers: Literal["auto", "last"] | Annotated[list[tuple[LayerNumber, LayerNumber]], Field(min_length=1)] = Field(
        "last", description="Pairs [student, teacher] of layers, as in hidden_states."
    )


class TeacherStudentConfig(Strict):
    """Distillation (Hinton et al. 2015): (1 - alpha) x the labels' loss + alpha x T^2 x the teacher's."""

    enabled: bool = Field(True, description="false: train without the teacher, the same student.")
    teacher_model: Annotated[str, PathMark.NAMED] = Field(
        min_length=1,
        description="The teacher: hub name or folder of a causal model, or a run folder of Jenga with the same heads.",
    )
    distillation_alpha: Annotated[float, Field(ge=0, le=1)] = Field(
        0.5, description="Share of the teacher's loss: 0 is the labels alone, 1 the teacher alone."
    )
    temperature: PositiveFloat = Field(2.0, description="T, which both models' logits are divided by.")
    divergence: Literal["forward_kl", "reverse_kl", "jsd"] = Field(
        "forward_kl",
        description="forward_kl: KL(teacher || student), covers all that the teacher allows; reverse_kl: KL(student || "
        "teacher), keeps to what it prefers; jsd: the Jensen-Shannon divergence.",
    )
    teacher_dtype: Literal["fp32", "bf16", "int8"] = Field("fp32", description="Type of the teacher's weights.")
    student: StudentConfig | None = Field(
        None, description="Make the student of the teacher's layers; it then takes the place of the model's own name."
    )
    top_k: PositiveInt | None = Field(
        None,
        description="Keep the k largest logits of the teacher for each learnt token on disk, so that it runs once; "
        "default: it runs at each step. Language models only.",
    )
    top_k_dir: Annotated[str | None, PathMark.FILE] = Field(
        None, min_length=1, description="Folder of those logits. Default: below data.cache_dir, by what they are of."
    )
    hidden_states: HiddenStatesConfig | None = Field(None, description="Match hidden states too.")
    attentions: AttentionsConfig | None = Field(None, description="Match attention probabilities too.")

    @model_validator(mode="after")
    def _settings_agree(self) -> Self:
        if self.top_k is None and self.top_k_dir is not None:
            raise ValueError("top_k_dir: nothing is kept there without top_k; set it, or remove top_k_dir")
        if self.top_k is not None and self.divergence == "reverse_kl":
            raise ValueError(
                "divergence: reverse_kl is infinite where only the k largest logits are known; use forward_kl or jsd, "
                "or remove top_k"
            )
        if self.top_k is not None and (self.hidden_states or self.attentions):
            raise ValueError("top_k: matching of hidden states or attentions runs the teacher at each step; remove one")
        return self

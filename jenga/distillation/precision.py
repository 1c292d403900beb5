"""A teacher's weights in fewer bits: it is only ever run forward."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Literal

import torch

from jenga.errors import SetupError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TeacherDtype = Literal["fp32", "bf16", "int8"]


def reduce_precision(model: PreTrainedModel, dtype: TeacherDtype) -> None:
    """Turn the weights of `model` into `dtype`, in place.

    int8: those of the linear layers in front of the output layer, by torchao, which computes in float32 then. Raises
    SetupError where torchao is not installed.
    """
    if dtype == "bf16":
        model.to(torch.bfloat16)
    elif dtype == "int8":
        if importlib.util.find_spec("torchao") is None:
            raise SetupError(
                "model.teacher_student_config.teacher_dtype: int8 needs torchao, which is not installed here: "
                "pip install torchao; or use bf16 or fp32"
            )
        from torchao.quantization import Int8WeightOnlyConfig, quantize_

        quantize_(model.base_model, Int8WeightOnlyConfig())

"""Distillation of one vocabulary head into another, chunked: neither model's logits are ever held for all rows."""

from .op import linear_distillation
from .topk import TeacherTopk, teacher_topk

__all__ = ["TeacherTopk", "linear_distillation", "teacher_topk"]

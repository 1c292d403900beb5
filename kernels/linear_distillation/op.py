"""`linear_distillation`: the public function, its autograd, the op that holds the chunk loop, and its fake."""

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from .._native import CPU
from ..autocast import as_autocast
from ..dtypes import accumulate_dtype
from ..vocabulary.checks import check_labels, check_op, check_options, is_capturing
from ..vocabulary.chunked_linear import ChunkedLinear, gradient_dtype
from ..vocabulary.chunks import VocabularyLoss, auto_chunk_rows, loss_over_chunks
from ..vocabulary.saved_gradients import save_gradients, scaled_gradients, wanted_gradients
from .checks import DIVERGENCES, DivergenceKind, check_indices, check_settings, check_tensors
from .chunk_losses import Distillation, distillation_of_chunk
from .reference import linear_distillation_reference
from .topk import TeacherTopk


def linear_distillation(
    student: Tensor,
    student_weight: Tensor,
    teacher: Tensor | None,
    teacher_weight: Tensor | None,
    targets: Tensor,
    *,
    alpha: float,
    temperature: float,
    kind: DivergenceKind = "forward_kl",
    teacher_topk: TeacherTopk | None = None,
    ignore_index: int = -100,
    reduction: Literal["mean", "sum"] = "mean",
    chunk_size: int | Literal["auto"] = "auto",
) -> Tensor:
    """Distillation of a teacher's vocabulary head into a student's, without holding either's (M, V) logits.

    With p_s and p_t the softmax of the logits over the temperature T, a row's loss is
    `(1 - alpha) CE(student logits, target) + alpha T^2 D` (Hinton et al. 2015, section 2; CE at temperature 1), where D
    is KL(p_t || p_s) ("forward_kl"), KL(p_s || p_t) ("reverse_kl") or the Jensen-Shannon divergence, half of each to
    their mean ("jsd", in nats, at most log 2). Each chunk of student and teacher logits is read once. Gradients are
    those of the student only, and are computed in the same pass, as `linear_cross_entropy` documents.

    Where the vocabularies differ in size (padding), D is over the tokens that both have, the first min(Vs, Vt), as if
    the others' logits were -infinity in both; CE is over all of the student's.

    Args:
        student: (M, Hs) floating. student_weight: (Vs, Hs), same dtype.
        teacher: (M, Ht) floating. teacher_weight: (Vt, Ht), same dtype, which may differ from the student's. On a CPU
            both run in float32, or float64 where the student's is. None with `teacher_topk`.
        targets: int64 (M,), `ignore_index` where a row has no label: such a row adds nothing, D neither. The caller
            shifts tokens, for both models alike.
        alpha: in [0, 1]. temperature: above 0.
        teacher_topk: what `teacher_topk()` returned, instead of a teacher: its distribution is then the softmax, at
            the temperature, of the k logits alone, so that what the other tokens had is spread over these. The
            student's is over all Vs tokens. Not with "reverse_kl", which is infinite there.
        reduction: "mean" over the rows that have a label (0 where none has), or "sum".
        chunk_size: rows of logits to hold at a time, the student's and the teacher's.

    Returns:
        () float32, float64 for a float64 student. Differentiable once, as `linear_cross_entropy` is.

    Raises:
        ValueError: shapes, dtypes, devices or options disagree, a label or a cached token is out of range, or a cached
            token occurs twice in a row; the message names the row. CUDA: see `linear_cross_entropy`.
        NotImplementedError: under torch.func.vmap.
    """
    check_options(reduction=reduction, chunk_size=chunk_size)
    check_settings(alpha, temperature, kind)
    check_tensors(student, student_weight, teacher, teacher_weight, targets, teacher_topk, kind)
    if CPU.implementation == "reference" or student.device.type not in ("cpu", "cuda", "meta"):
        return linear_distillation_reference(
            student, student_weight, teacher, teacher_weight, targets,
            alpha=alpha, temperature=temperature, kind=kind,
            teacher_topk=teacher_topk, ignore_index=ignore_index, reduction=reduction,
        )  # fmt: skip
    student, student_weight, _ = as_autocast(student, student_weight, None)
    if teacher is not None and teacher_weight is not None:
        teacher, teacher_weight, _ = as_autocast(teacher.detach(), teacher_weight.detach(), None)
    top_logits, top_indices = (None, None) if teacher_topk is None else teacher_topk
    chunk_rows = 0 if chunk_size == "auto" else chunk_size
    wanted = wanted_gradients(student, student_weight)
    options = _Options(
        alpha, temperature, DIVERGENCES.index(kind), ignore_index, reduction == "mean", chunk_rows, wanted
    )  # fmt: skip
    outputs: tuple[Tensor, ...] = _LinearDistillation.apply(
        student, student_weight, teacher, teacher_weight, top_logits, top_indices, targets, options
    )
    return outputs[0]


class _Options(NamedTuple):
    """The arguments of the op that are no tensors, in its order."""

    alpha: float
    temperature: float
    divergence: int
    ignore_index: int
    mean: bool
    chunk_rows: int
    wanted: list[bool]


class _LinearDistillation(torch.autograd.Function):
    """As `linear_cross_entropy`'s: gradients of the student are outputs of the forward op and wait for the backward."""

    @staticmethod
    def forward(  # each by its name: without grad mode Dynamo hands a `*arguments` the context as the first of them
        student: Tensor,
        student_weight: Tensor,
        teacher: Tensor | None,
        teacher_weight: Tensor | None,
        top_logits: Tensor | None,
        top_indices: Tensor | None,
        targets: Tensor,
        options: _Options,
    ) -> tuple[Tensor, ...]:
        outputs: tuple[Tensor, ...] = torch.ops.jenga.linear_distillation(
            student, student_weight, teacher, teacher_weight, top_logits, top_indices, targets, *options
        )
        return outputs

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        *tensors, ctx.options = inputs
        _, *gradients = output
        ctx.mark_non_differentiable(*gradients)
        ctx.set_materialize_grads(False)
        save_gradients(ctx, tuple(gradients), tensors)

    @staticmethod
    def backward(ctx: Any, grad_loss: Tensor | None, *_: Tensor | None) -> tuple[Tensor | None, ...]:
        options = ctx.options
        if grad_loss is None:
            return (None,) * 8

        def recompute(*inputs: Tensor) -> tuple[Tensor, ...]:
            _, *gradients = torch.ops.jenga.linear_distillation(*inputs, *options)
            return tuple(gradients)

        return *scaled_gradients("linear_distillation", ctx, grad_loss, options.wanted, recompute), *(None,) * 6

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> Any:
        raise NotImplementedError(
            "linear_distillation: torch.func.vmap is not supported, since the rows are taken in chunks already. "
            "Flatten the mapped dimension into the rows (student.flatten(0, 1)), or loop over it"
        )


class _Teacher:
    """The teacher's logits of a chunk: from its head, or from its cached top logits with -infinity elsewhere."""

    def __init__(self, head: ChunkedLinear | None, cache: TeacherTopk | None, buffer: Tensor) -> None:
        self._head, self._cache, self._buffer = head, cache, buffer

    def logits(self, rows: slice) -> Tensor:
        if self._head is not None:
            return self._head.logits(rows, self._buffer)
        assert self._cache is not None
        values, indices = self._cache.logits[rows], self._cache.indices[rows]
        logits = self._buffer[: values.shape[0]].fill_(-torch.inf)
        # Clamped so that no index leaves the memory; a wrong one is reported by the host.
        return logits.scatter_(1, indices.clamp(0, logits.shape[1] - 1), values.to(logits.dtype))


@torch.no_grad()  # as linear_cross_entropy's
def _forward(
    student: Tensor,
    student_weight: Tensor,
    teacher: Tensor | None,
    teacher_weight: Tensor | None,
    top_logits: Tensor | None,
    top_indices: Tensor | None,
    targets: Tensor,
    *arguments: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    options = _Options(*arguments)
    cache = _cache(top_logits, top_indices)
    _check_divergence(options.divergence)
    kind = DIVERGENCES[options.divergence]
    check_settings(options.alpha, options.temperature, kind)
    check_tensors(student, student_weight, teacher, teacher_weight, targets, cache, kind)
    check_op(options.chunk_rows, options.wanted, 2)
    n_rows, vocabulary = student.shape[0], student_weight.shape[0]
    on_cpu = student.device.type == "cpu"
    if on_cpu:
        _check_values(targets, cache, vocabulary, options.ignore_index)
    head = ChunkedLinear(student, student_weight, wanted=[*options.wanted, False])
    chunk_rows = options.chunk_rows or auto_chunk_rows(student.shape[1])
    teacher_head = None
    if teacher is not None and teacher_weight is not None:
        teacher_head = ChunkedLinear(teacher, teacher_weight, dtype=head.dtype if on_cpu else None)
    source = _Teacher(teacher_head, cache, _teacher_logits(teacher_head, student_weight, min(chunk_rows, n_rows)))
    distillation = Distillation(options.alpha, options.temperature, options.divergence)

    def loss_of_chunk(rows: slice, logits: Tensor, loss: VocabularyLoss) -> Tensor:
        return distillation_of_chunk(logits, source.logits(rows), targets[rows], loss, distillation)

    loss, dstudent, dweight, _ = loss_over_chunks(
        head, targets, loss_of_chunk,
        ignore_index=options.ignore_index, mean=options.mean, chunk_rows=chunk_rows,
    )  # fmt: skip
    if not on_cpu and not is_capturing(student):
        _check_values(targets, cache, vocabulary, options.ignore_index)
    return loss, dstudent, dweight


def _teacher_logits(head: ChunkedLinear | None, student_weight: Tensor, n_rows: int) -> Tensor:
    """Memory for the teacher's logits of a chunk; a cache fills as many columns as the student has."""
    if head is not None:
        return head.new_logits(n_rows)
    return student_weight.new_empty((n_rows, len(student_weight)), dtype=accumulate_dtype(student_weight.dtype))


def _cache(top_logits: Tensor | None, top_indices: Tensor | None) -> TeacherTopk | None:
    if (top_logits is None) != (top_indices is None):
        raise ValueError("top_logits, top_indices: got one of the two; allowed: both, or None for both")
    return None if top_logits is None or top_indices is None else TeacherTopk(top_logits, top_indices)


def _check_divergence(divergence: int) -> None:
    if not 0 <= divergence < len(DIVERGENCES):
        raise ValueError(f"divergence: got {divergence}; allowed: 0 to {len(DIVERGENCES) - 1}")


def _check_values(targets: Tensor, cache: TeacherTopk | None, vocabulary: int, ignore_index: int) -> None:
    check_labels(targets, vocabulary, ignore_index)
    if cache is not None:
        check_indices(cache.indices, vocabulary)


def _fake_forward(student: Tensor, student_weight: Tensor, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    wanted = _Options(*arguments[-len(_Options._fields) :]).wanted
    dstudent, dweight = (
        student.new_empty(tensor.shape if want else (0,), dtype=gradient_dtype(student.dtype))
        for tensor, want in zip((student, student_weight), wanted, strict=True)
    )
    return student.new_empty((), dtype=accumulate_dtype(student.dtype)), dstudent, dweight


def _fake_chunk(logits: Tensor, teacher_logits: Tensor, targets: Tensor, *options: Any) -> Tensor:
    return logits.new_empty(targets.shape)


if CPU.implementation == "native":
    torch.library.impl("jenga::linear_distillation", ("cpu", "cuda"), _forward)
    torch.library.register_fake("jenga::linear_distillation", _fake_forward)
    torch.library.register_fake("jenga::vocabulary_distillation_", _fake_chunk)

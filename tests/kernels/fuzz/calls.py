"""One valid call of each op and of each function of `jenga._C`, of sizes that the draw decides."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

ROWS = (0, 1, 2, 7, 130, 300)
"""Rows of a call: none, odd ones, and so many that threads share them."""
WIDTHS = (1, 3, 8, 19, 70)
WIDE = (torch.float32, torch.float64)


def _dtype(rng: random.Random) -> torch.dtype:
    return rng.choice((torch.float32, torch.float32, torch.float64, torch.bfloat16, torch.float16))


# ------------------------------------------------------------------------------------------------------ multi_head_loss


def _multi_head_loss(rng: random.Random) -> list[Any]:
    n_rows, dtype = rng.choice(ROWS), _dtype(rng)
    kinds = [rng.randrange(5) for _ in range(rng.randint(1, 5))]
    sizes = [rng.choice((1, 2, 5, 37)) for _ in kinds]
    targets = [
        torch.randint(-1, size, (n_rows,)).apply_(lambda label: -100 if label < 0 else label)
        if kind in (0, 3)
        else torch.rand(n_rows, size)
        for kind, size in zip(kinds, sizes, strict=True)
    ]
    weighted = [head for head, kind in enumerate(kinds) if kind != 2 and rng.random() < 0.5]
    routed = rng.random() < 0.3
    return [
        torch.randn(n_rows, sum(sizes), dtype=dtype),
        targets,
        kinds,
        sizes,
        [torch.rand(sizes[head]) for head in weighted],
        weighted,
        [rng.choice((0.0, 0.1)) for _ in kinds] if rng.random() < 0.5 else [],
        torch.randint(0, 2, (n_rows,)) if routed else None,
        [head % 2 for head in range(len(kinds))] if routed else [],
        rng.random() < 0.7,
    ]


def _multi_head_loss_backward(rng: random.Random) -> list[Any]:
    sizes = [rng.choice((1, 2, 5, 37)) for _ in range(rng.randint(1, 5))]
    like = torch.zeros(0, dtype=_dtype(rng))
    dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
    return [torch.randn(len(sizes), dtype=dtype), torch.randn(rng.choice(ROWS), sum(sizes), dtype=dtype), sizes, like]


# -------------------------------------------------------------------------------------------------- skinny_linear, LoRA


def _skinny_linear(rng: random.Random) -> list[Any]:
    n_inputs, n_outputs = rng.choice(WIDTHS), rng.choice(WIDTHS)
    bias = torch.randn(n_outputs) if rng.random() < 0.5 else None
    return [torch.randn(rng.choice(ROWS), n_inputs), torch.randn(n_outputs, n_inputs), bias]


def _skinny_linear_backward(rng: random.Random) -> list[Any]:
    n_rows, n_inputs, n_outputs = rng.choice(ROWS), rng.choice(WIDTHS), rng.choice(WIDTHS)
    x = torch.randn(n_rows, n_inputs) if rng.random() < 0.8 else None
    weight = torch.randn(n_outputs, n_inputs) if rng.random() < 0.8 else None
    return [torch.randn(n_rows, n_outputs), x, weight, rng.random() < 0.5]


def _lora(rng: random.Random) -> dict[str, Any]:
    n_rows, n_inputs, dtype = rng.choice(ROWS), rng.choice(WIDTHS), _dtype(rng)
    widths = [rng.choice(WIDTHS) for _ in range(rng.randint(1, 3))]
    projections = [rng.randrange(len(widths)) for _ in range(rng.randint(0, 4))]
    ranks = [rng.choice((1, 2, 8)) for _ in projections]
    drops = rng.random() < 0.4
    return {
        "x": torch.randn(n_rows, n_inputs, dtype=dtype),
        "weights": [torch.randn(width, n_inputs, dtype=dtype) for width in widths],
        "lora_as": [torch.randn(rank, n_inputs) for rank in ranks],
        "lora_bs": [torch.randn(widths[place], rank) for place, rank in zip(projections, ranks, strict=True)],
        "scales": [0.5 for _ in projections],
        "projections": projections,
        "adapters": [rng.randrange(3) for _ in projections],
        "rows": torch.randint(-1, 3, (n_rows,)) if rng.random() < 0.4 else None,
        "dropout": 0.25 if drops else 0.0,
        "seed": torch.tensor(rng.getrandbits(62)) if drops else None,
    }


def _lora_linear(rng: random.Random) -> list[Any]:
    case = _lora(rng)
    weights = case["weights"]
    biased = [index for index in range(len(weights)) if rng.random() < 0.5]
    biases = [torch.randn(weights[index].shape[0]) for index in biased]
    x, _, *rest = case.values()
    return [x, weights, biases, biased, *rest]


def _lora_linear_backward(rng: random.Random) -> list[Any]:
    case = _lora(rng)
    x, weights, *rest = case.values()
    n_ranks = sum(each.shape[0] for each in case["lora_as"])
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    grads = [torch.randn(x.shape[0], weight.shape[0], dtype=x.dtype) for weight in weights]
    projected = torch.randn(x.shape[0], n_ranks, dtype=dtype)
    return [grads, x, projected, weights, *rest, *(rng.random() < 0.7 for _ in range(3))]


# --------------------------------------------------------------------------------------------- losses over a vocabulary


def _labels(rng: random.Random, n_rows: int, vocabulary: int) -> Tensor:
    labels = torch.randint(0, vocabulary, (n_rows,))
    labels[torch.rand(n_rows) < 0.2] = -100
    return labels


def _linear_cross_entropy(rng: random.Random) -> list[Any]:
    n_rows, width, vocabulary, dtype = rng.choice(ROWS), rng.choice(WIDTHS), rng.choice((1, 5, 90)), _dtype(rng)
    bias = torch.randn(vocabulary, dtype=dtype) if rng.random() < 0.5 else None
    return [
        torch.randn(n_rows, width, dtype=dtype), torch.randn(vocabulary, width, dtype=dtype), bias,
        _labels(rng, n_rows, vocabulary), -100, rng.choice((0.0, 0.1)), rng.random() < 0.5, rng.choice((0, 1, 64)),
        [rng.random() < 0.6, rng.random() < 0.6, bias is not None and rng.random() < 0.6],
    ]  # fmt: skip


def _linear_distillation(rng: random.Random) -> list[Any]:
    n_rows, width, vocabulary, dtype = rng.choice(ROWS), rng.choice(WIDTHS), rng.choice((1, 5, 90)), _dtype(rng)
    teacher: list[Any] = [torch.randn(n_rows, 6), torch.randn(vocabulary + rng.randrange(3), 6), None, None]
    if rng.random() < 0.4:
        k = rng.randint(1, vocabulary)
        teacher = [None, None, torch.randn(n_rows, k), torch.rand(n_rows, vocabulary).argsort(dim=1)[:, :k]]
    return [
        torch.randn(n_rows, width, dtype=dtype), torch.randn(vocabulary, width, dtype=dtype), *teacher,
        _labels(rng, n_rows, vocabulary), 0.5, 2.0, rng.choice((0, 1, 2)) if teacher[0] is not None else 0, -100,
        rng.random() < 0.5, rng.choice((0, 1, 64)), [rng.random() < 0.6, rng.random() < 0.6],
    ]  # fmt: skip


def _vocabulary_cross_entropy(rng: random.Random) -> list[Any]:
    n_rows, vocabulary, dtype = rng.choice(ROWS), rng.choice((1, 5, 90, 1000)), rng.choice(WIDE)
    labels = _labels(rng, n_rows, vocabulary)
    return [torch.randn(n_rows, vocabulary, dtype=dtype), labels, -100, rng.choice((0.0, 0.1)), 0.5, rng.random() < 0.7]


def _vocabulary_distillation(rng: random.Random) -> list[Any]:
    n_rows, vocabulary, dtype = rng.choice(ROWS), rng.choice((1, 5, 90, 1000)), rng.choice(WIDE)
    teacher = torch.randn(n_rows, max(1, vocabulary + rng.randrange(-2, 3)), dtype=dtype)
    return [
        torch.randn(n_rows, vocabulary, dtype=dtype), teacher, _labels(rng, n_rows, vocabulary), 0.5, 2.0,
        rng.randrange(3), -100, 1.0, rng.random() < 0.7,
    ]  # fmt: skip


# ------------------------------------------------------------------------------------------------------------- refinery

_FIELDS: tuple[tuple[int, dict[str, Any]], ...] = (
    (1, {"kind": "numeric", "clip": [None, 9.5], "log1p": True, "offset": 0.5, "scale": 2.0, "limit": 8.0,
         "knots": [], "references": []}),
    (1, {"kind": "numeric", "clip": None, "log1p": False, "offset": 0.0, "scale": 1.0, "limit": None,
         "knots": [0.0, 1.0, 4.0], "references": [0.0, 0.5, 1.0]}),
    (1, {"kind": "boolean"}),
    (3, {"kind": "categorical", "encoding": "onehot", "values": ["a", "b"]}),
    (4, {"kind": "categorical", "encoding": "hash", "n_buckets": 4, "signed": True, "hash": "murmur3"}),
    (1, {"kind": "categorical", "encoding": "frequency", "values": ["a", "b"], "frequencies": [0.25, 0.75]}),
    (15, {"kind": "ip", "prefix_bits": 8}),
    (5, {"kind": "port", "n_buckets": 2}),
    (5, {"kind": "timestamp", "unit": "auto", "inter_arrival": True, "offset": 0.0, "scale": 1.0}),
    (14, {"kind": "text", "ngram": 3, "n_buckets": 8, "lower": True, "signed": True, "hash": "jenga", "norm": "l2"}),
    (0, {"kind": "raw"}),
)  # fmt: skip
_VALUES = (
    "1", "-3.5e2", "true", "null", '"a"', '"b"', '"10.0.0.7"', '"2001:db8::1"', "443", '"2024-05-06T07:08:09Z"',
    "1715000000", '"GET /\\u00e9?x=1"', '""', "NaN", "[1,2]", '{"x":1}',
)  # fmt: skip
_BAD_ROWS = ("{", "[]", "", '{"f0":}', '{"f0":1,"f0":2}', '{"f0":1e999}')


def _plan(rng: random.Random) -> tuple[dict[str, Any], int, int]:
    """A fitted plan, how many of its fields have times between rows, and how many of these count by entity."""
    at, fields = 0, []
    for index, (width, field) in enumerate(rng.sample(_FIELDS, rng.randint(1, len(_FIELDS)))):
        place = {"path": rng.choice((f"f{index}", f"f{index}.g")), "required": False, "column": at if width else -1}
        fields.append(field | place | {"indicator": -1})
        at += width
    if at == 0:
        fields.append({"path": "b", "required": False, "kind": "boolean", "column": 0, "indicator": 1})
        at = 2
    plan = {
        "version": 2, "validate": rng.choice(("strict", "fast")), "nan": rng.choice(("missing", "quarantine")),
        "duplicates": rng.choice(("last", "quarantine")), "n_features": at, "fields": fields,
    }  # fmt: skip
    timed = [field for field in fields if field.get("inter_arrival")]
    owners = [field["path"] for field in fields if field["kind"] in ("categorical", "ip", "text")]
    if timed and owners and rng.random() < 0.7:
        timed[0] |= {"by": rng.choice(owners), "max_entities": rng.choice((1, 2, 100))}
    return plan, len(timed), sum("by" in field for field in timed)


def _as_bytes(text: str) -> Tensor:
    return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8) if text else torch.empty(0, dtype=torch.uint8)


def _row(rng: random.Random) -> str:
    if rng.random() < 0.1:
        return rng.choice(_BAD_ROWS)
    keys = rng.sample([f"f{index}" for index in range(len(_FIELDS))], rng.randint(0, 8))
    return "{" + ",".join(f'"{key}":{rng.choice(_VALUES)}' for key in keys) + "}"


def _rows(rng: random.Random) -> tuple[Tensor, Tensor]:
    rows = [_row(rng) for _ in range(rng.choice((0, 1, 3, 40)))]
    ends = torch.tensor([len(row) + 1 for row in rows], dtype=torch.int64).cumsum(0) - 1
    begins = ends - torch.tensor([len(row) for row in rows], dtype=torch.int64)
    return _as_bytes("".join(row + "\n" for row in rows)), torch.stack([begins, ends], dim=1).reshape(-1, 2)


def _refine(rng: random.Random) -> list[Any]:
    plan, n_times, n_by_entity = _plan(rng)
    previous = torch.rand(n_times if rng.random() < 0.5 else 0, dtype=torch.float64)
    if n_by_entity and len(previous):
        entities = [[0.0, float(rng.randrange(2**53)), rng.random()] for _ in range(rng.choice((0, 1, 4)))]
        previous = torch.cat([previous, torch.tensor(entities, dtype=torch.float64).flatten()])
    return [*_rows(rng), _as_bytes(json.dumps(plan)), previous, rng.choice((1, 2, 3))]


def _refine_out(rng: random.Random) -> list[Any]:
    data, offsets, plan, previous, n_threads = _refine(rng)
    n_features = json.loads(bytes(plan.tolist()))["n_features"]
    return [data, offsets, plan, previous, n_threads, torch.zeros(len(offsets) + rng.randrange(2), n_features)]


def _refine_extract(rng: random.Random) -> list[Any]:
    data, offsets, plan, _, n_threads = _refine(rng)
    return [data, offsets, plan, n_threads]


def _refine_encode(rng: random.Random) -> list[Any]:
    data, offsets, plan, previous, n_threads = _refine(rng)
    numbers, text, text_offsets, states, _, _ = torch.ops.jenga.refine_extract(data, offsets, plan, 1)
    return [numbers, text, text_offsets, states, plan, previous, n_threads]


def _split_rows(rng: random.Random) -> list[Any]:
    rows = [_row(rng) for _ in range(rng.choice((0, 1, 3, 40)))]
    as_array = rng.random() < 0.5
    data = f"[{','.join(rows)}]" if as_array else "\n".join(rows)
    limit, n_threads = rng.choice((0, 1, 20, 1 << 24)), rng.choice((1, 3))
    return [data.encode(), as_array, rng.random() < 0.2, rng.random() < 0.5, limit, n_threads]


def _pack_rows(rng: random.Random) -> list[Any]:
    rows: list[Any] = [_row(rng) for _ in range(rng.choice((0, 1, 5)))]
    rows += [_row(rng).encode(), {"f0": 1, "f1": [None, True, 2.5, "x", {"y": (1, 2)}]}]
    return [rng.sample(rows, len(rows)), 0]


def _json_lines(rng: random.Random) -> list[Any]:
    cells: tuple[Any, ...] = (1, -3.5e2, 2**70, True, None, "a", "\u00e9\n", [1, [2.5]], {"x": {}}, ())
    rows = [{f"f{at}": rng.choice(cells) for at in range(rng.randint(0, 8))} for _ in range(rng.choice((0, 1, 5)))]
    return [[*rows, {"f0": 1, "f1": [None, True, 2.5, "x\ud800", {"y": (1, 1e300)}]}]]


def _locate(rng: random.Random) -> list[Any]:
    return [_row(rng).encode(), json.dumps(_plan(rng)[0]).encode()]


OPS: dict[str, Callable[[random.Random], list[Any]]] = {
    "multi_head_loss": _multi_head_loss,
    "multi_head_loss_backward": _multi_head_loss_backward,
    "skinny_linear": _skinny_linear,
    "skinny_linear_backward": _skinny_linear_backward,
    "lora_linear": _lora_linear,
    "lora_linear_backward": _lora_linear_backward,
    "linear_cross_entropy": _linear_cross_entropy,
    "linear_distillation": _linear_distillation,
    "vocabulary_cross_entropy_": _vocabulary_cross_entropy,
    "vocabulary_distillation_": _vocabulary_distillation,
    "refine": _refine,
    "refine_out": _refine_out,
    "refine_extract": _refine_extract,
    "refine_encode": _refine_encode,
}
"""By name of the op in `torch.ops.jenga`."""

FUNCTIONS: dict[str, Callable[[random.Random], list[Any]]] = {
    "pack_rows": _pack_rows,
    "json_lines": _json_lines,
    "split_rows": _split_rows,
    "locate": _locate,
    "build_info": lambda _: [],
    "refinery_errors": lambda _: [],
}
"""By name of the function in `jenga._C`."""

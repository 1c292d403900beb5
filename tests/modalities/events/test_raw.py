"""The refinery as a module of tensors."""

from __future__ import annotations

import json

import numpy as np
import torch

from jenga.modalities.events.encoder import EventEncoder
from jenga.modalities.events.raw import Refined
from jenga.refinery import SecurityRefinery
from jenga.samples.network import generate_flows


def packed(rows: list[bytes]) -> tuple[torch.Tensor, torch.Tensor]:
    ends = np.cumsum([len(row) for row in rows])
    offsets = np.stack([np.concatenate([[0], ends[:-1]]), ends], axis=1)
    return torch.frombuffer(bytearray(b"".join(rows)), dtype=torch.uint8), torch.from_numpy(offsets)


def test_bytes_become_the_features_that_the_refinery_makes_and_bad_rows_are_named() -> None:
    flows = [{key: value for key, value in flow.items() if key != "timestamp"} for flow in generate_flows(60)]
    refinery = SecurityRefinery().fit(flows)
    wanted = np.asarray(refinery.transform(flows))
    module = EventEncoder(refinery).from_bytes()
    assert isinstance(module, Refined)
    rows = [json.dumps(flow).encode() for flow in flows]
    features, bad = module(*packed([rows[0], b'{"bytes_in": ', *rows[1:]]))
    np.testing.assert_array_equal(features.numpy(), wanted)
    assert bad[:, 0].tolist() == [1]

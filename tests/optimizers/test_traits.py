"""What an optimizer's class tells."""

from __future__ import annotations

import pytest
import torch

from jenga.optimizers.traits import parts_matrices, swaps_weights, takes_matrices_only


class OfMatrices(torch.optim.SGD):
    matrices_only = True


def test_muon_and_those_that_say_so_take_hidden_matrices_alone() -> None:
    assert [takes_matrices_only(each) for each in (torch.optim.Muon, OfMatrices, torch.optim.SGD)] == [
        True,
        True,
        False,
    ]
    assert [parts_matrices(each) for each in (torch.optim.Muon, OfMatrices, torch.optim.SGD)] == [True, True, False]


def test_muons_of_the_library_train_the_rest_themselves() -> None:
    library = pytest.importorskip("pytorch_optimizer", reason="jenga[optimizers] is not there")
    assert parts_matrices(library.AdaMuon)
    assert not takes_matrices_only(library.AdaMuon)
    assert not parts_matrices(library.Lion)


def test_an_optimizer_with_train_and_eval_has_other_weights_for_evaluations() -> None:
    library = pytest.importorskip("pytorch_optimizer", reason="jenga[optimizers] is not there")
    assert swaps_weights(library.ScheduleFreeAdamW)
    assert not swaps_weights(library.Lion)
    assert not swaps_weights(torch.optim.AdamW)

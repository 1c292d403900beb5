"""Windows of long recordings: where they begin, and what of them becomes a row's vector."""

from __future__ import annotations

import pytest
import torch

from jenga.modalities.audio.windows import WINDOWS_AT_ONCE, pooled_by_row, starts


@pytest.mark.parametrize(
    ("seconds", "window", "stride", "expected"),
    [(0.05, 2.0, 2.0, [0]), (2.0, 2.0, 2.0, [0]), (2.05, 2.0, 2.0, [0]), (2.1, 2.0, 2.0, [0, 2]),
     (5.0, 2.0, 1.5, [0, 1.5, 3.0]), (5.05, 2.0, 1.5, [0, 1.5, 3.0, 4.5]),
     (0.7, 0.1, 0.1, [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6])],
)  # fmt: skip
def test_windows_cover_a_recording_but_for_a_rest_that_is_too_short(
    seconds: float, window: float, stride: float, expected: list[float]
) -> None:
    assert list(starts(seconds, window, stride, least=0.1)) == pytest.approx(expected)


def windows(*frames: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return samples and mask ``(B, W, 4)`` of rows with windows of so many frames; what is no frame is 1000."""
    mask = torch.zeros(len(frames), max(map(len, frames)), 4, dtype=torch.int64)
    for row, lengths in enumerate(frames):
        for at, length in enumerate(lengths):
            mask[row, at, :length] = 1
    return torch.randn(mask.shape).where(mask == 1, 1000.0), mask


class Mean(torch.nn.Module):
    """Hears the mean of a window's frames, by a weight; `seen`: the windows of each call."""

    def __init__(self) -> None:
        super().__init__()
        self.lift = torch.nn.Linear(1, 3)
        self.seen: list[int] = []

    def forward(self, values: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.seen.append(len(values))
        hidden = self.lift(values.unsqueeze(-1)) * mask.unsqueeze(-1)
        return hidden.sum(1) / mask.sum(1, keepdim=True), mask.sum(1).float().log()


def test_a_rows_vector_is_the_mean_over_the_real_frames_of_all_its_windows() -> None:
    values, mask = windows([4, 4, 1], [3])
    hear = Mean()
    output = pooled_by_row(hear, values, mask, forget=False)
    for row in range(2):
        expected = hear.lift(values[row][mask[row] == 1].unsqueeze(-1)).mean(0)
        torch.testing.assert_close(output.pooler_output[row], expected)
    assert output.attention_mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert output.last_hidden_state.shape == (2, 3, 3)
    assert not output.last_hidden_state[1, 1:].any()


@pytest.mark.parametrize("forget", [False, True])
def test_few_windows_are_heard_at_a_time_and_forgotten_ones_give_the_same_gradients(forget: bool) -> None:
    values, mask = windows([4] * 7, [4] * 5, [2])
    hear = Mean()
    pooled_by_row(hear, values, mask, forget=forget).pooler_output.pow(2).sum().backward()
    found = hear.lift.weight.grad
    assert found is not None
    # 13 windows; what is forgotten is heard once more for its gradients.
    assert sorted(hear.seen) == sorted([WINDOWS_AT_ONCE, 13 - WINDOWS_AT_ONCE] * (2 if forget else 1))
    frames = [hear.lift(values[row][mask[row] == 1].unsqueeze(-1)).mean(0) for row in range(3)]
    (expected,) = torch.autograd.grad(torch.stack(frames).pow(2).sum(), hear.lift.weight)
    torch.testing.assert_close(found, expected)

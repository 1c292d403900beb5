"""Short clips through Whisper's encoder at their own length, against transformers' model, which pads to 30 s."""

import time
from collections.abc import Callable

import audio_steps
import pytest
from paired import SMOKE, PairedRatio, compare, held
from peak_memory import peak_bytes


@pytest.mark.parametrize(
    ("candidate", "baseline", "name"),
    [("ours", "padded", "train"), ("ours_answering", "padded_answering", "predict")],
)
def test_clips_at_their_own_length_cost_a_fifth_of_padded_ones(
    candidate: str, baseline: str, name: str, report_ratio: Callable[[str, PairedRatio], None]
) -> None:
    """Ours over the padded pipeline, processor time of batches of eight. Bar: 0.2."""
    problem = audio_steps.make_problem()
    with problem.stack:
        first, second = audio_steps.PROVIDERS[candidate](problem), audio_steps.PROVIDERS[baseline](problem)
        ratio = compare(first, second, rounds=10, warmup=1, min_round_s=0.0, clock=time.process_time)
    report_ratio(f"audio_{name}-fp32: jenga / padded to 30 s, processor time", ratio)
    held(ratio, below=0.2)


def test_clips_at_their_own_length_need_a_third_of_the_memory(capsys: pytest.CaptureFixture[str]) -> None:
    """The peak of a step beyond the weights and the features, each in a process of its own. Bar: 0.3."""
    peaks = {name: peak / 2**20 for name, peak in peak_bytes("audio_steps", *audio_steps.PROVIDERS).items()}
    if SMOKE:
        return
    with capsys.disabled():
        print("\naudio peak memory, MiB:", {name: round(peak, 1) for name, peak in peaks.items()})
    assert peaks["ours"] < 0.3 * peaks["padded"]
    assert peaks["ours_answering"] < 0.3 * peaks["padded_answering"]

"""Changes of training clips: drawn from their generator alone, within their bounds, and never in the filling."""

from __future__ import annotations

import pytest
import torch

from jenga.modalities.audio.augment import augmented
from jenga.modalities.audio.settings import AugmentConfig


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_stretches_of_time_and_bands_are_blanked_and_the_filling_stays() -> None:
    spectra, mask = torch.randn(20, 30, 100), torch.zeros(20, 100, dtype=torch.int64)
    mask[:, :80] = 1
    config = AugmentConfig(time_masks=1, time_share=0.25, frequency_masks=1, frequency_share=0.2)
    changed = augmented(spectra, mask, config, generator())
    blank = changed != spectra
    assert not blank[:, :, 80:].any()
    frames, bands = blank.all(1).sum(1), blank[:, :, :80].all(2).sum(1)
    assert 0 < frames.max() <= 20
    assert 0 < bands.max() <= 6
    assert torch.equal(changed, augmented(spectra, mask, config, generator()))
    assert not torch.equal(changed, augmented(spectra, mask, config, generator(1)))


def test_samples_lose_stretches_of_time_alone() -> None:
    samples, mask = torch.randn(8, 1000), torch.ones(8, 1000, dtype=torch.int64)
    config = AugmentConfig(time_masks=2, time_share=0.1, frequency_masks=5)
    blank = augmented(samples, mask, config, generator()) != samples
    assert 0 < blank.sum(1).max() <= 200


def test_with_no_masks_clips_stay() -> None:
    spectra, mask = torch.randn(2, 30, 100), torch.ones(2, 100, dtype=torch.int64)
    config = AugmentConfig(time_masks=0, frequency_masks=0)
    assert torch.equal(augmented(spectra, mask, config, generator()), spectra)


def test_a_mask_of_another_axis_is_refused() -> None:
    with pytest.raises(ValueError, match="the mask is of 100 frames, and the sound of 30"):
        augmented(torch.randn(2, 100, 30), torch.ones(2, 100), AugmentConfig(), generator())


def test_what_is_drawn_is_equal_with_any_number_of_threads() -> None:
    """Worker processes have one, and a run is to be the same with them and without."""
    found, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            torch.manual_seed(0)
            draw = torch.Generator().manual_seed(0)
            found.append(
                augmented(torch.randn(2, 80, 3000), torch.ones(2, 3000, dtype=torch.int64), AugmentConfig(), draw)
            )
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])

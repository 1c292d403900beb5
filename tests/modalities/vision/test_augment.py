"""Changes of training pictures: drawn from their generator alone, and within their bounds."""

from __future__ import annotations

import torch

from jenga.modalities.vision.augment import augmented
from jenga.modalities.vision.settings import AugmentConfig

STILL = {"flip": False, "crop": 1.0, "brightness": 0.0}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_same_draw_changes_pictures_alike_and_another_one_otherwise() -> None:
    pictures = torch.randn(4, 3, 16, 16)
    first, second = (augmented(pictures, AugmentConfig(erase=0.5), generator(1)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, augmented(pictures, AugmentConfig(erase=0.5), generator(2)))
    assert first.shape == pictures.shape


def test_with_nothing_to_change_pictures_stay() -> None:
    pictures = torch.randn(4, 3, 16, 16)
    torch.testing.assert_close(augmented(pictures, AugmentConfig(**STILL), generator()), pictures, rtol=0, atol=1e-5)


def test_half_of_them_are_mirrored() -> None:
    pictures = torch.randn(200, 1, 8, 8)
    changed = augmented(pictures, AugmentConfig(**{**STILL, "flip": True}), generator())
    mirrored = [torch.allclose(a, b.flip(-1), atol=1e-5) for a, b in zip(changed, pictures, strict=True)]
    kept = [torch.allclose(a, b, atol=1e-5) for a, b in zip(changed, pictures, strict=True)]
    assert all(a != b for a, b in zip(mirrored, kept, strict=True))
    # Of 200 fair draws: six standard deviations.
    assert 58 < sum(mirrored) < 142


def test_a_shift_moves_by_at_most_so_many_pixels() -> None:
    pictures = torch.zeros(100, 1, 17, 17)
    pictures[:, :, 8, 8] = 1
    changed = augmented(pictures, AugmentConfig(**STILL, shift=2), generator())
    weights = changed.sum((1, 2))
    places = (weights * torch.arange(17)).sum(1) / weights.sum(1)
    assert (places - 8).abs().max() <= 2.01
    assert (places - 8).abs().max() > 1.5


def test_what_is_erased_is_a_part_of_some() -> None:
    pictures = torch.ones(100, 3, 16, 16)
    changed = augmented(pictures, AugmentConfig(**STILL, erase=0.4), generator())
    blank = (changed == 0).float().mean((1, 2, 3))
    assert 20 < int((blank > 0).sum()) < 60
    assert 0 < blank[blank > 0].min() <= blank.max() < 0.35


def test_what_is_drawn_is_equal_with_any_number_of_threads() -> None:
    """Worker processes have one, and a run is to be the same with them and without."""
    found, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            torch.manual_seed(0)
            draw = torch.Generator().manual_seed(0)
            found.append(augmented(torch.randn(4, 3, 224, 224), AugmentConfig(erase=0.5), draw))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])

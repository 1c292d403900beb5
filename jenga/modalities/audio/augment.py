"""Training clips changed a little, each time anew (SpecAugment, Park et al. 2019)."""

from __future__ import annotations

import torch

from jenga.modalities.audio.settings import AugmentConfig


def augmented(
    sound: torch.Tensor, mask: torch.Tensor, config: AugmentConfig, generator: torch.Generator
) -> torch.Tensor:
    """Return clips with stretches of time, and bands of a spectrum, blanked; drawn from `generator`.

    sound: samples ``(B, T)``, or spectra ``(B, F, T)``; mask ``(B, T)``: what is no filling. A blank is the
    mean of its clip. Raises ValueError where the mask is of another length.
    """
    if mask.shape[1] != sound.shape[-1]:
        raise ValueError(f"the mask is of {mask.shape[1]} frames, and the sound of {sound.shape[-1]}")
    changed = sound.clone()
    for row, length in enumerate(mask.sum(1).tolist()):
        clip = changed[row, ..., :length]
        # numpy adds up alike with any number of threads, which a worker process has fewer of.
        mean = float(clip.numpy().mean())
        for _ in range(config.time_masks):
            begin, end = _stretch(length, config.time_share, generator)
            clip[..., begin:end] = mean
        for _ in range(config.frequency_masks if clip.ndim == 2 else 0):
            begin, end = _stretch(clip.shape[0], config.frequency_share, generator)
            clip[begin:end] = mean
    return changed


def _stretch(length: int, share: float, generator: torch.Generator) -> tuple[int, int]:
    width, place = torch.rand(2, generator=generator).tolist()
    wide = round(width * share * length)
    begin = round(place * (length - wide))
    return begin, begin + wide

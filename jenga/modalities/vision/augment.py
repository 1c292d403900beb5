"""Training pictures changed a little, each time anew."""

from __future__ import annotations

import math

import torch

from jenga.modalities.vision.settings import AugmentConfig


def augmented(pixels: torch.Tensor, config: AugmentConfig, generator: torch.Generator) -> torch.Tensor:
    """Return a batch of pictures ``(B, C, S, S)``, normalised, each changed by itself; drawn from `generator`."""
    batch, _, size, _ = pixels.shape

    def draw(low: float, high: float) -> torch.Tensor:
        return torch.rand(batch, generator=generator) * (high - low) + low

    mirrored = torch.where(draw(0, 1) < 0.5, -1.0, 1.0) if config.flip else torch.ones(batch)
    if config.shift is not None:
        scale = torch.ones(batch)
        reach = torch.full((batch,), 2 * config.shift / size)
    else:
        scale = draw(config.crop, 1).sqrt()
        reach = 1 - scale
    across, down = draw(-1, 1) * reach, draw(-1, 1) * reach
    zeros = torch.zeros(batch)
    theta = torch.stack([torch.stack([scale * mirrored, zeros, across]), torch.stack([zeros, scale, down])])
    grid = torch.nn.functional.affine_grid(theta.permute(2, 0, 1), list(pixels.shape), align_corners=False)
    changed = torch.nn.functional.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
    if config.brightness:
        changed = changed * (1 + draw(-config.brightness, config.brightness))[:, None, None, None]
    if config.erase:
        changed = _erased(changed, config.erase, generator)
    return changed


def _erased(pixels: torch.Tensor, share: float, generator: torch.Generator) -> torch.Tensor:
    """Blank a rectangle of 2 to 20% of the area of a share of the pictures, its mean in its place."""
    changed = pixels.clone()
    size = pixels.shape[-1]
    for at in torch.nonzero(torch.rand(len(pixels), generator=generator) < share).flatten().tolist():
        area, ratio, top, left = torch.rand(4, generator=generator).tolist()
        side = size * math.sqrt(0.02 + 0.18 * area)
        high = min(size, max(1, round(side * math.exp(ratio - 0.5))))
        wide = min(size, max(1, round(side * math.exp(0.5 - ratio))))
        y, x = round(top * (size - high)), round(left * (size - wide))
        changed[at, :, y : y + high, x : x + wide] = 0
    return changed

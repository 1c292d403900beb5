"""What the parameters of a network are: how deep they lie in it, and which are hidden matrices."""

from __future__ import annotations

from torch import nn

_OF_A_STACK = 0.5
"""A list of modules with this share of the parameters of the largest one is a stack of layers too."""


def depths_of(network: nn.Module) -> dict[str, int]:
    """Return by parameter in how many layers its gradient's way from the input it lies: 1 is the first layer.

    What comes before the layers, and embeddings wherever they stand, have 0; what comes after one, its depth. Layers
    are the entries of the largest ``nn.ModuleList`` and of those of like size after it (a decoder's), each stage's own
    list in its place where ``config.depths`` counts it. Without any, all but the embeddings is one layer.
    """
    layers = layers_of(network)
    inside = {id(p): at for at, layer in enumerate(layers, start=1) for p in layer.parameters()}
    embedded = {id(p) for module in _embeddings(network) for p in module.parameters(recurse=False)}
    found, depth = {}, 0 if layers else 1
    for name, parameter in network.named_parameters():
        depth = inside.get(id(parameter), depth)
        outside = id(parameter) in embedded and id(parameter) not in inside
        found[name] = 0 if outside else depth
    return found


def layers_of(network: nn.Module) -> list[nn.Module]:
    """Return the layers, as `depths_of` counts them, in their order."""
    return [layer for stack in _stacks(network) for entry in stack for layer in _blocks(network, stack, entry)]


def hidden_matrices(network: nn.Module) -> set[str]:
    """Return the names of the weights of two dimensions between the embeddings and what comes out.

    Such as those of linear and of recurrent layers. Learned vectors, which are no weights of a layer, are none.
    """
    embedded = {id(p) for module in _embeddings(network) for p in module.parameters(recurse=False)}
    return {
        name
        for name, p in network.named_parameters()
        if p.ndim == 2 and min(p.shape) > 1 and id(p) not in embedded and "weight" in name.rpartition(".")[2]
    }


def _embeddings(network: nn.Module) -> list[nn.Module]:
    return [each for each in network.modules() if isinstance(each, nn.Embedding | nn.EmbeddingBag)]


def _stacks(network: nn.Module) -> list[nn.ModuleList]:
    """Return the lists of layers, in their order."""
    outermost: dict[str, nn.ModuleList] = {}
    for name, module in network.named_modules():
        if isinstance(module, nn.ModuleList) and not any(name.startswith(f"{other}.") for other in outermost):
            outermost[name] = module
    sizes = {name: sum(p.numel() for p in module.parameters()) for name, module in outermost.items()}
    largest = max(sizes.values(), default=0)
    return [module for name, module in outermost.items() if sizes[name] >= _OF_A_STACK * largest > 0]


def _blocks(network: nn.Module, stack: nn.ModuleList, entry: nn.Module) -> list[nn.Module]:
    """Return the layers of an entry of a stack: its own, where it is a stage of several."""
    counts = getattr(getattr(network, "config", None), "depths", None)
    if not isinstance(counts, list | tuple) or len(counts) != len(stack):
        return [entry]
    inner = [each for each in _stacks(entry) if len(each) in counts]
    return list(inner[0]) if inner else [entry]

"""Soteria: hide the features of a representation that tell most about the input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from asepsis.core.errors import ConfigError
from asepsis.core.layout import Layout, Slot
from asepsis.core.registry import register
from asepsis.core.stages import Home


@register("client", "soteria")
class Soteria:
    """Perturb the gradient of the layer that reads the representation.

    The representation ``r`` is what the network's last fully connected layer reads. Feature i is
    scored by the mean of ``|r_i| / |dr_i / dx|`` over ``samples`` of the hospital's own, at the
    received model in evaluation mode: hiding features with the largest score moves a
    reconstruction farthest from the input and the representation least. The ``floor(share k)``
    features of k with the largest score are hidden: their columns of the layer's weight in the
    update ``[d]`` become 0. Everything else is sent as it is, earlier layers included: no privacy
    is promised, and attacks that leave the layer out undo it. It looks at samples, which breaks a
    promise made before: it is refused behind noise, and with a trainer that promises privacy.

    Raises ConfigError for a network without a fully connected layer behind others: it has no
    representation that this protects.

    Source: Sun et al., Soteria: Provable Defense against Privacy Leakage in Federated Learning
    from Representation Perspective (CVPR 2021), Section 4.2, equation 9; scores are averaged over
    samples, which is ours.

    Fidelity: paper

    Example:
        >>> Soteria(share=0.4).samples
        8
    """

    looks_at_data: ClassVar[bool] = True

    share: Annotated[float, Field(gt=0, lt=1)] = 0.1
    samples: Annotated[int, Field(ge=1, le=1024)] = 8

    def check_model(self, module: nn.Module, layout: Layout) -> None:
        """Refuse a network that has no fully connected representation."""
        representation(module, layout)

    def protect(
        self, row: Tensor, home: Home, rng: np.random.Generator
    ) -> tuple[Tensor, Mapping[str, float]]:
        """Return the row with the hidden features' columns set to 0."""
        module = home.network.at(home.received)
        name, slot = representation(module, home.layout)
        chosen = rng.permutation(len(home.shard))[: self.samples]
        inputs = home.shard.inputs[torch.from_numpy(chosen).to(home.shard.inputs.device)]
        scores = hidden_first(module, name, inputs)
        hidden = torch.argsort(scores, descending=True, stable=True)
        made = row.clone()
        made[slot.where].view(slot.shape)[:, hidden[: int(self.share * len(scores))]] = 0.0
        return made, {}


def representation(module: nn.Module, layout: Layout) -> tuple[str, Slot]:
    """Return the last fully connected layer's name, and where its weight lies in a row.

    Raises:
        ConfigError: there is none, or nothing comes before it.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> representation(net, Layout.of(net))[0]
        '2'
    """
    learned = [name for name, part in module.named_modules() if _own(part)]
    linear = [name for name in learned if isinstance(module.get_submodule(name), nn.Linear)]
    slots = {slot.name: slot for slot in layout.slots}
    at = f"{linear[-1]}.weight".lstrip(".") if linear else ""
    if linear and linear[-1] != learned[0] and at in slots:
        return linear[-1], slots[at]
    raise ConfigError(
        "soteria protects the representation that a last fully connected layer reads, and this "
        "network has none" + (": the layer reads the input itself" if linear else ""),
        place="defenses",
        got=type(module).__name__,
        fix="use gradient-pruning or client-noise, or a network such as small-cnn, lenet or mlp",
    )


def _own(part: nn.Module) -> bool:
    return any(True for _ in part.parameters(recurse=False))


def hidden_first(module: nn.Module, layer: str, inputs: Tensor) -> Tensor:
    """Return ``mean |r_i| / |dr_i / dx|`` over samples ``[k]``; 0 where a feature is silent."""
    read: list[Tensor] = []
    hook = module.get_submodule(layer).register_forward_pre_hook(
        lambda _, given: read.append(given[0])
    )
    watched = inputs.detach().clone().requires_grad_()
    with torch.enable_grad():
        module(watched)
    hook.remove()
    features = read[0].reshape(len(inputs), -1)
    slopes = torch.stack([_slope(feature, watched) for feature in features.unbind(dim=1)])
    ratios = features.detach().T.abs() / slopes
    return torch.where(slopes > 0, ratios, 0.0).mean(dim=1)


def _slope(feature: Tensor, inputs: Tensor) -> Tensor:
    """Return the norm of a feature's derivative by its input, for every sample ``[n]``."""
    (found,) = torch.autograd.grad(feature.sum(), inputs, retain_graph=True)
    size: Tensor = found.reshape(len(inputs), -1).norm(dim=1)
    return size

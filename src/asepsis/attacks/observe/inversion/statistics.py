"""What batch normalization gives away: its running statistics travel with the update."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from asepsis.attacks.observe.inversion.targets import Target
from asepsis.core.threat import Learner

Moments = tuple[Tensor, Tensor]


@dataclass(slots=True, eq=False)
class Statistics:
    """Mean and variance that hospitals' batches had before each batch normalization.

    A step moves a running statistic r to ``(1 - m) r + m s``, where s is that of the batch, so
    that after k steps ``s = r + delta / (1 - (1 - m)^k)``: exact for one step, a weighted average
    over the steps otherwise (or over the hospitals of a sum). Variances are the unbiased ones.
    """

    module: nn.Module
    revealed: Mapping[str, Moments]
    _met: dict[str, Moments] = field(default_factory=dict)

    @classmethod
    def of(cls, learner: Learner, target: Target) -> Statistics | None:
        """Read them off an update; ``None`` where the model keeps none."""
        module = learner.copy(target.sent).requires_grad_(False)
        sent, delta = learner.layout.views(target.sent), learner.layout.views(target.delta)
        found: dict[str, Moments] = {}
        for name, part in module.named_modules():
            if isinstance(part, _BatchNorm) and part.momentum and f"{name}.running_mean" in sent:
                share = 1 - (1 - part.momentum) ** target.recipe.steps
                names = (f"{name}.running_mean", f"{name}.running_var")
                mean, var = (sent[key] + delta[key] / share for key in names)
                found[name] = (mean, var)
        if not found:
            return None
        made = cls(module, found)
        for name, part in module.named_modules():
            if name in found:
                part.train().register_forward_pre_hook(made._listen(name))
        return made

    def distance(self, inputs: Tensor) -> Tensor:
        """Mean squared distance of the inputs' statistics to the revealed ones, layer by layer.

        Means and standard deviations are measured in revealed standard deviations.
        """
        self._met.clear()
        self.module(inputs)
        parts = []
        for name, (mean, var) in self.revealed.items():
            seen_mean, seen_var = self._met[name]
            unit = var.clamp_min(1e-6)
            parts.append(((seen_mean - mean).square() / unit).mean())
            parts.append((((seen_var + 1e-8).sqrt() - unit.sqrt()).square() / unit).mean())
        return torch.stack(parts).mean()

    def _listen(self, name: str) -> Callable[[nn.Module, tuple[Tensor]], None]:
        def hook(_: nn.Module, given: tuple[Tensor]) -> None:
            values = given[0].transpose(0, 1).flatten(1)
            self._met[name] = (values.mean(dim=1), values.var(dim=1))

        return hook

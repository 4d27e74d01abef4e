"""What anyone who knows the architecture can compute: gradients as a pure function of a row."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from asepsis.core.layout import Layout
from asepsis.core.threat import Learner

Loss = Callable[[Tensor, Tensor], Tensor]


def learner(
    module: nn.Module,
    layout: Layout,
    loss: Loss,
    input_shape: tuple[int, ...],
    classes: int,
) -> Learner:
    """Build the learner that attacks are handed.

    The module is copied, so neither side can change the other's. It computes in training mode,
    as the hospitals do: batch normalization uses the statistics of the batch. The columns of
    buffers (from ``layout.parameters`` on) have no gradient and are 0.

    Args:
        module: the network.
        layout: its place in a row.
        loss: ``(outputs, targets) -> [n]``, which must take soft labels ``[n, classes]`` (a
            task's ``loss`` does).
        input_shape: shape of one prepared sample.
        classes: number of classes.

    Example:
        >>> module = nn.Linear(1, 2)
        >>> made = learner(module, Layout.of(module), nn.CrossEntropyLoss(), (1,), 2)
        >>> made.gradient(torch.zeros(4), torch.ones(1, 1), torch.tensor([[1.0, 0.0]]))
        tensor([-0.5000,  0.5000, -0.5000,  0.5000])
    """
    own = copy.deepcopy(module).train()

    def gradient(row: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        tensors = {
            slot.name: row[slot.where].view(slot.shape).detach().clone() for slot in layout.slots
        }
        weights = [tensors[slot.name].requires_grad_() for slot in layout.slots if slot.parameter]
        outputs = torch.func.functional_call(own, tensors, (inputs,))
        found = torch.autograd.grad(
            loss(outputs, targets).mean(),
            weights,
            create_graph=inputs.requires_grad or targets.requires_grad,
            materialize_grads=True,
        )
        buffers = row.new_zeros(layout.dim - layout.parameters)
        return torch.cat([*(part.reshape(-1) for part in found), buffers])

    return Learner(gradient, input_shape, classes, layout.parameters)

"""Labels read off the gradient of an output layer's bias."""

from __future__ import annotations

import torch
from torch import Tensor

from asepsis.core.errors import ConfigError
from asepsis.core.layout import Layout


def infer_labels(gradient: Tensor, classes: int, batch: int) -> Tensor:
    """Read one-hot labels ``[batch, classes]`` off the gradient of the output bias.

    With cross-entropy that gradient is the mean of ``p - y``: only classes that occur can be
    negative. The last ``classes`` coordinates must be the bias. In a batch, each label found
    takes back the ``1 / batch`` that one sample contributes, and the most negative entry is next.

    Example:
        >>> infer_labels(torch.tensor([9.0, 0.2, -0.9, 0.7]), classes=3, batch=1)
        tensor([[0., 1., 0.]])
    """
    left = gradient[-classes:].clone()
    found = []
    for _ in range(batch):
        found.append(int(left.argmin()))
        left[found[-1]] += 1 / batch
    hot = torch.nn.functional.one_hot(torch.tensor(found), classes)
    return hot.to(gradient)


def output_bias(layout: Layout, classes: int) -> slice:
    """Return the columns of the output layer's bias: the last parameter, one value a class.

    Raises:
        ConfigError: the model has none.
    """
    last = [slot for slot in layout.slots if slot.parameter][-1:]
    if not last or last[0].shape != (classes,) or "weight" in last[0].name:
        raise ConfigError(
            "labels cannot be read off: the model does not end in a layer with a bias",
            place="attack",
            got=last[0].name if last else "no parameters",
            fix='optimize them: labels = "optimized", or the attack dlg',
        )
    return last[0].where

"""Try a user's network on real samples before a federation is trained with it.

Whatever would only show after an hour, as a crash or as figures of no meaning, is one message
here. Nobody's sample is in a message: only shapes, types and names of layers.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from random import getstate  # looked at, never drawn from
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from asepsis.core.contracts import Task
from asepsis.core.errors import ConfigError
from asepsis.core.rng import building_modules
from asepsis.core.samples import DataFacts, Kind, Shard
from asepsis.models.user_code import first_line, telling
from asepsis.models.user_module import UserModule

PLACE = "model"
SAMPLES = 8
SEED = 20260101
SHOWN = 3


@dataclass(frozen=True, eq=False)
class _Trial:
    """One network, and a few prepared samples of one hospital."""

    builder: UserModule
    module: nn.Module
    inputs: Tensor
    targets: Tensor
    shape: tuple[int, ...]

    def forward(self, module: nn.Module, samples: int, words: str) -> Any:
        """Return what comes out of the first samples; faults of the user's code are told."""
        inputs = self.inputs[:samples]
        what = f"forward on {tuple(inputs.shape)} {words}"
        with telling(what, self.builder.file, PLACE, words=lambda e: _told(e, module, inputs)):
            return module(inputs)

    def wanted(self, samples: int) -> tuple[int, ...]:
        """Return the shape that the outputs should have."""
        return (samples, *self.shape)


def _told(error: Exception, module: nn.Module, inputs: Tensor) -> str:
    """Repeat an error's text only if blank samples raise it, too: else it may hold a value."""
    try:
        module(torch.zeros_like(inputs))
    except Exception as blank:  # noqa: BLE001 (it is the user's code)
        if type(blank) is type(error):
            return first_line(blank)
    return "its text is left out, as it may repeat a value"


def check_model(builder: UserModule, task: Task, facts: DataFacts, shard: Shard) -> None:
    """Check that a network can be built twice alike, answers, and learns, on a few real samples.

    Args:
        builder: the component.
        task: whose loss is taken.
        facts: which kind of sample, how many classes.
        shard: prepared samples of one hospital.

    Raises:
        ConfigError: it cannot; the message says what it did instead, and what would do.
    """
    inputs, targets = shard.inputs[:SAMPLES], shard.targets[:SAMPLES]
    shape, classes = tuple(inputs.shape[1:]), len(facts.classes)
    module, again = (_built(builder, shape, classes) for _ in range(2))
    _check_sized(module)
    _check_alike(module, again)
    _check_tensors(module)
    outputs = tuple(targets.shape[1:]) if facts.kind is Kind.PAIRED_IMAGE else (classes,)
    trial = _Trial(builder, module.to(inputs.device), inputs.clone(), targets, outputs)
    with torch.random.fork_rng(devices=[]):
        _check_copied(module)
        _check_training(trial, task)
        _check_inputs_kept(trial, inputs)
        _check_answers(trial)


def _built(builder: UserModule, shape: tuple[int, ...], classes: int) -> nn.Module:
    before = _generators()[1:]
    with building_modules(SEED):
        made = builder.build(shape, classes)
    if before != _generators()[1:]:
        raise ConfigError(
            "the constructor draws from a global generator of NumPy or Python",
            place=PLACE,
            fix="draw with torch: its generator is seeded while the network is built",
        )
    return made


def _generators() -> tuple[bytes, bytes, object]:
    """Return the states of the global generators of torch, NumPy and Python."""
    state: Any = np.random.get_state(legacy=False)  # noqa: NPY002 (only its state is read)
    inner = state["state"]
    numpys = inner["key"].tobytes() + str(inner["pos"]).encode()
    return bytes(torch.random.get_rng_state().numpy()), numpys, getstate()


def _check_sized(module: nn.Module) -> None:
    lazy = [name for name, part in module.named_parameters() if nn.parameter.is_lazy(part)]
    if lazy:
        raise ConfigError(
            "lazy layers have no shape before they see a sample",
            place=PLACE,
            got=_listed(lazy),
            fix='give them their sizes; options may say "{features}" or "{channels}"',
        )


def _check_alike(module: nn.Module, again: nn.Module) -> None:
    one, two = module.state_dict(), again.state_dict()
    names = [
        name for name, tensor in one.items() if name not in two or not _equal(tensor, two[name])
    ]
    if names or len(one) != len(two):
        raise ConfigError(
            "built twice from the same seed, the network differs",
            place=PLACE,
            got=_listed(names),
            fix="let torch's own initializers draw, with no generator or clock of your own",
        )


def _equal(one: Tensor, two: Tensor) -> bool:
    return one.shape == two.shape and torch.equal(one.nan_to_num(), two.nan_to_num())


def _check_tensors(module: nn.Module) -> None:
    odd = [
        f"{name} is {str(tensor.dtype).removeprefix('torch.')}"
        for name, tensor in (*module.named_parameters(), *module.named_buffers())
        if (isinstance(tensor, nn.Parameter) or tensor.is_floating_point() or tensor.is_complex())
        and tensor.dtype is not torch.float32
    ]
    if odd:
        raise ConfigError(
            "weights travel as float32 and nothing else",
            place=PLACE,
            got=_listed(odd),
            fix="build the network in float32; make numbers that are not learned integer buffers",
        )
    if not any(part.requires_grad for part in module.parameters()):
        raise ConfigError(
            "no parameter can be trained",
            place=PLACE,
            got=f"{len(list(module.parameters()))} parameters, none with requires_grad",
            fix="register layers as attributes or in nn.ModuleList, and leave requires_grad on",
        )
    broken = [name for name, part in module.named_parameters() if not part.isfinite().all()]
    if broken:
        raise ConfigError("weights start as NaN or infinite", place=PLACE, got=_listed(broken))


def _check_copied(module: nn.Module) -> None:
    with telling("copying the network", "", PLACE, "keep only what copy.deepcopy can copy"):
        copy.deepcopy(module)


def _check_training(trial: _Trial, task: Task) -> None:
    """One forward and backward pass in training mode, as at a hospital."""
    module = copy.deepcopy(trial.module).train()
    before = _generators()
    outputs = trial.forward(module, len(trial.inputs), "in training mode")
    if _generators() != before:
        raise ConfigError(
            "forward draws from a global generator, so that no run could be repeated",
            place=PLACE,
            got=_listed(_dropouts(module)) if _dropouts(module) else None,
            fix="use dropout of 0, and no random numbers in forward",
        )
    _check_outputs(outputs, trial.wanted(len(trial.inputs)), "in training mode")
    if not outputs.requires_grad:
        raise ConfigError(
            "no gradient: what forward returns is detached from the parameters",
            place=PLACE,
            fix="take detach(), no_grad(), argmax() and .numpy() out of forward",
        )
    _check_gradients(module, task.loss(outputs, trial.targets).mean())


def _dropouts(module: nn.Module) -> list[str]:
    return [
        f"{name} ({type(part).__name__})"
        for name, part in module.named_modules()
        if isinstance(part, nn.modules.dropout._DropoutNd) and part.p > 0
    ]


def _check_gradients(module: nn.Module, loss: Tensor) -> None:
    if not loss.isfinite():
        raise ConfigError("the loss of real samples is not finite", place=PLACE, got=float(loss))
    learned = [(name, part) for name, part in module.named_parameters() if part.requires_grad]
    gradients = torch.autograd.grad(loss, [part for _, part in learned], allow_unused=True)
    named = list(zip((name for name, _ in learned), gradients, strict=True))
    unused = [name for name, gradient in named if gradient is None]
    if unused:
        raise ConfigError(
            "no gradient reaches these parameters",
            place=PLACE,
            got=_listed(unused),
            fix="use them in forward, or set requires_grad to False",
        )
    broken = [name for name, found in named if found is not None and not found.isfinite().all()]
    if broken:
        raise ConfigError("gradients are NaN or infinite", place=PLACE, got=_listed(broken))
    if not any(found is not None and bool(found.any()) for _, found in named):
        raise ConfigError("all gradients are zero: nothing would be learned", place=PLACE)


def _check_outputs(outputs: object, wanted: tuple[int, ...], words: str) -> None:
    if not isinstance(outputs, Tensor):
        raise ConfigError(
            "forward returns no tensor",
            place=PLACE,
            got=type(outputs).__name__,
            fix=f"return one tensor {wanted}",
        )
    if tuple(outputs.shape) != wanted or outputs.dtype is not torch.float32:
        raise ConfigError(
            f"forward returns another shape or type {words}",
            place=PLACE,
            got=f"{tuple(outputs.shape)} {str(outputs.dtype).removeprefix('torch.')}",
            fix=f'return float32 {wanted}; an option may say "{{classes}}"',
        )
    if not outputs.isfinite().all():
        raise ConfigError(
            f"forward returns NaN or infinite values {words}",
            place=PLACE,
            got=f"{int((~outputs.isfinite()).sum())} of {outputs.numel()} values",
            fix="look for log or division of zero, and for weights that start too large",
        )


def _check_inputs_kept(trial: _Trial, inputs: Tensor) -> None:
    if not torch.equal(trial.inputs.nan_to_num(), inputs.nan_to_num()):
        raise ConfigError(
            "forward changes its input in place",
            place=PLACE,
            fix="take inplace=True and operations such as x += 1 out of what touches the input",
        )


@torch.no_grad()
def _check_answers(trial: _Trial) -> None:
    """Evaluation mode: one sample alone too, and the same answer twice."""
    module = copy.deepcopy(trial.module).eval()
    for samples in (len(trial.inputs), 1):
        words = "in evaluation mode"
        outputs, again = (trial.forward(module, samples, words) for _ in range(2))
        _check_outputs(outputs, trial.wanted(samples), words)
        if not torch.equal(outputs, again):
            raise ConfigError(
                "the same samples get another answer the second time, in evaluation mode",
                place=PLACE,
                fix="forward must depend on its input and the weights alone",
            )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more

"""How many of fixed images DLG reconstructs from one gradient each, beside what needs no gradient.

Usage: python benchmarks/inversion_targets.py [--unet] [--targets 50] [--iterations 30]
       [--restarts 2] [--json]

50 images of PneumoniaMNIST, drawn once, `lenet-sigmoid` with new weights, batch 1, one
step of plain SGD; a missed target is no success. With `--unet`: 3 pairs of mri-ct from patients
the U-Net (channels 8, depth 2, every second pixel, 5 epochs on 120 patients) did not see. The
attack is `dlg`. Printed are the share of successes (PSNR above 25 dB) with its Wilson interval,
quantiles over targets, priors (the mean public image, and the nearest) and the seconds of this
run on one thread. Real data: ASEPSIS_DATA. Two restarts of 30 iterations are a short search: more
may find more.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
import torch
from torch import Tensor

from asepsis.core.registry import build
from asepsis.core.rng import building_modules
from asepsis.core.samples import DataFacts, Kind, Samples, Shard
from asepsis.data.dataset import Dataset
from asepsis.experiments.inversion_targets import QUANTILES, Inversions, invert_targets
from asepsis.testing.learners import learner_for
from asepsis.training.learner import Learner
from asepsis.training.sgd import Sgd

PUBLIC, TRAINED = 200, 120


def samples(data: Dataset, where: np.ndarray, size: int = 0) -> Samples:
    """Take some samples, thinned out to ``size`` pixels where it is given, with their mask."""
    mask = data.attributes.get("mask")
    step = data.inputs.shape[-1] // size if size else 1
    inputs, targets = data.inputs[where], data.targets[where]
    if size:
        inputs, targets = inputs[..., ::step, ::step], targets[..., ::step, ::step]
    outline = None if mask is None else mask[where][..., ::step, ::step]
    return Samples(inputs, targets, where, data.groups[where], outline)


def pneumonia(count: int) -> tuple[Learner, Tensor, Shard, Shard]:
    """Return a new network, and targets and public samples of different images."""
    data = build("dataset", "pneumoniamnist").load()
    order = np.random.default_rng(0).permutation(len(data.inputs))
    facts = DataFacts(Kind.IMAGE, data.classes)
    raw = [samples(data, order[cut]) for cut in (slice(count), slice(count, count + PUBLIC))]
    prepare = build("task", "classification").fit(raw, facts)
    targets, public = map(prepare, raw)
    shape = tuple(targets.inputs.shape[1:])
    with building_modules(0):
        module = build("model", "lenet-sigmoid").build(shape, len(data.classes))
    learner = learner_for(module, shape, len(data.classes))
    return learner, learner.layout.flatten(module), targets, public


def translation(count: int) -> tuple[Learner, Tensor, Shard, Shard]:
    """Return a trained U-Net, and targets and public pairs of patients it did not see."""
    data = build("dataset", "mri-ct").load()
    order = np.random.default_rng(0).permutation(len(data.inputs))
    facts = DataFacts(Kind.PAIRED_IMAGE, (), unit=data.unit, window=data.window)
    cuts = slice(TRAINED), slice(TRAINED, TRAINED + count), slice(TRAINED + count, None)
    raw = [samples(data, order[cut], size=64) for cut in cuts]
    task = build("task", "translation").fitted([raw[0]], facts)
    train, targets, public = map(task.fit([raw[0]], facts), raw)
    shape = (1, 64, 64)
    with building_modules(0):
        module = build("model", {"name": "unet", "channels": 8, "depth": 2}).build(shape, 0)
    learner = learner_for(
        module,
        shape,
        0,
        task=task,
        kind=Kind.PAIRED_IMAGE,
        target_shape=shape,
        trainer=Sgd(lr=0.05, batch_size=8, epochs=5),
    )
    row = learner.fit(learner.layout.flatten(module), train, np.random.default_rng(0))
    return learner, row, targets, public


def shown(found: Inversions, seconds: float) -> dict[str, object]:
    """Return what is printed: figures that some target has, by name."""
    names = [name for name in found.values if name.split("/")[-1] in ("psnr", "ssim", "mae")]
    names += [name for name in found.values if name.endswith("top1")]
    share = found.success
    return {
        "targets": found.targets,
        "success": [round(value, 3) for value in (share.mean, share.low, share.high)],
        "seconds": round(seconds, 1),
        "quantiles": {name: [round(value, 3) for value in found.quantiles(name)] for name in names},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--unet", action="store_true")
    parser.add_argument("--targets", type=int)
    parser.add_argument("--iterations", type=int, default=30)
    parser.add_argument("--restarts", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    torch.set_num_threads(1)
    asked = parser.parse_args()
    made = translation if asked.unet else pneumonia
    learner, row, targets, public = made(asked.targets or (3 if asked.unet else 50))
    options = {"name": "dlg", "iterations": asked.iterations, "restarts": asked.restarts}
    start = time.perf_counter()
    found = invert_targets(build("attack", options), learner, row, targets, public)
    said = shown(found, time.perf_counter() - start)
    if asked.json:
        print(json.dumps(said))
        return
    share = found.success
    print(
        f"reconstructed: {100 * share.mean:.0f} % of {found.targets} "
        f"(95 % interval {100 * share.low:.0f} to {100 * share.high:.0f}), "
        f"{said['seconds']} s in this run"
    )
    print(f"{'quantiles over targets':<28}" + "".join(f"{100 * q:>8.0f}%" for q in QUANTILES))
    for name, values in sorted(said["quantiles"].items()):  # type: ignore[attr-defined]
        print(f"{name:<28}" + "".join(f"{value:>9.3f}" for value in values))


if __name__ == "__main__":
    main()

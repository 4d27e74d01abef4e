"""What images are worth: how good a classifier becomes that is trained on them."""

from __future__ import annotations

from asepsis.core.samples import Shard
from asepsis.federation.generating.classifier import fit, fitting, probabilities, small_classifier
from asepsis.metrics.utility import classification_metrics

STEPS = 300
FIGURES = ("accuracy", "balanced_accuracy", "auroc")


def worth(train: Shard, test: Shard, classes: int, seed: int) -> dict[str, float]:
    """Train a fresh classifier on ``train`` and score it on real images, ``test``.

    300 steps of Adam (batches of 64, learning rate 0.001) for real, synthetic and mixed images
    alike: more images do not mean more steps. Classes weigh the same. The initial weights depend on
    the seed alone.

    Args:
        train: prepared images ``[n, c, h, w]`` and classes ``[n]``, real, synthetic or both.
        test: prepared real images that nobody trained on, and their classes.
        classes: how many classes.
        seed: of the initial weights and the batches.

    Returns:
        ``accuracy``, ``balanced_accuracy`` and ``auroc``; NaN where there is nothing to train on or
        to test with.

    Raises:
        ConfigError: no images, or images smaller than 8×8.
    """
    if not (len(train) and len(test)):
        return dict.fromkeys(FIGURES, float("nan"))
    inputs = fitting(train.inputs)
    module = small_classifier(tuple(inputs.shape[1:]), classes, seed)
    fit(module, Shard(inputs, train.targets), classes, seed, steps=STEPS)
    guesses = probabilities(module, fitting(test.inputs))
    scores = classification_metrics(guesses, test.targets.cpu().numpy())
    return {name: scores[name] for name in FIGURES}

"""Data, model and training: logistic regression on the breast cancer data of scikit-learn."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer

Array = NDArray[Any]
STEPS, RATE = 20, 0.5


@cache
def data() -> tuple[Array, Array]:
    """Return standardized features and labels of all patients, in an order of no meaning."""
    found = load_breast_cancer()
    inputs = (found.data - found.data.mean(axis=0)) / found.data.std(axis=0)
    order = np.random.default_rng(0).permutation(len(inputs))
    return inputs[order].astype(np.float32), found.target[order].astype(np.float32)


def hospital(number: int, of: int) -> tuple[Array, Array]:
    """Return one hospital's patients; every fifth patient belongs to the test set instead."""
    inputs, labels = data()
    rest = np.arange(len(inputs)) % 5 != 0
    return inputs[rest][number::of], labels[rest][number::of]


def initial() -> dict[str, Array]:
    """Return the model that everybody starts with."""
    return {"weight": np.zeros(30, np.float32), "bias": np.zeros(1, np.float32)}


def train(model: dict[str, Array], inputs: Array, labels: Array) -> tuple[dict[str, Array], float]:
    """Take steps of gradient descent; return the model and its mean loss on the way."""
    weight, bias, losses = model["weight"].copy(), model["bias"].copy(), []
    for _ in range(STEPS):
        answer = _sigmoid(inputs @ weight + bias)
        losses.append(_loss(answer, labels))
        weight -= RATE * inputs.T @ (answer - labels) / len(labels)
        bias -= RATE * np.mean(answer - labels)
    return {"weight": weight, "bias": bias}, float(np.mean(losses))


def accuracy(model: dict[str, Array]) -> float:
    """Return the share of test patients that the model is right about."""
    inputs, labels = data()
    test = np.arange(len(inputs)) % 5 == 0
    answer = inputs[test] @ model["weight"] + model["bias"] > 0
    return float(np.mean(answer == labels[test]))


def _sigmoid(values: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-np.clip(values, -30, 30))), dtype=np.float32)


def _loss(answer: Array, labels: Array) -> float:
    right = np.where(labels > 0, answer, 1 - answer)
    return float(-np.mean(np.log(np.maximum(right, 1e-7))))

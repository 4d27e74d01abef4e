"""What tells members from others without the model: a classifier of the samples themselves.

Its AUC measures how members and non-members differ by nature (another scanner, another year),
which an attack's AUC contains as well. What a model leaks is the excess over it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from asepsis.core.robust_math import one_blas_thread
from asepsis.core.samples import Array

SIZE = 256
"""Samples are averaged down to at most so many values; tables keep their columns."""
COLUMNS = 2048
CLASSES = 64
TREES = 60
FITTED = 512
"""A tree sees at most so many samples, so that the time stays bounded."""
PENALTY = 0.1
STEPS = 200
QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
EPSILON = 1e-6


def blind_scores(
    inputs: Array,
    targets: Array,
    labels: Array,
    groups: Array,
    rng: np.random.Generator,
    folds: int = 5,
    strata: Array | None = None,
) -> Array:
    """Return log-probabilities of every label for every sample ``[n, labels]``, out of fold.

    Features: the sample averaged down to at most 256 values (a table's columns as they are), its
    mean, spread, quantiles and roughness, the same of a target image, else the target itself; what
    is missing gets the median and a flag. The mean of the probabilities of two logistic regressions
    (one without the values themselves, where few columns tell and many are noise) and 60
    randomized trees, from cross-validation in which no patient is on both sides. Columns are the
    sorted distinct labels; uniform when there are too few patients for two folds.

    Args:
        inputs: raw samples ``[n, ...]``.
        targets: their classes ``[n]``, findings ``[n, k]`` or images.
        labels: what is to be told, a member or not, say ``[n]``.
        groups: the patient of each ``[n]``.
        rng: of the folds and the trees.
        folds: of the cross-validation.
        strata: the hospital of each ``[n]``, say: shares of labels in it are kept in every fold.

    Example:
        >>> table, label = np.repeat([[0.0], [1.0]], 20, axis=0), np.repeat([0, 1], 20)
        >>> found = blind_scores(table, label * 0, label, np.arange(40), np.random.default_rng(0))
        >>> found.shape, bool((found.argmax(axis=1) == label).all())
        ((40, 2), True)
    """
    known, coded = np.unique(labels, return_inverse=True)
    folds = min(folds, _fewest_patients(coded, groups))
    if len(known) < 2 or folds < 2:
        return np.full((len(labels), len(known)), -np.log(max(len(known), 1)))
    described = features(inputs, targets)
    found = np.full((len(labels), len(known)), 1 / len(known))
    dealt = dealt_out(coded, targets, groups, folds, rng, strata)
    seed = int(rng.integers(1 << 31))
    with one_blas_thread():
        for fold in range(folds):
            train, test = dealt != fold, dealt == fold
            found[test] = _fold(described, coded, train, test, seed)
    return np.asarray(np.log(np.clip(found, EPSILON, 1.0)))


def member_odds(
    inputs: Array,
    targets: Array,
    members: Array,
    groups: Array,
    rng: np.random.Generator,
    strata: Array | None = None,
) -> Array:
    """Return the blind classifier's log-odds that each sample is a member ``[n]``.

    ``strata`` is the hospital of each ``[n]``, see :func:`dealt_out`.
    """
    mask = np.asarray(members, dtype=bool)
    found = blind_scores(inputs, targets, mask, groups, rng, strata=strata)
    return found[:, 1] - found[:, 0] if found.shape[1] == 2 else np.zeros(len(found))


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Tables without gaps: everything ``[n, columns]``, and what sums samples up ``[n, few]``."""

    everything: Array
    summary: Array


def features(inputs: Array, targets: Array) -> Features:
    """Turn raw samples and their targets into bounded tables."""
    values, summary = _described(inputs)
    if targets.ndim > 2:
        pixels, told = _described(targets)
        values = np.concatenate([values, pixels], axis=1)
    elif targets.ndim == 2:
        told = targets.astype(np.float64)
    else:
        known, coded = np.unique(targets, return_inverse=True)
        few = len(known) <= CLASSES
        told = np.eye(len(known))[coded] if few else targets[:, None].astype(np.float64)
    summary = _filled(np.concatenate([summary, told], axis=1))
    return Features(np.concatenate([_filled(values), summary], axis=1), summary)


def averaged(samples: Array, size: int = SIZE) -> Array:
    """Halve the longest axis of samples ``[n, ...]`` by averaging until few values are left.

    Example:
        >>> averaged(np.arange(8.0).reshape(1, 4, 2), size=4).tolist()
        [[[1.0, 2.0], [5.0, 6.0]]]
    """
    values = samples.astype(np.float32)
    while values[0].size > size:
        axis = 1 + int(np.argmax(values.shape[1:]))
        even = values.shape[axis] // 2 * 2
        pairs = np.take(values, np.arange(even), axis=axis)
        shape = (*pairs.shape[:axis], even // 2, 2, *pairs.shape[axis + 1 :])
        values = pairs.reshape(shape).mean(axis=axis + 1)
    return values


def _described(samples: Array) -> tuple[Array, Array]:
    """Return values and what sums them up; a table sums itself up."""
    if samples.ndim == 2:
        table = samples[:, :COLUMNS].astype(np.float64)
        return table[:, :0], table
    values = samples.astype(np.float32)
    flat = values.reshape(len(samples), -1)
    known = np.isfinite(flat)
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    mean = np.where(known, flat, 0.0).sum(axis=1, keepdims=True) / count
    whole = np.where(known, flat, mean)
    rough = [
        np.abs(np.diff(whole.reshape(samples.shape), axis=axis)).reshape(len(samples), -1)
        for axis in range(1, samples.ndim)
        if samples.shape[axis] > 1
    ]
    summary = [
        1 - known.mean(axis=1, keepdims=True),
        mean,
        whole.std(axis=1, keepdims=True),
        np.quantile(whole, QUANTILES, axis=1).T,
        *(part.mean(axis=1, keepdims=True) for part in rough),
    ]
    return averaged(values).reshape(len(samples), -1), np.concatenate(summary, axis=1)


def _filled(table: Array) -> Array:
    """Put the column's median where a value is missing, and say so in a column of its own."""
    missing = ~np.isfinite(table)
    gaps = missing.any(axis=0)
    if not gaps.any():
        return table
    filled = table.copy()
    for column in np.flatnonzero(gaps):
        known = table[~missing[:, column], column]
        filled[missing[:, column], column] = np.median(known) if known.size else 0.0
    return np.concatenate([filled, missing[:, gaps].astype(np.float64)], axis=1)


def _fold(described: Features, coded: Array, train: Array, test: Array, seed: int) -> Array:
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.linear_model import LogisticRegression

    trees = ExtraTreesClassifier(
        TREES,
        min_samples_leaf=3,
        bootstrap=True,
        max_samples=min(FITTED, int(train.sum())),
        random_state=seed,
    )
    models = (
        (LogisticRegression(C=PENALTY, max_iter=STEPS), described.everything),
        (LogisticRegression(C=PENALTY, max_iter=STEPS), described.summary),
        (trees, described.everything),
    )
    found = np.zeros((int(test.sum()), int(coded.max()) + 1))
    for model, table in models:
        middle, spread = table[train].mean(axis=0), table[train].std(axis=0)
        scaled = (table - middle) / np.where(spread > 0, spread, 1.0)
        model.fit(scaled[train], coded[train])
        found[:, model.classes_] += model.predict_proba(scaled[test]) / len(models)
    return found


def dealt_out(
    coded: Array,
    targets: Array,
    groups: Array,
    folds: int,
    rng: np.random.Generator,
    strata: Array | None = None,
) -> Array:
    """Return the fold of every sample ``[n]``: whole patients, dealt out label by label.

    Within a label hospital by hospital (``strata`` ``[n]``) and class by class: without this a
    sample that is left out would make its own label look rare where it comes from, and the
    classifier would be systematically worse than guessing. Every label begins at the first fold:
    hospitals with as many of one label as of another then have so in every fold.

    Example:
        >>> label, classes = np.array([0, 0, 0, 0, 1, 1]), np.array([0, 1, 0, 1, 0, 0])
        >>> dealt = dealt_out(label, classes, np.arange(6), 2, np.random.default_rng(0))
        >>> [sorted(dealt[label + 2 * classes == part].tolist()) for part in (0, 1, 2)]
        [[0, 1], [0, 1], [0, 1]]
    """
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    first = rng.permutation(first)
    classes = targets[first] if targets.ndim == 1 else np.zeros(len(first))
    homes = np.zeros(len(first)) if strata is None else strata[first]
    order = first[np.lexsort((classes, homes, coded[first]))]
    label = coded[order]
    fold = np.empty(len(order), dtype=np.int64)
    fold[inverse[order]] = (np.arange(len(order)) - np.searchsorted(label, label)) % folds
    return np.asarray(fold[inverse])


def _fewest_patients(coded: Array, groups: Array) -> int:
    return min(len(np.unique(groups[coded == label])) for label in np.unique(coded))

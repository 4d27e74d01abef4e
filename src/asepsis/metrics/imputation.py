"""A guess at a hidden column from the others: what public records alone give away."""

from __future__ import annotations

import numpy as np
from sklearn.ensemble import RandomForestClassifier

from asepsis.core.samples import Array

TREES = 200


def nearest(values: Array, support: Array) -> Array:
    """Return which of ``support`` ``[v]`` each value is nearest to ``[n]``; ties to the lower.

    Example:
        >>> nearest(np.array([0.9, -3.0]), np.array([0.0, 1.0])).tolist()
        [1, 0]
    """
    return np.asarray(np.abs(values[:, None] - support[None, :]).argmin(axis=1))


def support_of(values: Array, most: int) -> Array:
    """Return the values a column may take: those that occur, or the centers of ``most`` groups.

    A column with more values is cut into groups of equal size by quantile; a group's value is its
    median.

    Example:
        >>> support_of(np.array([0.0, 1.0, 1.0]), 4).tolist()
        [0.0, 1.0]
        >>> support_of(np.arange(8.0), 2).tolist()
        [1.5, 5.5]
    """
    known = np.unique(values)
    if len(known) <= most:
        return known
    parts = np.array_split(np.sort(values), most)
    return np.unique([float(np.median(part)) for part in parts])


def frequencies(which: Array, options: int) -> Array:
    """Return how often each option occurs ``[options]``, with half a count more for each.

    Example:
        >>> frequencies(np.array([0, 0, 1]), 2).tolist()
        [0.625, 0.375]
    """
    counts = np.bincount(which, minlength=options) + 0.5
    return np.asarray(counts / counts.sum())


def imputed(known: Array, which: Array, unknown: Array, options: int, seed: int) -> Array:
    """Return how likely each option is for records whose column is hidden: ``[n, options]``.

    A random forest of :data:`TREES` trees, trained on public records that show the column. Where
    they show one option only, or there are none, the frequencies decide.

    Args:
        known: what else is known of the public records ``[m, columns]``.
        which: their option ``[m]``.
        unknown: the same columns of the records in question ``[n, columns]``.
        options: how many options there are.
        seed: of the forest.

    Source: Breiman, Random Forests, Machine Learning 2001

    Fidelity: own
    """
    usual = np.tile(frequencies(which, options), (len(unknown), 1))
    if len(np.unique(which)) < 2 or not known.shape[1] or not len(unknown):
        return usual
    forest = RandomForestClassifier(TREES, min_samples_leaf=2, random_state=seed % 2**32)
    forest.fit(known, which)
    made = np.zeros((len(unknown), options))
    made[:, forest.classes_] = forest.predict_proba(unknown)
    # No option is impossible because none of a few public records had it.
    return np.asarray(0.98 * made + 0.02 * usual)

"""Partitions: which patients are whose. Whole patients, never single samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from asepsis.core.errors import ConfigError
from asepsis.core.registry import register
from asepsis.data.dataset import SPLITS, TRAIN, Dataset
from asepsis.data.units import Index, Units, deal, majority
from asepsis.data.unusual import Assignment, Unusual

Alpha = Annotated[float, Field(gt=0, le=1e6)]
Least = Annotated[int, Field(ge=1)]
Shares = NDArray[np.float64]
DRAWS = 100


class Partition(Protocol):
    """Assigns a data set's patients to hospitals."""

    @property
    def min_samples(self) -> int:
        """The fewest samples a hospital may hold."""
        ...

    @property
    def unusual(self) -> tuple[Unusual, ...]:
        """The hospitals that are unusual on purpose."""
        ...

    def assign(
        self, dataset: Dataset, hospitals: int | None, rng: np.random.Generator
    ) -> Assignment:
        """Return ``(name, positions)`` of every hospital."""
        ...


@register("partition", "iid")
class Iid:
    """Every hospital is a random sample of the whole, class by class.

    ``shares[c, k] = 1 / K`` for class c and hospital k of K; whole patients.
    ``unusual`` lists honest hospitals that are odd on purpose, by number: with ``only_class`` a
    specialist for it, with ``scanner`` (gain, contrast, blur, noise) another device.

    Raises ConfigError where a hospital would hold fewer than ``min_samples``.

    Source: McMahan et al., Communication-Efficient Learning, AISTATS 2017, section 3

    Fidelity: own

    Example:
        >>> Iid().min_samples
        8
    """

    min_samples: Least = 8
    unusual: tuple[Unusual, ...] = ()

    def assign(
        self, dataset: Dataset, hospitals: int | None, rng: np.random.Generator
    ) -> Assignment:
        """Return ``(name, positions)`` of every hospital."""

        def shares(labels: int, count: int) -> Shares:
            return np.full((labels, count), 1 / count)

        return _dealt(dataset, hospitals, rng, shares, self.min_samples, "use fewer hospitals")


@register("partition", "dirichlet")
class Dirichlet:
    """Label skew: each class is divided among hospitals by a Dirichlet draw.

    ``shares[c, :] ~ Dir(alpha · 1_K)``, drawn once and used for train, validation and test. Small
    ``alpha`` is strong skew. Draws that leave a hospital with fewer than ``min_samples`` are
    repeated, at most 100 times.
    ``unusual`` lists honest hospitals that are odd on purpose, by number: with ``only_class`` a
    specialist for it, with ``scanner`` (gain, contrast, blur, noise) another device.

    Raises ConfigError where no draw will do.

    Source: Yurochkin et al., Bayesian Nonparametric Federated Learning, ICML 2019, section 4

    Fidelity: own

    Example:
        >>> Dirichlet(alpha=0.1).alpha
        0.1
    """

    alpha: Alpha = 0.5
    min_samples: Least = 8
    unusual: tuple[Unusual, ...] = ()

    def assign(
        self, dataset: Dataset, hospitals: int | None, rng: np.random.Generator
    ) -> Assignment:
        """Return ``(name, positions)`` of every hospital."""

        def shares(labels: int, count: int) -> Shares:
            return rng.dirichlet(np.full(count, self.alpha), size=labels)

        fix = "use a larger alpha, fewer hospitals or a smaller min_samples"
        return _dealt(dataset, hospitals, rng, shares, self.min_samples, fix)


@register("partition", "quantity")
class Quantity:
    """Quantity skew: hospitals of very different size, all with the same mix of classes.

    ``shares[c, :] = q`` for every class c, ``q ~ Dir(alpha · 1_K)``. Draws that leave a hospital
    with fewer than ``min_samples`` are repeated, at most 100 times.
    ``unusual`` lists honest hospitals that are odd on purpose, by number: with ``only_class`` a
    specialist for it, with ``scanner`` (gain, contrast, blur, noise) another device.

    Raises ConfigError where no draw will do.

    Source: Li et al., Federated Learning on Non-IID Data Silos, ICDE 2022, section 3

    Fidelity: own

    Example:
        >>> Quantity().alpha
        0.5
    """

    alpha: Alpha = 0.5
    min_samples: Least = 8
    unusual: tuple[Unusual, ...] = ()

    def assign(
        self, dataset: Dataset, hospitals: int | None, rng: np.random.Generator
    ) -> Assignment:
        """Return ``(name, positions)`` of every hospital."""

        def shares(labels: int, count: int) -> Shares:
            return np.tile(rng.dirichlet(np.full(count, self.alpha)), (labels, 1))

        fix = "use a larger alpha, fewer hospitals or a smaller min_samples"
        return _dealt(dataset, hospitals, rng, shares, self.min_samples, fix)


@register("partition", "shards")
class Shards:
    """Each hospital sees only a few classes.

    One after another, in random order, hospitals take the ``classes`` that fewest hold so far
    (all of them where there are fewer, at random where several tie); a class is shared evenly by
    its holders. With two classes, ``classes = 1`` is skew and 2 is none.
    ``unusual`` lists honest hospitals that are odd on purpose, by number: with ``only_class`` a
    specialist for it, with ``scanner`` (gain, contrast, blur, noise) another device.

    Raises ConfigError where a class would be nobody's: hospitals × classes must cover them all.

    Source: McMahan et al., Communication-Efficient Learning, AISTATS 2017, section 3

    Fidelity: own

    Example:
        >>> Shards(classes=1).classes
        1
    """

    classes: Annotated[int, Field(ge=1)] = 2
    min_samples: Least = 8
    unusual: tuple[Unusual, ...] = ()

    def assign(
        self, dataset: Dataset, hospitals: int | None, rng: np.random.Generator
    ) -> Assignment:
        """Return ``(name, positions)`` of every hospital."""
        present = np.unique(Units.of_dataset(dataset).label)
        if hospitals is not None and hospitals * self.classes < len(present):
            raise ConfigError(
                f"{hospitals} hospitals of {self.classes} classes leave some of the "
                f"{len(present)} classes to nobody",
                place="partition.classes",
                fix=f"use at least {-(-len(present) // hospitals)} classes or more hospitals",
            )

        def shares(labels: int, count: int) -> Shares:
            held = np.zeros((labels, count))
            held[present] = _holders(len(present), count, self.classes, rng)
            return np.asarray(held / np.maximum(held.sum(axis=1, keepdims=True), 1))

        return _dealt(dataset, hospitals, rng, shares, self.min_samples, "use fewer hospitals")


@register("partition", "site")
class Site:
    """The real sites: the hospital, scanner, ward or patient that a sample comes from.

    Sites with fewer than ``min_samples`` are left out; when a number of hospitals is asked for,
    the largest are kept. A patient seen at several sites belongs to the one that saw most.
    Hospitals are ordered by name.
    ``unusual`` lists honest hospitals that are odd on purpose, by number: with ``only_class`` a
    specialist for it, with ``scanner`` (gain, contrast, blur, noise) another device.

    Raises ConfigError where the data know no sites, or fewer than asked for.

    Source: the data themselves; no paper

    Fidelity: own

    Example:
        >>> Site(min_samples=20).min_samples
        20
    """

    min_samples: Least = 8
    unusual: tuple[Unusual, ...] = ()

    def assign(
        self, dataset: Dataset, hospitals: int | None, rng: np.random.Generator
    ) -> Assignment:
        """Return ``(name, positions)`` of every hospital."""
        if dataset.sites is None:
            raise ConfigError(
                f"{dataset.name} knows no sites",
                place="partition",
                got="site",
                fix="use iid, dirichlet, quantity or shards",
            )
        names, code = np.unique(dataset.sites, return_inverse=True)
        units = Units.of_dataset(dataset)
        unit_site = majority(units.of, code.astype(np.int64), len(units))
        size = np.bincount(unit_site[units.of], minlength=len(names))
        large = np.flatnonzero(size >= self.min_samples)
        wanted = len(large) if hospitals is None else hospitals
        if wanted > len(large) or wanted == 0:
            raise ConfigError(
                f"{dataset.name} has {len(large)} sites of at least {self.min_samples} samples",
                place="federation.hospitals",
                got=hospitals,
                fix=f"use {len(large)} or fewer" if len(large) else "use a smaller min_samples",
            )
        if hospitals is None and wanted == 1:
            raise ConfigError(
                "one site alone is no federation",
                place="partition",
                got=f"{len(names)} sites, 1 of at least {self.min_samples} samples",
                fix="name the column or folders of sites, or divide the data with iid or dirichlet",
            )
        kept = np.sort(large[np.argsort(-size[large], kind="stable")][:wanted])
        return [(str(names[site]), units.samples(unit_site == site)) for site in kept]


def _dealt(
    dataset: Dataset,
    hospitals: int | None,
    rng: np.random.Generator,
    shares: Callable[[int, int], Shares],
    least: int,
    fix: str,
) -> Assignment:
    """Draw shares and deal patients until every hospital has enough of them."""
    if hospitals is None:
        raise ConfigError("say how many hospitals", place="federation.hospitals", fix="10, say")
    units = Units.of_dataset(dataset)
    labels = int(units.label.max()) + 1
    fewest = 1 if dataset.split is not None else len(SPLITS)
    for _ in range(DRAWS):
        owner = deal(units, shares(labels, hospitals), rng)
        size = np.bincount(owner, weights=units.size, minlength=hospitals)
        training = np.bincount(owner[units.split == TRAIN], minlength=hospitals)
        patients = np.bincount(owner, minlength=hospitals)
        short = np.flatnonzero((size < least) | (training < 1) | (patients < fewest))
        if not len(short):
            return [(f"hospital-{k}", units.samples(owner == k)) for k in range(hospitals)]
    worst = int(short[0])
    raise ConfigError(
        f"hospital-{worst} would hold {int(size[worst])} samples of {int(patients[worst])} "
        f"patients, {int(training[worst])} to train on, after {DRAWS} draws; {least} samples of "
        f"{fewest} patients are needed",
        place="partition",
        fix=fix,
    )


def _holders(labels: int, hospitals: int, each: int, rng: np.random.Generator) -> Index:
    """Say which hospital holds which class ``[labels, hospitals]``: the scarcest class first."""
    held = np.zeros((labels, hospitals), np.int64)
    for hospital in rng.permutation(hospitals):
        scarce = np.lexsort((rng.permutation(labels), held.sum(axis=1)))
        held[scarce[:each], hospital] = 1
    return held

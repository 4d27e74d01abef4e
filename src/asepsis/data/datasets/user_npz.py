"""A user's own arrays."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from asepsis.core.errors import ConfigError, DataError
from asepsis.core.registry import register
from asepsis.core.samples import Array, Kind
from asepsis.data.cards import Card
from asepsis.data.coding import codes, texts
from asepsis.data.dataset import Dataset
from asepsis.data.files import existing, remembered
from asepsis.data.npz import keys_of, read_npz

PARTS = ("train", "val", "test")
MOST_CLASSES = 10_000


@register("dataset", "npz")
class Npz:
    """Your own NumPy .npz file: arrays of inputs and targets, with sites and patients if known.

    ``inputs``, ``targets``, ``sites``, ``groups``, ``split`` and ``classes`` name arrays; the last
    four may be left out. With the names unchanged, ``train_images``, ``train_labels`` and so on
    (val, test) are read where ``images`` is not there. ``kind`` is guessed from the inputs: uint8
    with 3 axes (or 4, the last of them 1 or 3) is images, uint8 with 4 axes volumes, numbers with
    2 axes a table and with 3 sequences; 2-axis targets are several findings. Pickled objects are
    never read.

    Raises DataError when the file is missing, damaged, too large or does not fit.

    Source: the user's; no paper

    Fidelity: own

    Tasks: image, volume, multilabel-image, paired-image, table, sequence

    Example:
        >>> Npz(path="mine.npz", sites="hospital").sites
        'hospital'
    """

    card: ClassVar[Card] = Card(
        name="npz",
        title="Your own arrays",
        kind=Kind.IMAGE,
        modality="any",
        source="a file of yours",
        licence="yours",
        size="up to 8 GiB unpacked",
        sites="as you name them",
        expectation="unknown",
        public=False,
    )

    path: str | None = None
    inputs: str = "images"
    targets: str = "labels"
    sites: str | None = None
    groups: str | None = None
    split: str | None = None
    classes: str | None = None
    kind: Kind | None = None

    def load(self) -> Dataset:
        """Return the samples in the file."""
        if self.path is None:
            raise ConfigError("say which file", place="dataset.path", fix='path = "mine.npz"')
        place = existing(self.path)
        return remembered(self, place, lambda: _read(self, place))


def _read(options: Npz, place: Path) -> Dataset:
    known = keys_of(place)
    official = options.inputs not in known and f"train_{options.inputs}" in known
    inputs, targets, split = (_parts if official else _whole)(options, place)
    named = (options.sites, options.groups, options.classes)
    found = read_npz(place, [key for key in named if key is not None])
    kind = options.kind or _guess(inputs, targets, place)
    if kind in (Kind.TABLE, Kind.SEQUENCE):
        inputs = _numbers(inputs, place)
    if kind is not Kind.MULTILABEL_IMAGE and kind is not Kind.PAIRED_IMAGE:
        targets = targets.reshape(len(targets), -1)
        if targets.shape[1] != 1:
            raise DataError("one target per sample is needed", place=str(place), got=targets.shape)
        targets = targets[:, 0]
    names = None if options.classes is None else texts(found[options.classes])
    targets, names = _coded(kind, targets, names, place)
    return Dataset(
        name="npz",
        kind=kind,
        inputs=inputs,
        targets=targets,
        classes=names,
        groups=np.empty(0, np.int64) if options.groups is None else codes(found[options.groups]),
        sites=None if options.sites is None else found[options.sites],
        split=split,
    )


def _whole(options: Npz, place: Path) -> tuple[Array, Array, Array | None]:
    keys = [key for key in (options.inputs, options.targets, options.split) if key is not None]
    found = read_npz(place, keys)
    split = None if options.split is None else found[options.split]
    return found[options.inputs], found[options.targets], split


def _parts(options: Npz, place: Path) -> tuple[Array, Array, Array | None]:
    names = (options.inputs, options.targets)
    found = read_npz(place, [f"{part}_{name}" for part in PARTS for name in names])
    inputs, targets = ([found[f"{part}_{name}"] for part in PARTS] for name in names)
    split = np.repeat([0, 1, 2], [len(part) for part in inputs])
    return np.concatenate(inputs), np.concatenate(targets), split


def _numbers(inputs: Array, place: Path) -> Array:
    if inputs.dtype.kind not in "biuf":
        raise DataError("inputs are not numbers", place=str(place), got=str(inputs.dtype))
    return inputs.astype(np.float32)


def _guess(inputs: Array, targets: Array, place: Path) -> Kind:
    several = targets.ndim == 2 and targets.shape[1] > 1
    if inputs.dtype == np.uint8 and inputs.ndim >= 3:
        flat = inputs.ndim == 3 or inputs.shape[-1] in (1, 3)
        if targets.shape == inputs.shape:
            return Kind.PAIRED_IMAGE
        if several:
            return Kind.MULTILABEL_IMAGE
        return Kind.IMAGE if flat else Kind.VOLUME
    kinds = {2: Kind.TABLE, 3: Kind.SEQUENCE}
    if inputs.ndim not in kinds:
        raise DataError(
            "cannot tell what kind of data these are",
            place=str(place),
            got=f"{inputs.ndim} axes of {inputs.dtype}",
            fix="images are uint8; set the option 'kind'",
        )
    return kinds[inputs.ndim]


def _coded(
    kind: Kind, targets: Array, names: tuple[str, ...] | None, place: Path
) -> tuple[Array, tuple[str, ...]]:
    """Number the classes, and name them."""
    if kind is Kind.PAIRED_IMAGE:
        return targets, ()
    if kind is Kind.MULTILABEL_IMAGE:
        return targets, names or tuple(f"finding {k}" for k in range(targets.shape[1]))
    if names is not None:
        return targets, names
    found, coded = np.unique(targets, return_inverse=True)
    if len(found) > MOST_CLASSES or (targets.dtype.kind == "f" and np.isnan(targets).any()):
        raise DataError("targets are not classes", place=str(place), got=f"{len(found)} values")
    return coded, texts(found)

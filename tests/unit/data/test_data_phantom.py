"""The phantom is what it says: synthetic, reproducible, learnable but not trivial."""

from __future__ import annotations

import numpy as np
import pytest

from asepsis.core.errors import ConfigError
from asepsis.core.samples import Kind
from asepsis.data.datasets.phantom import FINDINGS, Phantom
from asepsis.data.files import forget


def test_it_is_labeled_synthetic_everywhere() -> None:
    assert Phantom.card.synthetic
    assert Phantom(n=10).load().synthetic


def test_the_seed_decides_the_images() -> None:
    one = Phantom(n=50).load()
    forget()
    assert Phantom(n=50).load().digest() == one.digest()
    assert Phantom(n=50, seed=1).load().digest() != one.digest()


def test_any_finding_makes_the_class_and_findings_are_independent() -> None:
    data = Phantom(n=20_000, size=16, prevalence=0.2).load()
    present = np.stack([data.attributes[name] for name in FINDINGS], axis=1)
    assert (data.targets == present.any(axis=1)).all()
    assert np.abs(present.mean(axis=0) - 0.2).max() < 0.02
    off_diagonal = np.corrcoef(present.T)[~np.eye(4, dtype=bool)]
    assert np.abs(off_diagonal).max() < 0.03


def test_several_findings_are_several_targets() -> None:
    data = Phantom(n=40, multilabel=True).load()
    assert data.kind is Kind.MULTILABEL_IMAGE
    assert data.targets.shape == (40, 4)
    assert data.classes == FINDINGS


def test_findings_brighten_the_image() -> None:
    # The same random numbers with and without findings: only the findings differ.
    plain = Phantom(n=300, prevalence=1e-9, scanners=1).load()
    ill = Phantom(n=300, prevalence=1 - 1e-9, scanners=1).load()
    assert plain.targets.max() == 0
    assert ill.targets.min() == 1
    brighter = ill.inputs.mean(axis=(1, 2)) - plain.inputs.mean(axis=(1, 2))
    assert (brighter > 0).all()


def test_scanners_differ() -> None:
    data = Phantom(n=2000).load()
    assert data.sites is not None
    means = [data.inputs[data.sites == site].mean() for site in np.unique(data.sites)]
    assert len(means) == 4
    assert max(means) - min(means) > 10


def test_a_nodule_can_be_told_from_none_but_not_by_brightness_alone() -> None:
    data = Phantom(n=3000).load()
    brightness = data.inputs.mean(axis=(1, 2))
    ranks = np.argsort(np.argsort(brightness))
    ill = data.targets == 1
    auc = (ranks[ill].mean() - (ill.sum() - 1) / 2) / (~ill).sum()
    assert 0.5 < auc < 0.8


@pytest.mark.parametrize("size", [16, 28, 64, 200])
def test_any_size_uses_the_gray_scale(size: int) -> None:
    images = Phantom(n=12, size=size).load().inputs
    assert images.shape == (12, size, size)
    assert images.std() > 25
    assert (images == 255).mean() < 0.2


def test_too_many_pixels_are_refused() -> None:
    with pytest.raises(ConfigError, match="too many pixels"):
        Phantom(n=1_000_000, size=512).load()

"""The abdominal organs of the MedMNIST family: the same CT scans in three planes and in 3D."""

from __future__ import annotations

from typing import ClassVar

from asepsis.core.registry import register
from asepsis.core.samples import Kind
from asepsis.data.cards import Card
from asepsis.data.dataset import Dataset
from asepsis.data.datasets.medmnist import (
    Size2D,
    Size3D,
    load_medmnist,
    medmnist_card,
    medmnist_source,
)
from asepsis.data.files import Source


@register("dataset", "organamnist")
class OrganAMnist:
    """Eleven organs in axial CT slices (OrganAMNIST).

    uint8 ``[58830, size, size]``, ``size`` pixels wide. The official split; no patient ids, no
    sites.

    Raises DataError when the file cannot be had or is not what its name says.

    Source: Bilic et al., LiTS, Medical Image Analysis 2023; Yang et al., Scientific Data 2023

    Fidelity: paper

    Tasks: image

    Example:
        >>> OrganAMnist().source().layout
        'medmnist/organamnist.npz'
    """

    card: ClassVar[Card] = medmnist_card("organamnist", "Abdominal organs, axial", "CT")

    path: str | None = None
    size: Size2D = 28

    def source(self) -> Source:
        """Return where the file is found."""
        return medmnist_source(self.card.name, self.size)

    def load(self) -> Dataset:
        """Return the images and diagnoses."""
        return load_medmnist(self, self.card, self.path, self.size)


@register("dataset", "organcmnist")
class OrganCMnist:
    """Eleven organs in coronal CT slices (OrganCMNIST).

    uint8 ``[23583, size, size]``, ``size`` pixels wide. The official split; no patient ids, no
    sites.

    Raises DataError when the file cannot be had or is not what its name says.

    Source: Bilic et al., LiTS, Medical Image Analysis 2023; Yang et al., Scientific Data 2023

    Fidelity: paper

    Tasks: image

    Example:
        >>> OrganCMnist().source().layout
        'medmnist/organcmnist.npz'
    """

    card: ClassVar[Card] = medmnist_card("organcmnist", "Abdominal organs, coronal", "CT")

    path: str | None = None
    size: Size2D = 28

    def source(self) -> Source:
        """Return where the file is found."""
        return medmnist_source(self.card.name, self.size)

    def load(self) -> Dataset:
        """Return the images and diagnoses."""
        return load_medmnist(self, self.card, self.path, self.size)


@register("dataset", "organsmnist")
class OrganSMnist:
    """Eleven organs in sagittal CT slices (OrganSMNIST).

    uint8 ``[25211, size, size]``, ``size`` pixels wide. The official split; no patient ids, no
    sites.

    Raises DataError when the file cannot be had or is not what its name says.

    Source: Bilic et al., LiTS, Medical Image Analysis 2023; Yang et al., Scientific Data 2023

    Fidelity: paper

    Tasks: image

    Example:
        >>> OrganSMnist().source().layout
        'medmnist/organsmnist.npz'
    """

    card: ClassVar[Card] = medmnist_card("organsmnist", "Abdominal organs, sagittal", "CT")

    path: str | None = None
    size: Size2D = 28

    def source(self) -> Source:
        """Return where the file is found."""
        return medmnist_source(self.card.name, self.size)

    def load(self) -> Dataset:
        """Return the images and diagnoses."""
        return load_medmnist(self, self.card, self.path, self.size)


@register("dataset", "organmnist3d")
class OrganMnist3D:
    """Eleven organs in CT volumes (OrganMNIST3D).

    uint8 ``[1742, size, size, size]``, ``size`` voxels wide. The official split; no patient
    ids, no sites.

    Raises DataError when the file cannot be had or is not what its name says.

    Source: Bilic et al., LiTS, Medical Image Analysis 2023; Yang et al., Scientific Data 2023

    Fidelity: paper

    Tasks: volume

    Example:
        >>> OrganMnist3D().source().layout
        'medmnist/organmnist3d.npz'
    """

    card: ClassVar[Card] = medmnist_card(
        "organmnist3d", "Abdominal organs, 3D", "CT volume", Kind.VOLUME
    )

    path: str | None = None
    size: Size3D = 28

    def source(self) -> Source:
        """Return where the file is found."""
        return medmnist_source(self.card.name, self.size)

    def load(self) -> Dataset:
        """Return the images and diagnoses."""
        return load_medmnist(self, self.card, self.path, self.size)

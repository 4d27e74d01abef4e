"""The volumes of the MedMNIST family, by name."""

from __future__ import annotations

from typing import ClassVar

from asepsis.core.registry import register
from asepsis.core.samples import Kind
from asepsis.data.cards import Card
from asepsis.data.dataset import Dataset
from asepsis.data.datasets.medmnist import Size3D, load_medmnist, medmnist_card, medmnist_source
from asepsis.data.files import Source


@register("dataset", "nodulemnist3d")
class NoduleMnist3D:
    """Benign or malignant lung nodules in CT volumes (NoduleMNIST3D).

    uint8 ``[1633, size, size, size]``, ``size`` voxels wide. The official split; no patient
    ids, no sites.

    Raises DataError when the file cannot be had or is not what its name says.

    Source: Armato et al., LIDC-IDRI, Medical Physics 2011; Yang et al., Scientific Data 2023

    Fidelity: paper

    Tasks: volume

    Example:
        >>> NoduleMnist3D().source().layout
        'medmnist/nodulemnist3d.npz'
    """

    card: ClassVar[Card] = medmnist_card(
        "nodulemnist3d", "Lung nodules, 3D", "CT volume", Kind.VOLUME
    )

    path: str | None = None
    size: Size3D = 28

    def source(self) -> Source:
        """Return where the file is found."""
        return medmnist_source(self.card.name, self.size)

    def load(self) -> Dataset:
        """Return the images and diagnoses."""
        return load_medmnist(self, self.card, self.path, self.size)


@register("dataset", "adrenalmnist3d")
class AdrenalMnist3D:
    """Normal adrenal glands or masses as 3D shapes (AdrenalMNIST3D).

    uint8 ``[1584, size, size, size]``, ``size`` voxels wide. The official split; no patient
    ids, no sites.

    Raises DataError when the file cannot be had or is not what its name says.

    Source: the set itself; Yang et al., Scientific Data 2023

    Fidelity: paper

    Tasks: volume

    Example:
        >>> AdrenalMnist3D().source().layout
        'medmnist/adrenalmnist3d.npz'
    """

    card: ClassVar[Card] = medmnist_card(
        "adrenalmnist3d", "Adrenal glands, 3D", "shape mask from CT", Kind.VOLUME
    )

    path: str | None = None
    size: Size3D = 28

    def source(self) -> Source:
        """Return where the file is found."""
        return medmnist_source(self.card.name, self.size)

    def load(self) -> Dataset:
        """Return the images and diagnoses."""
        return load_medmnist(self, self.card, self.path, self.size)


@register("dataset", "fracturemnist3d")
class FractureMnist3D:
    """Three kinds of rib fracture in CT volumes (FractureMNIST3D).

    uint8 ``[1370, size, size, size]``, ``size`` voxels wide. The official split; no patient
    ids, no sites.

    Raises DataError when the file cannot be had or is not what its name says.

    Source: Jin et al., RibFrac, EBioMedicine 2020; Yang et al., Scientific Data 2023

    Fidelity: paper

    Tasks: volume

    Example:
        >>> FractureMnist3D().source().layout
        'medmnist/fracturemnist3d.npz'
    """

    card: ClassVar[Card] = medmnist_card(
        "fracturemnist3d", "Rib fractures, 3D", "CT volume", Kind.VOLUME
    )

    path: str | None = None
    size: Size3D = 28

    def source(self) -> Source:
        """Return where the file is found."""
        return medmnist_source(self.card.name, self.size)

    def load(self) -> Dataset:
        """Return the images and diagnoses."""
        return load_medmnist(self, self.card, self.path, self.size)


@register("dataset", "vesselmnist3d")
class VesselMnist3D:
    """Healthy brain vessels or aneurysms as 3D shapes (VesselMNIST3D).

    uint8 ``[1908, size, size, size]``, ``size`` voxels wide. The official split; no patient
    ids, no sites.

    Raises DataError when the file cannot be had or is not what its name says.

    Source: Yang et al., IntrA, CVPR 2020; Yang et al., Scientific Data 2023

    Fidelity: paper

    Tasks: volume

    Example:
        >>> VesselMnist3D().source().layout
        'medmnist/vesselmnist3d.npz'
    """

    card: ClassVar[Card] = medmnist_card(
        "vesselmnist3d", "Brain vessels, 3D", "shape from MR angiography", Kind.VOLUME
    )

    path: str | None = None
    size: Size3D = 28

    def source(self) -> Source:
        """Return where the file is found."""
        return medmnist_source(self.card.name, self.size)

    def load(self) -> Dataset:
        """Return the images and diagnoses."""
        return load_medmnist(self, self.card, self.path, self.size)


@register("dataset", "synapsemnist3d")
class SynapseMnist3D:
    """Excitatory or inhibitory synapses in electron microscopy (SynapseMNIST3D).

    uint8 ``[1759, size, size, size]``, ``size`` voxels wide. The official split; no patient
    ids, no sites.

    Raises DataError when the file cannot be had or is not what its name says.

    Source: the set itself; Yang et al., Scientific Data 2023

    Fidelity: paper

    Tasks: volume

    Example:
        >>> SynapseMnist3D().source().layout
        'medmnist/synapsemnist3d.npz'
    """

    card: ClassVar[Card] = medmnist_card(
        "synapsemnist3d", "Synapses, 3D", "electron microscopy volume", Kind.VOLUME
    )

    path: str | None = None
    size: Size3D = 28

    def source(self) -> Source:
        """Return where the file is found."""
        return medmnist_source(self.card.name, self.size)

    def load(self) -> Dataset:
        """Return the images and diagnoses."""
        return load_medmnist(self, self.card, self.path, self.size)

"""The flat sets of the MedMNIST family, by name."""

from __future__ import annotations

from typing import ClassVar

from asepsis.core.registry import register
from asepsis.core.samples import Kind
from asepsis.data.cards import Card
from asepsis.data.dataset import Dataset
from asepsis.data.datasets.medmnist import Size2D, load_medmnist, medmnist_card, medmnist_source
from asepsis.data.files import Source


@register("dataset", "pathmnist")
class PathMnist:
    """Nine tissue types in colorectal cancer histology (PathMNIST).

    uint8 ``[107180, size, size, 3]``, ``size`` pixels wide. The official split; no patient ids,
    no sites.

    Raises DataError when the file cannot be had or is not what its name says.

    Source: Kather et al., PLOS Medicine 2019; Yang et al., Scientific Data 2023

    Fidelity: paper

    Tasks: image

    Example:
        >>> PathMnist().source().layout
        'medmnist/pathmnist.npz'
    """

    card: ClassVar[Card] = medmnist_card(
        "pathmnist", "Colorectal cancer histology", "histology, color"
    )

    path: str | None = None
    size: Size2D = 28

    def source(self) -> Source:
        """Return where the file is found."""
        return medmnist_source(self.card.name, self.size)

    def load(self) -> Dataset:
        """Return the images and diagnoses."""
        return load_medmnist(self, self.card, self.path, self.size)


@register("dataset", "chestmnist")
class ChestMnist:
    """Fourteen findings in chest X-rays, several at a time (ChestMNIST).

    uint8 ``[112120, size, size]``, ``size`` pixels wide, targets uint8 ``[112120, 14]``. The
    official split; no patient ids, no sites.

    Raises DataError when the file cannot be had or is not what its name says.

    Source: Wang et al., ChestX-ray8, CVPR 2017; Yang et al., Scientific Data 2023

    Fidelity: paper

    Tasks: multilabel-image

    Example:
        >>> ChestMnist().source().layout
        'medmnist/chestmnist.npz'
    """

    card: ClassVar[Card] = medmnist_card(
        "chestmnist", "Chest X-ray findings", "X-ray", Kind.MULTILABEL_IMAGE
    )

    path: str | None = None
    size: Size2D = 28

    def source(self) -> Source:
        """Return where the file is found."""
        return medmnist_source(self.card.name, self.size)

    def load(self) -> Dataset:
        """Return the images and diagnoses."""
        return load_medmnist(self, self.card, self.path, self.size)


@register("dataset", "dermamnist")
class DermaMnist:
    """Seven kinds of pigmented skin lesion (DermaMNIST).

    uint8 ``[10015, size, size, 3]``, ``size`` pixels wide. The official split; no patient ids,
    no sites.

    Raises DataError when the file cannot be had or is not what its name says.

    Source: Tschandl et al., HAM10000, Scientific Data 2018; Yang et al., Scientific Data 2023

    Fidelity: paper

    Tasks: image

    Example:
        >>> DermaMnist().source().layout
        'medmnist/dermamnist.npz'
    """

    card: ClassVar[Card] = medmnist_card("dermamnist", "Skin lesions", "dermatoscopy, color")

    path: str | None = None
    size: Size2D = 28

    def source(self) -> Source:
        """Return where the file is found."""
        return medmnist_source(self.card.name, self.size)

    def load(self) -> Dataset:
        """Return the images and diagnoses."""
        return load_medmnist(self, self.card, self.path, self.size)


@register("dataset", "octmnist")
class OctMnist:
    """Four diagnoses in retinal optical coherence tomography (OCTMNIST).

    uint8 ``[109309, size, size]``, ``size`` pixels wide. The official split; no patient ids, no
    sites.

    Raises DataError when the file cannot be had or is not what its name says.

    Source: Kermany et al., Cell 2018; Yang et al., Scientific Data 2023

    Fidelity: paper

    Tasks: image

    Example:
        >>> OctMnist().source().layout
        'medmnist/octmnist.npz'
    """

    card: ClassVar[Card] = medmnist_card("octmnist", "Retinal OCT", "OCT")

    path: str | None = None
    size: Size2D = 28

    def source(self) -> Source:
        """Return where the file is found."""
        return medmnist_source(self.card.name, self.size)

    def load(self) -> Dataset:
        """Return the images and diagnoses."""
        return load_medmnist(self, self.card, self.path, self.size)


@register("dataset", "pneumoniamnist")
class PneumoniaMnist:
    """Pneumonia or normal in pediatric chest X-rays (PneumoniaMNIST).

    uint8 ``[5856, size, size]``, ``size`` pixels wide. The official split; no patient ids, no
    sites.

    Raises DataError when the file cannot be had or is not what its name says.

    Source: Kermany et al., Cell 2018; Yang et al., Scientific Data 2023

    Fidelity: paper

    Tasks: image

    Example:
        >>> PneumoniaMnist().source().layout
        'medmnist/pneumoniamnist.npz'
    """

    card: ClassVar[Card] = medmnist_card(
        "pneumoniamnist",
        "Pediatric pneumonia",
        "X-ray",
        expectation="a tiny CNN: accuracy 0.86 in seconds; majority class 0.625",
    )

    path: str | None = None
    size: Size2D = 28

    def source(self) -> Source:
        """Return where the file is found."""
        return medmnist_source(self.card.name, self.size)

    def load(self) -> Dataset:
        """Return the images and diagnoses."""
        return load_medmnist(self, self.card, self.path, self.size)


@register("dataset", "retinamnist")
class RetinaMnist:
    """Five grades of diabetic retinopathy in fundus photographs (RetinaMNIST).

    uint8 ``[1600, size, size, 3]``, ``size`` pixels wide. The official split; no patient ids,
    no sites.

    Raises DataError when the file cannot be had or is not what its name says.

    Source: Liu et al., DeepDRiD, Patterns 2022; Yang et al., Scientific Data 2023

    Fidelity: paper

    Tasks: image

    Example:
        >>> RetinaMnist().source().layout
        'medmnist/retinamnist.npz'
    """

    card: ClassVar[Card] = medmnist_card(
        "retinamnist",
        "Diabetic retinopathy",
        "fundus photography, color",
        expectation="weak: accuracy 0.49, majority class 0.435; grades are ordered",
    )

    path: str | None = None
    size: Size2D = 28

    def source(self) -> Source:
        """Return where the file is found."""
        return medmnist_source(self.card.name, self.size)

    def load(self) -> Dataset:
        """Return the images and diagnoses."""
        return load_medmnist(self, self.card, self.path, self.size)


@register("dataset", "breastmnist")
class BreastMnist:
    """Malignant or not in breast ultrasound (BreastMNIST).

    uint8 ``[780, size, size]``, ``size`` pixels wide. The official split; no patient ids, no
    sites.

    Raises DataError when the file cannot be had or is not what its name says.

    Source: Al-Dhabyani et al., Data in Brief 2020; Yang et al., Scientific Data 2023

    Fidelity: paper

    Tasks: image

    Example:
        >>> BreastMnist().source().layout
        'medmnist/breastmnist.npz'
    """

    card: ClassVar[Card] = medmnist_card(
        "breastmnist",
        "Breast ultrasound",
        "ultrasound",
        expectation="accuracy 0.84; majority class 0.73; 156 test images",
    )

    path: str | None = None
    size: Size2D = 28

    def source(self) -> Source:
        """Return where the file is found."""
        return medmnist_source(self.card.name, self.size)

    def load(self) -> Dataset:
        """Return the images and diagnoses."""
        return load_medmnist(self, self.card, self.path, self.size)


@register("dataset", "bloodmnist")
class BloodMnist:
    """Eight kinds of blood cell under the microscope (BloodMNIST).

    uint8 ``[17092, size, size, 3]``, ``size`` pixels wide. The official split; no patient ids,
    no sites.

    Raises DataError when the file cannot be had or is not what its name says.

    Source: Acevedo et al., Data in Brief 2020; Yang et al., Scientific Data 2023

    Fidelity: paper

    Tasks: image

    Example:
        >>> BloodMnist().source().layout
        'medmnist/bloodmnist.npz'
    """

    card: ClassVar[Card] = medmnist_card("bloodmnist", "Blood cells", "microscopy, color")

    path: str | None = None
    size: Size2D = 28

    def source(self) -> Source:
        """Return where the file is found."""
        return medmnist_source(self.card.name, self.size)

    def load(self) -> Dataset:
        """Return the images and diagnoses."""
        return load_medmnist(self, self.card, self.path, self.size)


@register("dataset", "tissuemnist")
class TissueMnist:
    """Eight kinds of human kidney cortex cell (TissueMNIST).

    uint8 ``[236386, size, size]``, ``size`` pixels wide. The official split; no patient ids, no
    sites.

    Raises DataError when the file cannot be had or is not what its name says.

    Source: Ljosa et al., Nature Methods 2012; Yang et al., Scientific Data 2023

    Fidelity: paper

    Tasks: image

    Example:
        >>> TissueMnist().source().layout
        'medmnist/tissuemnist.npz'
    """

    card: ClassVar[Card] = medmnist_card("tissuemnist", "Kidney cortex cells", "microscopy")

    path: str | None = None
    size: Size2D = 28

    def source(self) -> Source:
        """Return where the file is found."""
        return medmnist_source(self.card.name, self.size)

    def load(self) -> Dataset:
        """Return the images and diagnoses."""
        return load_medmnist(self, self.card, self.path, self.size)

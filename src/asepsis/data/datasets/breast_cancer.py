"""Breast cancer from cell nuclei: ships with scikit-learn, so it is always there."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from asepsis.core.registry import register
from asepsis.core.samples import Kind
from asepsis.data.cards import Card
from asepsis.data.coding import texts
from asepsis.data.dataset import Dataset
from asepsis.data.files import remembered


@register("dataset", "breast-cancer")
class BreastCancer:
    """Malignant or benign breast tumors from 30 measurements of cell nuclei.

    float32 ``[569, 30]``, class 0 malignant, 1 benign. Nothing is downloaded.

    Source: Street et al., SPIE 1993; UCI Machine Learning Repository 17, as in scikit-learn

    Fidelity: paper

    Tasks: table

    Example:
        >>> BreastCancer().load().inputs.shape
        (569, 30)
    """

    card: ClassVar[Card] = Card(
        name="breast-cancer",
        title="Breast cancer, Wisconsin diagnostic",
        kind=Kind.TABLE,
        modality="cytology measurements",
        source="UCI Machine Learning Repository 17, as shipped with scikit-learn",
        licence="CC BY 4.0",
        size="569 patients, 30 features, 2 classes",
        sites="none",
        expectation="easy: logistic regression reaches accuracy 0.98; majority class 0.63",
    )

    def load(self) -> Dataset:
        """Return the measurements and diagnoses."""
        return remembered(self, None, _read)


def _read() -> Dataset:
    from sklearn.datasets import load_breast_cancer

    found = load_breast_cancer()
    return Dataset(
        name="breast-cancer",
        kind=Kind.TABLE,
        inputs=found.data.astype(np.float32),
        targets=found.target,
        classes=texts(found.target_names),
    )

"""Which figures are shown of each kind of evidence, and how they are written."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from asepsis.report.wording import number

Write = Callable[[float], str]


def percent(value: float) -> str:
    """Write a share in percent."""
    return number(100 * value, 1)


def decibels(value: float) -> str:
    """Write decibels; infinite ones are an exact copy."""
    return "exact" if value == math.inf else number(value, 1)


def count(value: float) -> str:
    """Write a whole number."""
    return number(value, 0)


def plain(value: float) -> str:
    """Write a figure as it is."""
    return number(value, 3)


@dataclass(frozen=True, slots=True)
class Column:
    """A figure of one kind of evidence: its name in the record, its head, how it is written.

    ``main`` ones are shown where there is little room.
    """

    figure: str
    head: str
    write: Write = percent
    main: bool = False


KINDS: dict[str, tuple[str, tuple[Column, ...]]] = {
    "membership": (
        "Who was trained on? AUC in %, chance 50; blind: a classifier that never saw the model",
        (
            Column("held-out/auc", "AUC, same hospital", main=True),
            Column("held-out/blind", "blind", main=True),
            Column("held-out/excess", "excess"),
            Column("held-out/either", "of either sign"),
            Column("held-out/tpr@1%", "TPR at 1% FPR", main=True),
            Column("held-out/tpr@0.1%", "at 0.1%"),
            Column("elsewhere/auc", "AUC, other hospitals", main=True),
            Column("elsewhere/blind", "blind", main=True),
            Column("which-hospital/auc", "which hospital", main=True),
            Column("federation/auc", "any hospital"),
            Column("federation/blind", "blind"),
        ),
    ),
    "inversion": (
        "What did the inputs look like? Beside it, what is known without the update",
        (
            Column("psnr", "PSNR (dB)", decibels, main=True),
            Column("prior/mean/psnr", "of the mean image", decibels, main=True),
            Column("prior/nearest/psnr", "of the nearest public image", decibels),
            Column("ssim", "SSIM", plain, main=True),
            Column("prior/mean/ssim", "of the mean image", plain, main=True),
            Column("prior/nearest/ssim", "of the nearest public image", plain),
            Column("inside/psnr", "PSNR inside the body (dB)", decibels),
            Column("target/psnr", "PSNR of the second image (dB)", decibels),
            Column("target/prior/mean/psnr", "of its mean image", decibels),
            Column("target/ssim", "SSIM of the second image", plain),
            Column("target/prior/mean/ssim", "of its mean image", plain),
            Column("mse", "squared error", plain, main=True),
            Column("prior/mean/mse", "of the mean record", plain, main=True),
            Column("success", "reconstructed (PSNR > 25 dB, or error < 0.01)"),
            Column("top1", "re-identified", main=True),
            Column("chance/top1", "by chance", main=True),
            Column("excess/top1", "beyond chance", main=True),
            Column("candidates", "among so many", count),
        ),
    ),
    "labels": (
        "Which labels were trained on? Beside it, guesses from the public shares",
        (
            Column("exact", "all counts right", main=True),
            Column("chance_exact", "chance", main=True),
            Column("count_error", "mean error of a count", plain, main=True),
            Column("prior_count_error", "public shares", plain, main=True),
        ),
    ),
    "property": (
        "How common is a diagnosis at a hospital? Mean error of the share, in points",
        (
            Column("error", "error", main=True),
            Column("baseline_error", "the federation's share", main=True),
            Column("prior_error", "public share", main=True),
            Column("gain", "gain", main=True),
            Column("closed_form_error", "closed form", main=True),
            Column("rank", "rank agreement", plain, main=True),
        ),
    ),
    "attribute": (
        "A hidden column of a record: guessed right in %",
        (
            Column("accuracy/members", "members", main=True),
            Column("accuracy/others", "others", main=True),
            Column("imputed/members", "imputed, members", main=True),
            Column("imputed/others", "imputed, others", main=True),
            Column("majority/members", "commonest value", main=True),
            Column("leakage", "leakage", main=True),
        ),
    ),
    "classes": (
        "What does a class look like? Beside it, the mean of public samples of the class",
        (
            Column("psnr_mean", "PSNR to the class mean (dB)", decibels, main=True),
            Column("prior_psnr_mean", "public mean", decibels, main=True),
            Column("ssim_mean", "SSIM to the class mean", plain, main=True),
            Column("prior_ssim_mean", "public mean", plain, main=True),
            Column("psnr_member", "PSNR to the nearest member (dB)", decibels, main=True),
            Column("prior_psnr_member", "public mean", decibels, main=True),
        ),
    ),
    "isolation": (
        "One hospital's update out of what was hidden: relative error of it, cosine with it",
        (
            Column("isolated", "isolated", main=True),
            Column("known", "columns known", main=True),
            Column("relative_error", "relative error", plain, main=True),
            Column("cosine", "cosine", plain, main=True),
            Column("other_cosine", "with the nearest other hospital", plain, main=True),
            Column("rest_cosine", "with the mean of the others", plain, main=True),
        ),
    ),
}
"""What is shown of each kind of evidence; figures that no observer has are left out."""

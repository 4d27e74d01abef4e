"""How numbers are written: the same words and digits in the terminal and on the page."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from asepsis.experiments.figures import DOWNSTREAM, MEMORIZATION, OF_STRANGERS
from asepsis.metrics.hospitals import UNSEEN
from asepsis.metrics.intervals import Interval
from asepsis.metrics.measures import Measure, measure

MINUS = "\N{MINUS SIGN}"
NONE = "not estimable"
LABELS = {
    "auroc": "AUROC",
    "macro_auroc": "macro AUROC",
    "micro_auroc": "micro AUROC",
    "macro_f1": "macro-F1",
    "mae": "mean absolute error",
    "mse": "mean squared error",
    "psnr": "PSNR",
    "ssim": "SSIM",
    "fused_mae": "mean absolute error of volumes",
    "fused_psnr": "PSNR of volumes",
    "fused_ssim": "SSIM of volumes",
    "kernel_floor": "kernel distance, real from real",
    "frechet_distance": "Fréchet distance",
    "frechet_floor": "Fréchet distance, real from real",
    "nn_ratio": "nearest-neighbor distance ratio",
    "nn_ratio_pixels": "nearest-neighbor distance ratio in pixels",
    "memorized": "suspiciously near a training image",
    "memorized_pixels": "suspiciously near a training image in pixels",
    "asr": "ASR",
    "asr_at_departure": "ASR at departure",
    "excess": "excess ASR",
    "excess_at_departure": "excess ASR at departure",
    "half_life": "half-life",
    "area": "area after departure",
    "backdoor/seen": "trigger in generated images",
    "backdoor/false_positives": "trigger in clean real images",
    "backdoor/asr_90": "ASR at 0.9",
    "backdoor/paired_auroc": "paired AUROC of p(target)",
    "backdoor/paired_rise": "mean rise of p(target)",
    "backdoor/tt_micro": "micro AUROC, triggered images and labels",
    "backdoor/tt_micro_constant": "the same of a constant predictor",
    "backdoor/tn_micro": "micro AUROC, triggered images, true labels",
    "backdoor/tn_macro": "macro AUROC, triggered images, true labels",
}
TINY = 0.01
MOST_PLACES = 9
ROUNDING = 1e-9
FINEST = 1e-3
"""Nobody reads more digits of a mean than this share of it, however narrow its interval."""
TRAINED_ON = {"both": "real and synthetic"}
PATH = re.compile(r"(?:[A-Za-z]:)?(?:[\\/][^\\/\s:;,'\"]+){2,}[\\/]?|\bfile:\S+")


@dataclass(frozen=True, slots=True)
class Scale:
    """How one metric is written: shares in percent, their changes in points."""

    name: str

    @property
    def label(self) -> str:
        """The metric in words."""
        if self.name.startswith(UNSEEN):
            return f"{Scale(self.name.removeprefix(UNSEEN)).label}, unseen hospital"
        if self.name.startswith(DOWNSTREAM):
            source, _, figure = self.name.removeprefix(DOWNSTREAM).partition("/")
            return f"{Scale(figure).label}, trained on {TRAINED_ON.get(source, source)} images"
        if self.name.startswith(MEMORIZATION):
            figure = self.name.removeprefix(MEMORIZATION)
            real = " of real images nobody trained on" if figure.startswith(OF_STRANGERS) else ""
            return Scale(figure.removeprefix(OF_STRANGERS)).label + real
        return LABELS.get(self.name, self.name.removeprefix("backdoor/").replace("_", " "))

    @property
    def measure(self) -> Measure:
        """What kind of number it is."""
        return measure(self.name)

    @property
    def share(self) -> bool:
        """Whether the metric lies in [0, 1] and is written in percent."""
        return self.measure.share

    @property
    def sign(self) -> int:
        """1 when more is better, -1 when less is."""
        return -1 if self.measure.lower else 1

    @property
    def unit(self) -> str:
        """Unit of a value: ``%``, rounds or nothing."""
        return self.measure.unit

    @property
    def worse(self) -> str:
        """What a metric did that became worse.

        Example:
            >>> Scale("accuracy").worse, Scale("kernel_distance").worse
            ('fell', 'rose')
        """
        return "rose" if self.sign < 0 else "fell"

    def places(self, value: float) -> int:
        """Return how many digits after the point a value needs.

        Without bounds it may be huge, or so small that two significant digits are all it has.
        """
        digits, size = self.measure.digits, abs(value)
        if not self.measure.relative or not math.isfinite(size) or not size:
            return digits
        if size < TINY:
            return min(MOST_PLACES, 1 - math.floor(math.log10(size)))
        return max(0, digits - int(math.log10(size))) if size >= 10 else digits

    def digits(self, value: float, places: int | None = None) -> str:
        """Write a value without its unit.

        Example:
            >>> Scale("accuracy").digits(0.8234), Scale("psnr").digits(21.456)
            ('82.3', '21.46')
            >>> Scale("kernel_distance").digits(0.0234), Scale("kernel_distance").digits(1234.5)
            ('0.023', '1234')
            >>> Scale("kernel_distance").digits(0.00234), Scale("kernel_distance").digits(0.1, 1)
            ('0.0023', '0.1')
        """
        digits = self.places(value) if places is None else places
        return number(100 * value if self.share else value, digits)

    def value(self, value: float) -> str:
        """Write a value with its unit."""
        if not math.isfinite(value):
            return NONE
        gap = "" if self.share or not self.unit else " "
        return f"{self.digits(value)}{gap}{self.unit}"

    def change(self, value: float) -> str:
        """Write a difference with its sign and unit.

        Example:
            >>> Scale("accuracy").change(-0.0512), Scale("psnr").change(1.5)
            ('−5.1 points', '+1.50')
        """
        if not math.isfinite(value):
            return NONE
        return f"{signed(self, value)}{' points' if self.share else ''}"


def signed(scale: Scale, value: float, places: int | None = None) -> str:
    """Write a difference with its sign, without a unit; zero has none."""
    text = scale.digits(value, places)
    return text if text.startswith(MINUS) or not text.strip("0.") else f"+{text}"


def number(value: float, digits: int) -> str:
    """Write a number with a true minus sign; what rounds to zero has no sign.

    Example:
        >>> number(-3.14159, 2), number(-0.001, 1), number(float("nan"), 1)
        ('−3.14', '0.0', 'n/a')
    """
    if not math.isfinite(value):
        return "n/a"
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if not text.strip("-0.") else text.replace("-", MINUS)


def half_width(interval: Interval) -> float:
    """Half the width of an interval; NaN when there is none."""
    return (interval.high - interval.low) / 2


def plus_minus(scale: Scale, interval: Interval, *, change: bool = False) -> str:
    """Write mean and half-width, as in ``82.3 ±1.1``: both with the digits that the second has.

    Example:
        >>> plus_minus(Scale("accuracy"), Interval(0.8, 0.79, 0.81, 3))
        '80.0 ±1.0'
        >>> plus_minus(Scale("frechet_distance"), Interval(1234.5, 1233.9, 1235.1, 3))
        '1234.500 ±0.600'
    """
    if not interval.n:
        return "n/a"
    places = _common(scale, interval)
    write = signed if change else Scale.digits
    mean, half = write(scale, interval.mean, places), half_width(interval)
    return f"{mean} ±{scale.digits(half, places)}" if math.isfinite(half) else f"{mean} (n=1)"


def _common(scale: Scale, interval: Interval) -> int:
    """Return how many digits an interval needs: more say nothing, fewer hide how wide it is."""
    half, size = half_width(interval), abs(interval.mean)
    if not half > ROUNDING * max(1.0, size):
        return scale.places(interval.mean)
    return scale.places(max(half, FINEST * size))


def bounds(scale: Scale, interval: Interval, *, change: bool = False) -> str:
    """Write an interval for a sentence.

    Example:
        >>> bounds(Scale("accuracy"), Interval(0.8, 0.79, 0.81, 3))
        '95% interval 79.0 to 81.0'
    """
    if not interval.n:
        return NONE
    if not math.isfinite(interval.low):
        return "one seed, so no interval"
    places, write = _common(scale, interval), signed if change else Scale.digits
    low, high = (write(scale, end, places) for end in (interval.low, interval.high))
    return f"95% interval {low} to {high}"


def listed(items: list[str]) -> str:
    """Join words as in a sentence.

    Example:
        >>> listed(["krum", "median", "mean"])
        'krum, median and mean'
    """
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def counted(count: int, noun: str) -> str:
    """Write a count with its noun.

    Example:
        >>> counted(1, "seed"), counted(3, "seed")
        ('1 seed', '3 seeds')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def without_paths(text: str) -> str:
    """Take places on the machine out of a message that will be read elsewhere.

    Example:
        >>> without_paths("/home/eva/data/x.npz: the file is corrupt")
        '[path]: the file is corrupt'
    """
    return PATH.sub("[path]", text)

"""Look at a file or folder and guess what data it holds; no value of a patient is looked up."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from asepsis.core.errors import ConfigError, DataError

TARGETS = (
    *("target", "label", "labels", "outcome", "died", "death", "mortality", "diagnosis", "disease"),
    *("class", "readmitted", "event", "status", "num", "y"),
)
SITES = ("site", "hospital", "center", "centre", "clinic", "institution", "ward", "unit", "source")
PATIENTS = ("patient", "subject", "person", "mrn", "pid", "case", "participant")
INPUTS = ("images", "inputs", "x", "data", "features", "volumes", "signals")
TABLE, ARRAYS = ".csv", ".npz"
IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"}
VOLUMES = (".nii", ".nii.gz")
DICOM = {".dcm", ".dicom"}
MOST_FILES = 20_000
"""So many files are looked at before the guess is made."""
DEEPEST = 3
MOST_TEXTS = 20


@dataclass(frozen=True)
class Found:
    """What a place seems to hold: a data set's component, its options, and what they could be.

    ``columns`` are the names that ``target``, ``site`` and ``patient`` may take, none where
    folders say it; ``asks`` says by which options the component knows them.
    """

    name: str
    options: Mapping[str, Any]
    says: str
    columns: tuple[str, ...] = ()
    asks: Mapping[str, str] = field(default_factory=dict)

    def answered(self, role: str, column: str | None) -> Found:
        """Return it with another column in a role, or with none."""
        options = {k: v for k, v in self.options.items() if k != self.asks[role]}
        if column is not None:
            options[self.asks[role]] = column
            kept = tuple(name for name in options.get("ignore", ()) if name != column)
            options = {k: v for k, v in options.items() if k != "ignore"}
            options |= {"ignore": kept} if kept else {}
        return Found(self.name, options, self.says, self.columns, self.asks)


def find(place: Path) -> Found:
    """Guess what a file or folder holds.

    Raises:
        ConfigError: nothing is there that could be data, or more than one thing.
        DataError: a table is no table.
    """
    if place.is_file():
        return _file(place)
    if not place.is_dir():
        raise ConfigError("there is no such file or folder", place="init", got=place.name)
    counts = _counted(place)
    if counts:
        return _folder(place, counts)
    files = sorted(
        file
        for file in place.iterdir()
        if file.suffix.lower() in (TABLE, ARRAYS) and file.is_file()
    )
    if not files:
        raise ConfigError(
            "no data found",
            place="init",
            fix="name a .csv or .npz file, or a folder of images, DICOM or NIfTI files",
        )
    if len(files) > 1:
        names = ", ".join(file.name for file in files[:5])
        raise ConfigError(
            f"{len(files)} tables and archives found",
            place="init",
            fix=f"say which: asepsis init {files[0].name} (there are: {names})",
        )
    return _file(files[0])


def _file(place: Path) -> Found:
    suffix = place.suffix.lower()
    if suffix == TABLE:
        return _table(place)
    if suffix == ARRAYS:
        return _arrays(place)
    raise ConfigError(
        "not a kind of data that is read", place="init", got=suffix, fix="use .csv or .npz"
    )


def _table(place: Path) -> Found:
    from asepsis.data.tables import read_csv, told_columns

    table = read_csv(place)
    columns = tuple(told_columns(table))
    if not columns:
        raise DataError("the first line does not name the columns", place=place.name)
    site, patient = _named(SITES, columns), _named(PATIENTS, columns)
    rest = [name for name in columns if name not in (site, patient)]
    target = _named(TARGETS, rest) or _fewest(table, rest)
    texts = tuple(
        name
        for name in columns
        if name not in (target, site, patient)
        and table[name].dtype.kind not in "biuf"
        and table[name].nunique() > MOST_TEXTS
    )
    known = {"target": target, "site": site, "group": patient, "ignore": texts}
    return Found(
        "csv",
        {"path": str(place), **{key: value for key, value in known.items() if value}},
        f"a table of {len(table)} rows and {len(columns)} columns",
        columns,
        {"target": "target", "site": "site", "patient": "group"},
    )


def _fewest(table: Any, names: Iterable[str]) -> str | None:
    """Return the last column of two different values: an answer, probably."""
    binary = [name for name in names if table[name].nunique() == 2]
    return binary[-1] if binary else None


def _arrays(place: Path) -> Found:
    from asepsis.data.npz import keys_of

    keys = tuple(keys_of(place))
    asks = {"target": "targets", "site": "sites", "patient": "groups"}
    official = next((name for name in INPUTS if f"train_{name}" in keys), None)
    if official is not None:
        options = {"path": str(place)} | ({} if official == "images" else {"inputs": official})
        return Found("npz", options, "arrays with a split of their own", (), {})
    inputs = _named(INPUTS, keys)
    rest = [name for name in keys if name != inputs]
    known = {
        "inputs": inputs,
        "targets": _named((*TARGETS, "targets"), rest),
        "sites": _named((*SITES, "sites"), rest),
        "groups": _named((*PATIENTS, "groups"), rest),
        "split": "split" if "split" in rest else None,
        "classes": _named(("classes", "class_names"), rest),
    }
    if known["classes"] == known["targets"]:
        known["classes"] = None
    told = {key: value for key, value in known.items() if value}
    return Found("npz", {"path": str(place), **told}, f"{len(keys)} arrays", keys, asks)


def _named(words: Iterable[str], names: Iterable[str]) -> str | None:
    """Return the name that is one of the words, or else has one in it; earlier words first."""
    known = {name: name.lower().replace("-", "_") for name in names}
    for word in words:
        for name, lower in known.items():
            if lower in (word, f"{word}_id", f"{word}id", f"{word}s"):
                return name
    for word in words:
        for name, lower in known.items():
            if len(word) > 2 and word in lower.split("_"):
                return name
    return None


def _counted(root: Path) -> Counter[tuple[str, int]]:
    """Count files of images by what they are and how deep they lie, of the first so many."""
    kinds = (
        (_what(file), len(file.relative_to(root).parts)) for file in islice(_walk(root), MOST_FILES)
    )
    return Counter((what, depth) for what, depth in kinds if what is not None)


def _walk(root: Path) -> Iterator[Path]:
    for folder, below, names in os.walk(root):
        below.sort()
        deep = len(Path(folder).relative_to(root).parts)
        below[:] = [name for name in below if not name.startswith(".") and deep + 1 < DEEPEST]
        yield from (Path(folder) / name for name in sorted(names) if not name.startswith("."))


def _what(file: Path) -> str | None:
    suffix = file.suffix.lower()
    if file.name.lower().endswith(VOLUMES):
        return "nifti-folder"
    if suffix in DICOM:
        return "dicom-folder"
    return "image-folder" if suffix in IMAGES else None


SAYS = {
    "nifti-folder": "a folder of NIfTI volumes",
    "dicom-folder": "a folder of DICOM images",
    "image-folder": "a folder of images",
}


def _folder(root: Path, counts: Counter[tuple[str, int]]) -> Found:
    (name, depth), _ = max(counts.items(), key=lambda item: (item[1], item[0][1]))
    options: dict[str, Any] = {"path": str(root)}
    labels = _labels(root) if name == "dicom-folder" else None
    if labels is not None and depth < DEEPEST:
        layout = "site" if depth == 2 else "files"
        options |= {"layout": layout, "labels": str(labels[0]), "target": labels[1]}
    elif depth == DEEPEST:
        layout = options["layout"] = "site/class"
    elif depth == 2:
        layout = "class"
    else:
        raise ConfigError(
            f"{SAYS[name]}, but nothing says what each shows",
            place="init",
            fix="make one folder a class, with one folder a site around them",
        )
    total = sum(found for (kind, _), found in counts.items() if kind == name)
    more = "over " if sum(counts.values()) >= MOST_FILES else ""
    return Found(name, options, f"{SAYS[name]}: {more}{total} files, {layout}")


def _labels(root: Path) -> tuple[Path, str] | None:
    """Return a table beside the images that says what each shows, and the column that does."""
    from asepsis.data.tables import read_header

    for table in sorted(root.glob(f"*{TABLE}")):
        columns = read_header(table)
        target = _named(TARGETS, columns)
        if target and {"SOPInstanceUID", "file"} & set(columns):
            return table, target
    return None

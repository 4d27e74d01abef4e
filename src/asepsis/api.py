"""What the command line does, from Python."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from asepsis.core.errors import ConfigError, StoreError
from asepsis.engines import NUMERICS
from asepsis.engines.worker import cores
from asepsis.experiments.plan import Plan, load_study, plan_study, study_from
from asepsis.experiments.results import Results, load_results, plan_table
from asepsis.experiments.spec import Study
from asepsis.experiments.store import Store
from asepsis.experiments.sweep import Listener, run_plan

Seeds = int | Sequence[int]


def run(
    experiment: str | Path | Mapping[str, Any],
    *,
    seeds: Seeds | None = None,
    jobs: int | None = None,
    engine: str = "threads",
    device: str = "cpu",
    settings: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    listener: Listener = lambda _: None,
) -> Results:
    """Run a study, an experiment file or an experiment given as a table.

    Args:
        experiment: a built-in study's name, a TOML file, or a table as it would stand in one.
        seeds: how many seeds (0, 1, ...), or which ones.
        jobs: worker processes; all cores when left out.
        engine: ``serial``, ``threads``, ``pool`` or ``batched``.
        device: where training runs, such as ``cpu`` or ``cuda``.
        settings: dotted keys to set, such as ``{"federation.rounds": 50}``.
        out: results folder; a temporary one when left out.
        resume: go on in a folder that a stopped run left.
        listener: called with progress.

    Returns:
        The results; ``.frame()`` is one row a run.

    Raises:
        AsepsisError: something is unknown, does not fit, or cannot be read or written.

    Example:
        >>> table = {"dataset": "breast-cancer", "federation": {"rounds": 2}}
        >>> asepsis.run(table).frame()["status"].tolist()  # doctest: +SKIP
        ['success']
    """
    overrides = dict(settings or {})
    if seeds is not None:
        overrides["seeds"] = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    study = (
        study_from(dict(experiment), "experiment", overrides)
        if isinstance(experiment, Mapping)
        else load_study(str(experiment), overrides)
    )
    return _run(study, jobs, engine, device, out, resume, listener)


def sweep(
    experiment: str | Path | Mapping[str, Any],
    over: Mapping[str, Iterable[Any]],
    **options: Any,
) -> Results:
    """Run an experiment for every combination of settings.

    Args:
        experiment: as for :func:`run`.
        over: for every dotted key the values it takes, such as ``{"attack": ["none", "ipm"]}``.
        options: as for :func:`run`.

    Example:
        >>> asepsis.sweep("mine.toml", {"partition.alpha": [0.1, 1.0]})  # doctest: +SKIP
    """
    settings = {**options.pop("settings", {}), "over": {k: list(v) for k, v in over.items()}}
    return run(experiment, settings=settings, **options)


def _run(
    study: Study,
    jobs: int | None,
    engine: str,
    device: str,
    out: str | Path | None,
    resume: bool,
    listener: Listener,
) -> Results:
    if out is not None:
        plan = plan_study(study)
        return execute(plan, Path(out), jobs, engine, device, resume, listener)
    with tempfile.TemporaryDirectory(prefix="asepsis-") as folder:
        return execute(plan_study(study), Path(folder), jobs, engine, device, resume, listener)


def execute(
    plan: Plan,
    out: Path,
    jobs: int | None = None,
    engine: str = "threads",
    device: str = "cpu",
    resume: bool = False,
    listener: Listener = lambda _: None,
) -> Results:
    """Run a plan in a results folder and return what it holds.

    Raises:
        StoreError: the folder already holds results and ``resume`` was not asked for.
    """
    if jobs is not None and jobs < 1:
        raise ConfigError("at least one worker is needed", place="--jobs", got=jobs)
    if engine not in NUMERICS:
        from asepsis.engines import make_engine

        make_engine(engine)
    store = Store(out)
    if store.used and not resume:
        raise StoreError(
            "the folder already holds results",
            place=str(out),
            fix="go on with --resume, or choose another place with --out DIR",
        )
    store.open().write_plan(plan_table(plan, engine))
    run_plan(
        plan,
        store,
        jobs=jobs or cores(),
        engine=engine,
        device=device,
        resume=resume,
        listener=listener,
    )
    return load_results(out)

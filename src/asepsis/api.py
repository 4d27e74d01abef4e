"""What the command line does, from Python."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asepsis.core.errors import ConfigError, StoreError
from asepsis.core.trust import trusting_code
from asepsis.experiments.cluster import Cluster, cluster_at, joined
from asepsis.experiments.device_table import measure_devices
from asepsis.experiments.locks import locked, shared
from asepsis.experiments.patients import screened
from asepsis.experiments.plan import Plan, load_study, plan_study, study_from
from asepsis.experiments.preflight import check_device, check_engine, check_plan
from asepsis.experiments.results import Results, load_results, plan_table
from asepsis.experiments.run import RunOptions
from asepsis.experiments.shard import Shard
from asepsis.experiments.sifting import sifted
from asepsis.experiments.spec import Study
from asepsis.experiments.store import Store
from asepsis.experiments.sweep import Listener, run_plan

Seeds = int | Sequence[int]


def run(
    experiment: str | Path | Mapping[str, Any],
    *,
    profile: str | None = None,
    seeds: Seeds | None = None,
    jobs: int | None = None,
    engine: str = "threads",
    device: str = "cpu",
    settings: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    trust_code: bool = False,
    pseudonyms: bool = False,
    shard: str | None = None,
    cluster: str | None = None,
    listener: Listener = lambda _: None,
) -> Results:
    """Run a study, an experiment file or an experiment given as a table.

    Args:
        experiment: a built-in study's name, a TOML file, or a table as it would stand in one.
        profile: which of a study's files, such as ``quick`` (taken when left out) or ``full``.
        seeds: how many seeds (0, 1, ...), or which ones.
        jobs: worker processes; when left out, all work is done in this one. With more than one,
            a script must call this below ``if __name__ == "__main__":``.
        engine: ``serial``, ``threads``, ``pool``, ``batched`` or ``flower``.
        device: where training runs, such as ``cpu`` or ``cuda``.
        settings: dotted keys to set, such as ``{"federation.rounds": 50}``.
        out: results folder; a temporary one when left out.
        resume: go on in a folder that a stopped run left.
        trust_code: let networks of yours run (``model = {name = "module", ...}``).
        pseudonyms: call the sites "site 1", "site 2", ... in all that is written.
        shard: run only share i of n, written ``i/n``, of the study; needs ``out``, and goes on
            with whatever is there.
        cluster: ``HOST:PORT`` of a Ray cluster of yours that asks for a token; ``jobs`` is then
            how many groups of runs may be there at once.
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
    if not isinstance(experiment, Mapping):
        study = load_study(str(experiment), overrides, profile)
    elif profile is None:
        study = study_from(copy.deepcopy(dict(experiment)), "experiment", overrides)
    else:
        raise ConfigError("a table has no profiles", place="profile", got=profile)
    with trusting_code(trust_code):
        how = RunOptions(
            engine=engine, device=device, jobs=jobs, resume=resume, pseudonyms=pseudonyms
        )
        where = Where.of(shard, cluster)
        return _run(study, how, where, None if out is None else Path(out), listener)


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


@dataclass(frozen=True)
class Where:
    """Which share of a study is run, and whether on a cluster."""

    shard: Shard | None = None
    cluster: Cluster | None = None

    @classmethod
    def of(cls, shard: str | None, cluster: str | None, *, without_token: bool = False) -> Where:
        """Read what was asked for.

        Raises:
            ConfigError: no share, no address, or a cluster without a token.
        """
        if shard is not None and cluster is not None:
            fix = "leave --shard out: a cluster is given all runs, and those that are there stay"
            raise ConfigError("either a share or a cluster", place="--shard", got=shard, fix=fix)
        if without_token and cluster is None:
            raise ConfigError("there is no cluster", place="--cluster-without-token")
        return cls(
            None if shard is None else Shard.parse(shard),
            None if cluster is None else cluster_at(cluster, without_token=without_token),
        )

    def check(self, engine: str, out: Path | None) -> None:
        """Refuse what cannot be done there.

        Raises:
            ConfigError: a share without a folder, or an engine that needs this machine.
        """
        if self.shard is not None and out is None:
            fix = "say --out DIR: the same one for all shares, or one for each"
            raise ConfigError("a share needs a place", place="--shard", got=self.shard, fix=fix)
        if self.cluster is not None and engine not in ON_NODES:
            fix = f"use {', '.join(ON_NODES)}"
            raise ConfigError("does not run on a cluster", place="--engine", got=engine, fix=fix)


HERE = Where()
ON_NODES = ("serial", "threads", "pool", "batched")
"""Engines of a node; all but the last are one process there, and bit-equal."""


def _run(
    study: Study, how: RunOptions, where: Where, out: Path | None, listener: Listener
) -> Results:
    if how.jobs is not None and how.jobs < 1:
        raise ConfigError("at least one process is needed", place="jobs", got=how.jobs, fix="use 1")
    plan = sifted(plan_study(study), how.engine)
    plan = screened(plan, pseudonyms=how.pseudonyms)
    where.check(how.engine, out)
    if out is not None:
        store = prepare(plan, out, how, where)
        return execute(plan, store, how, listener, where)
    with tempfile.TemporaryDirectory(prefix="asepsis-") as folder:
        store = prepare(plan, Path(folder), how, where)
        return execute(plan, store, how, listener, where)


def prepare(plan: Plan, out: Path, how: RunOptions, where: Where = HERE) -> Store:
    """Refuse what cannot run; nothing is written yet.

    Raises:
        AsepsisError: parts of the plan do not fit together, or their data cannot be had.
        StoreError: the folder already holds results and ``resume`` was not asked for.
    """
    store = Store(out)
    store.check_place()
    check_room(store, plan, how, where)
    if where.cluster is None:
        check_device(how.device)
    if how.engine == "pool" and how.device != "cpu":
        raise ConfigError(
            "processes share a CPU only",
            place="engine",
            got=how.engine,
            fix="use engine threads or serial on other devices",
        )
    check_engine(how.engine)
    check_plan(plan, how.engine, pseudonyms=how.pseudonyms)
    return store


def check_room(store: Store, plan: Plan, how: RunOptions, where: Where = HERE) -> None:
    """Refuse a folder whose results are not those that are gone on with.

    Raises:
        StoreError: the folder already holds results and ``resume`` was not asked for, or others.
    """
    if not store.used:
        return
    if not how.resume and where.shard is None:
        raise StoreError(
            "the folder already holds results",
            place=str(store.root),
            fix="go on with --resume, or choose another place with --out DIR",
        )
    check_same_study(store, plan)
    check_same_names(store, how)


def check_same_study(store: Store, plan: Plan) -> None:
    """Refuse to resume with settings that would orphan runs that are already there.

    Raises:
        StoreError: the folder holds runs that are not in the plan.
    """
    asked = {cell.digest for cell in plan.cells}
    kept = {run.cell.digest for run in load_results(store.root).runs}
    if not kept <= asked:
        raise StoreError(
            "the folder holds a study with other settings",
            place=str(store.root),
            got=f"{len(kept - asked)} runs that these settings do not ask for",
            fix="resume with the settings it was started with, or choose another --out DIR",
        )


def check_same_names(store: Store, how: RunOptions) -> None:
    """Refuse to resume with other names of sites than those in the records that are there.

    Raises:
        StoreError: one has pseudonyms, and the other has not.
    """
    if bool(store.read_plan().get("pseudonyms", False)) != how.pseudonyms:
        raise StoreError(
            "the records here call the sites otherwise",
            place=str(store.root),
            fix="resume with --pseudonyms where it was started so, or choose another --out DIR",
        )


def execute(
    plan: Plan,
    store: Store,
    how: RunOptions,
    listener: Listener = lambda _: None,
    where: Where = HERE,
) -> Results:
    """Run a prepared plan, or a share of it, in its results folder; return what that holds.

    Raises:
        StoreError: another process is writing there, or the disk is full.
        ConfigError: the cluster does not let us in.
    """
    shard = where.shard
    root = store.open().root
    held = locked(root) if shard is None else shared(root)
    with held, joined(where.cluster) as bridge:
        # Another process may have come and gone since it was prepared.
        check_room(store, plan, how, where)
        if shard is None:
            store.tidy()  # what other shares are writing may be another machine's
        if shard is None or not store.used:
            store.write_plan(plan_table(plan, how.engine, pseudonyms=how.pseudonyms))
        run_plan(
            plan,
            store,
            jobs=how.jobs if bridge else how.jobs or 1,
            engine=how.engine,
            device=how.device,
            resume=how.resume or shard is not None,
            pseudonyms=how.pseudonyms,
            shard=shard,
            bridge=bridge,
            listener=listener,
        )
        if plan.study.devices and (shard is None or shard.number == 1):
            measure_devices(plan, store, pseudonyms=how.pseudonyms)
        return load_results(root)

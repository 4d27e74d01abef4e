"""``asepsis run``, ``sweep`` and ``report``."""

from __future__ import annotations

import json
import math
import re
import shlex
import sys
import time
import tomllib
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asepsis.core.errors import ConfigError
from asepsis.core.trust import trusting_code

if TYPE_CHECKING:
    from asepsis.experiments.plan import Plan
    from asepsis.experiments.results import Results
    from asepsis.experiments.run import RunOptions
    from asepsis.experiments.spec import Study

WITH_PATIENTS = "report-with-patient-data.html"
DATASET = re.compile(r"^((?:--set=|--over=)?dataset\.(?:path|labels|metadata|sites)=).*", re.DOTALL)
"""A setting that may name a file of patients' data."""
Name = Annotated[str, typer.Argument(help="A study (see: asepsis list studies) or a .toml file.")]
Profile = Annotated[
    str | None, typer.Option(help="quick (default), full, paper, ...; asepsis list studies.")
]
Seeds = Annotated[int | None, typer.Option(min=1, help="Number of seeds, 0 to N-1.")]
Jobs = Annotated[int | None, typer.Option(min=1, help="Worker processes; all cores by default.")]
Device = Annotated[str, typer.Option(help="Where training runs: cpu, cuda, ...")]
Engine = Annotated[str, typer.Option(help="serial, threads, pool, batched or flower.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="key=value, e.g. federation.rounds=50.")
]
Out = Annotated[Path | None, typer.Option(help="Results folder; results/NAME/TIME by default.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on where a stopped run was.")]
Estimated = Annotated[
    bool, typer.Option("--estimate", help="Only say how long it would take; run nothing.")
]
TrustCode = Annotated[
    bool, typer.Option("--trust-code", help="Let networks of yours run; see: show model module.")
]
Pseudonyms = Annotated[
    bool, typer.Option("--pseudonyms", help='Call the sites "site 1", "site 2", ...')
]
ShareOf = Annotated[
    str | None, typer.Option("--shard", help="i/n: only share i of n; machines share a sweep out.")
]
ClusterAt = Annotated[
    str | None, typer.Option("--cluster", help="HOST:PORT of a Ray cluster of yours, with a token.")
]
WithoutToken = Annotated[
    bool,
    typer.Option("--cluster-without-token", help="The cluster is on loopback and has no token."),
]
Superlink = Annotated[
    str | None,
    typer.Option(help="With --engine flower: a running SuperLink, HOST:PORT; docs/deploy.md."),
]
Authority = Annotated[
    Path | None, typer.Option("--root-certificates", help="The SuperLink's authority (ca.crt).")
]
Insecure = Annotated[bool, typer.Option("--insecure", help="The SuperLink has no TLS.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document, no tables.")]


def run(
    name: Name,
    profile: Profile = None,
    seeds: Seeds = None,
    jobs: Jobs = None,
    device: Device = "cpu",
    engine: Engine = "threads",
    settings: Settings = None,
    out: Out = None,
    resume: Resume = False,
    estimate: Estimated = False,
    trust_code: TrustCode = False,
    pseudonyms: Pseudonyms = False,
    shard: ShareOf = None,
    cluster: ClusterAt = None,
    cluster_without_token: WithoutToken = False,
    superlink: Superlink = None,
    root_certificates: Authority = None,
    insecure: Insecure = False,
    json_: Json = False,
) -> None:
    """Run a study or an experiment: attack, defend, measure, report."""
    chosen = assignments(settings)
    if superlink is not None:
        from asepsis.cli.deploy import Link, elsewhere

        link = Link(superlink, root_certificates, insecure)
        _refuse_beside(superlink, engine, device, [estimate, trust_code, shard, cluster])
        flags = {"resume": resume, "pseudonyms": pseudonyms, "json_": json_}
        elsewhere(name, profile, seeds, chosen, link, out, **flags)
        return
    if root_certificates is not None or insecure:
        raise ConfigError("no SuperLink is named", place="run", fix="give --superlink HOST:PORT")
    with trusting_code(trust_code):
        how = (seeds, jobs, device, engine, out, resume, estimate, json_, pseudonyms)
        where = (shard, cluster, cluster_without_token)
        _perform(name, profile, chosen, *how, *where)


def _refuse_beside(superlink: str, engine: str, device: str, others: list[object]) -> None:
    if engine != "flower":
        raise ConfigError(
            "a SuperLink is for the engine flower",
            place="--superlink",
            got=superlink,
            fix="add --engine flower",
        )
    if device != "cpu" or any(others):
        raise ConfigError(
            "--device, --estimate, --trust-code, --shard and --cluster are for this machine",
            place="--superlink",
            got=superlink,
        )


def sweep(
    name: Name,
    over: Annotated[
        list[str] | None, typer.Option(help="key=value,value,...: an axis; may be repeated.")
    ] = None,
    profile: Profile = None,
    seeds: Seeds = None,
    jobs: Jobs = None,
    device: Device = "cpu",
    engine: Engine = "threads",
    settings: Settings = None,
    out: Out = None,
    resume: Resume = False,
    estimate: Estimated = False,
    trust_code: TrustCode = False,
    pseudonyms: Pseudonyms = False,
    shard: ShareOf = None,
    cluster: ClusterAt = None,
    cluster_without_token: WithoutToken = False,
    json_: Json = False,
) -> None:
    """Run an experiment for every combination of settings: its own axes, or those of --over."""
    chosen = assignments(settings)
    if over:
        chosen["over"] = dict(_axis(item) for item in over)
    else:
        _check_axes(name, profile)
    with trusting_code(trust_code):
        how = (seeds, jobs, device, engine, out, resume, estimate, json_, pseudonyms)
        where = (shard, cluster, cluster_without_token)
        _perform(name, profile, chosen, *how, *where)


def _check_axes(name: str, profile: str | None) -> None:
    """Refuse to sweep what is a single experiment."""
    from asepsis.experiments.plan import load_study

    scenarios = load_study(name, None, profile).scenarios
    if len(scenarios) == 1 and not scenarios[0].over:
        raise ConfigError("no axis to sweep", place="--over", fix="e.g. --over attack=none,ipm")


def report(
    folder: Annotated[Path, typer.Argument(help="A results folder that a run wrote.")],
    json_: Json = False,
    include_patient_data: Annotated[
        bool,
        typer.Option(
            "--include-patient-data", help="Show pictures of data that is not public; asks first."
        ),
    ] = False,
    data: Annotated[
        list[str] | None,
        typer.Option(help="With it: where the data lie (records do not say), PATH or OPTION=PATH."),
    ] = None,
    pseudonyms: Pseudonyms = False,
    yes: Yes = False,
) -> None:
    """Print the tables of a results folder and write its HTML report again."""
    from asepsis.experiments.results import load_results
    from asepsis.experiments.shown import located, under_pseudonyms

    results = load_results(folder)
    shown = include_patient_data and _agreed(results, yes)
    results = located(results, data or []) if shown else results
    tell(under_pseudonyms(results) if pseudonyms else results, folder, json_, shown)


def _agreed(results: Results, yes: bool) -> bool:
    """Ask before patients are shown; public data show none."""
    from asepsis.cli.asking import agreed
    from asepsis.report.provenance import all_public

    if all_public(results):
        return False
    question = "The file will show pictures of patients to whoever opens it. Write it?"
    if not agreed(question, yes=yes):
        raise typer.Exit(1)
    return True


def _perform(
    name: str,
    profile: str | None,
    settings: dict[str, Any],
    seeds: int | None,
    jobs: int | None,
    device: str,
    engine: str,
    out: Path | None,
    resume: bool,
    estimate: bool,
    json_: bool,
    pseudonyms: bool,
    shard: str | None,
    cluster: str | None,
    without_token: bool,
) -> None:
    folder = out
    try:
        from asepsis.api import Where, execute, prepare
        from asepsis.cli.progress import Bars
        from asepsis.engines.worker import cores
        from asepsis.experiments.library import DEFAULT_PROFILE
        from asepsis.experiments.patients import screened
        from asepsis.experiments.plan import load_study, plan_study
        from asepsis.experiments.run import RunOptions
        from asepsis.experiments.sifting import sifted

        where = Where.of(shard, cluster, without_token=without_token)
        where.check(engine, out)
        if seeds is not None:
            settings["seeds"] = list(range(seeds))
        study = load_study(name, settings, profile)
        folder = out or folder_of(shown_name(study), resume)
        how = RunOptions(
            engine=engine,
            device=device,
            jobs=jobs or (None if where.cluster else cores()),
            resume=resume,
            pseudonyms=pseudonyms,
        )
        plan = screened(sifted(plan_study(study), engine), pseudonyms=pseudonyms)
        store = prepare(plan, folder, how, where)
        mine = plan if where.shard is None else where.shard.part(plan)
        if estimate or study.profile not in ("", DEFAULT_PROFILE):
            _foretell(mine, how, only=estimate, json_=json_)
        if estimate:
            return
        with Bars(mine, quiet=json_) as bars:
            results = execute(plan, store, how, bars.listen, where)
        if where.shard is not None and _share_told(results, mine, str(where.shard), json_):
            return
        tell(results, folder, json_)
    except KeyboardInterrupt:
        begun = folder is not None and (folder / "study.json").exists()
        way = f"; go on with: {again(out, folder)}" if begun else " before anything was written"
        typer.echo(f"asepsis: stopped{way}", err=True)
        raise typer.Exit(130) from None
    if all(run.footer["status"] in ("error", "missing") for run in results.runs):
        raise ConfigError("no run ended with figures", place=str(folder))


def _foretell(plan: Plan, how: RunOptions, *, only: bool, json_: bool) -> None:
    """Say how long a plan will take, on standard output where nothing else is asked for."""
    from asepsis.experiments.estimate import estimate

    if not json_:
        typer.echo("Timing one round of every experiment ...", err=True)
    found = estimate(plan, how)
    if only and json_:
        typer.echo(json.dumps(asdict(found)))
    elif only or not json_:
        typer.echo(f"{str(found)[:1].upper()}{str(found)[1:]}.", err=not only)


def again(out: Path | None, folder: Path | None) -> str:
    """Return the command that goes on with what this one began."""
    words = ["asepsis", *(DATASET.sub(r"\1...", word) for word in sys.argv[1:])]
    words += [] if out else ["--out", str(folder)]
    return shlex.join(words + ([] if "--resume" in words else ["--resume"]))


def _share_told(results: Results, mine: Plan, shard: str, json_: bool) -> bool:
    """Say what a share has done, unless no other one is missing: then the whole is to be told.

    Raises:
        ConfigError: it had runs, and none of them ended with figures.
    """
    missing = sum(run.footer["status"] == "missing" for run in results.runs)
    own = {cell.digest for cell in mine.cells}
    done = sum(run.ok for run in results.runs if run.cell.digest in own)
    if own and not done:
        raise ConfigError("no run ended with figures", place=str(results.root))
    if not missing:
        return False
    if json_:
        told = {"shard": shard, "done": done, "of": len(own), "missing": missing}
        typer.echo(json.dumps(told))
        return True
    text = f"share {shard}: {done} of its {len(own)} runs ended with figures; {missing} of other "
    typer.echo(f"{text}shares are not in {results.root}")
    return True


def tell(results: Results, folder: Path, json_: bool, include_patient_data: bool = False) -> None:
    """Write the report of a results folder and print its tables, or one JSON document."""
    from rich.console import Console

    from asepsis.experiments.saving import saved_in_all
    from asepsis.report.html import write_report
    from asepsis.report.terminal import print_results

    saving = saved_in_all((run.lines, run.cell.spec.threat.starts_at) for run in results.runs)
    page = folder / (WITH_PATIENTS if include_patient_data else "report.html")
    path = write_report(results, page, include_patient_data=include_patient_data)
    if json_:
        rows = results.frame().to_dict(orient="records")
        found: dict[str, Any] = {"report": str(path), "runs": [_plain(row) for row in rows]}
        found["before_attack"] = asdict(saving)
        typer.echo(json.dumps(found, allow_nan=False))
        return
    print_results(results, Console())
    typer.echo("")
    if saving:
        typer.echo(f"{str(saving)[0].upper()}{str(saving)[1:]}.")
    typer.echo(str(path))


def _plain(row: dict[Any, Any]) -> dict[str, Any]:
    return {
        str(key): None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in row.items()
    }


def shown_name(study: Study) -> str:
    """Name a results folder: profiles but the first keep their runs apart."""
    return study.name if study.profile in ("", "quick") else f"{study.name}-{study.profile}"


def folder_of(study: str, resume: bool) -> Path:
    """Return where a study's results go when no place is named; the latest to go on with."""
    base = Path("results") / (re.sub(r"[^\w-]+", "-", study).strip("-") or "study")
    if resume:
        earlier = sorted(path.parent for path in base.glob("*/study.json"))
        if earlier:
            return earlier[-1]
    return base / time.strftime("%Y%m%d-%H%M%S")


def assignments(items: list[str] | None) -> dict[str, Any]:
    """Read what ``--set`` was given."""
    return dict(_assignment(item, "--set") for item in items or [])


def _assignment(item: str, option: str) -> tuple[str, Any]:
    key, equals, text = item.partition("=")
    if not equals or not key:
        raise ConfigError("not of the form key=value", place=option, got=item)
    return key, _value(text)


def _axis(item: str) -> tuple[str, list[Any]]:
    key, equals, text = item.partition("=")
    if not equals or not key:
        raise ConfigError("not of the form key=value,value", place="--over", got=item)
    listed = _value(f"[{text}]")
    values = listed if isinstance(listed, list) else [_value(part) for part in text.split(",")]
    return key, [[value] for value in values] if key == "defenses" else values


def _value(text: str) -> Any:
    """Read a TOML value; anything else is text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):  # no TOML, or an endless number
        return text

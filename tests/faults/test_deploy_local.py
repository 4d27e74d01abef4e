"""A rehearsal on loopback: what listens, who gets in, and what is left when parts of it die."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sockets import listening
from test_deploy_keeper import alive, soon

from asepsis.deploy import flower
from asepsis.deploy.app import write_app
from asepsis.deploy.certificates import make_node, make_server
from asepsis.deploy.keeper import below
from asepsis.deploy.local import Local, local
from asepsis.deploy.processes import ProcessError
from asepsis.deploy.texts import Settings
from asepsis.experiments.plan import Plan, plan_study, study_from
from asepsis.experiments.run import RunOptions, run_experiment
from asepsis.experiments.store import Store, read_record, results_of
from asepsis.report.toml_text import study_toml

pytest.importorskip("flwr")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc and prctl"),
]
TABLE = {
    "name": "rehearsal",
    "dataset": "breast-cancer",
    "trainer": {"name": "sgd", "steps": 2},
    "federation": {"hospitals": 2, "rounds": 2},
}


def planned(**changes: object) -> Plan:
    return plan_study(study_from({**TABLE, **changes}, "rehearsal"))


def quiet(_: str) -> None:
    """Hear nothing."""


@pytest.fixture(scope="module")
def up() -> Iterator[Local]:
    with local(2, quiet) as made:
        yield made


def node_of(up: Local, folder: Path, *, authority: Path | None = None, known: bool = True) -> str:
    """Start one more SuperNode that gives up soon; return its name."""
    name = folder.name
    node = up.nodes[0] if known else make_node(folder, "stranger")
    link = replace(up.link, authority=authority or up.link.authority)
    (port,) = flower.free_ports(1)
    config = flower.write_private(folder / "site.toml", "partition-id = 0\n")
    secret = flower.write_private(folder / "secret", b"secret")
    argv = flower.supernode(link, node, config, port, secret)
    env = flower.environment(folder / "home")
    up.kept.start(name, [*argv, "--max-retries=1", "--max-wait-time=5"], env)
    return name


def said(up: Local, name: str, text: str) -> bool:
    return soon(lambda: text in up.kept.log(name).read_text(errors="replace"), 60)


def test_all_that_was_started_listens_on_loopback_alone(up: Local) -> None:
    everyone = below(up.kept.keeper.pid)
    assert set(up.kept.running.values()) <= everyone
    found = listening(everyone)
    ports = [port for places in found.values() for _, port in places]
    assert len(ports) == 3  # the SuperLink's, and each SuperNode's own
    assert all(host.is_loopback for places in found.values() for host, _ in places)
    assert int(up.link.address.rpartition(":")[2]) in ports


def test_the_list_of_sockets_sees_what_is_not_loopback() -> None:
    with socket.socket() as one:
        one.bind(("0.0.0.0", 0))
        one.listen()
        found = listening([os.getpid()])[os.getpid()]
    assert not all(host.is_loopback for host, _ in found)


def test_a_key_that_is_not_registered_is_refused(up: Local, tmp_path: Path) -> None:
    name = node_of(up, tmp_path / "stranger", known=False)
    assert said(up, name, "Failed to activate SuperNode")
    assert "SuperNode ID" not in up.kept.log(name).read_text()


def test_a_server_that_the_authority_does_not_vouch_for_is_refused(
    up: Local, tmp_path: Path
) -> None:
    other = make_server(tmp_path / "other", [flower.LOOPBACK])
    name = node_of(up, tmp_path / "misled", authority=other.authority)
    assert said(up, name, "CERTIFICATE_VERIFY_FAILED")
    assert "SuperNode ID" not in up.kept.log(name).read_text()


def submitted(up: Local, folder: Path, authority: Path) -> subprocess.CompletedProcess[str]:
    """Run an experiment on the SuperLink that is up."""
    (folder / "study.toml").write_text(study_toml(planned().study))
    command = [sys.executable, "-m", "asepsis.cli.main", "run", "study.toml", "--engine", "flower"]
    command += ["--superlink", up.link.address, "--root-certificates", str(authority)]
    return subprocess.run(
        [*command, "--out", "results"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )


def test_a_superlink_by_address_gives_the_records_of_one_process(up: Local, tmp_path: Path) -> None:
    assert up.link.authority is not None
    done = submitted(up, tmp_path, up.link.authority)
    assert done.returncode == 0, done.stderr
    assert "records on" in done.stderr
    (cell,) = planned().cells
    run_experiment(cell.spec, Store(tmp_path / "here").open(), RunOptions(engine="serial"))
    assert records(tmp_path / "results") == records(tmp_path / "here") != {}


def test_a_superlink_with_another_authority_is_not_given_the_app(up: Local, tmp_path: Path) -> None:
    other = make_server(tmp_path / "other", [flower.LOOPBACK])
    done = submitted(up, tmp_path, other.authority)
    assert done.returncode == 2
    assert "the SuperLink did not take the app" in done.stderr
    assert not (tmp_path / "results").exists()


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def deployed(folder: Path, *words: str) -> subprocess.Popen[str]:
    """Start ``asepsis deploy --local 2`` on an experiment in a folder."""
    study = planned()
    (folder / "study.toml").write_text(study_toml(study.study))
    command = [sys.executable, "-m", "asepsis.cli.main", "deploy", "study.toml", "--local", "2"]
    return subprocess.Popen(
        [*command, "--out", "results", *words],
        cwd=folder,
        env={**environment(), "TMPDIR": str(folder / "tmp")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def heard(process: subprocess.Popen[str], text: str) -> list[str]:
    """Read what a process says until it says something."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return lines
    raise AssertionError("".join(lines))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "tmp").mkdir()
    return tmp_path


def records(folder: Path) -> dict[str, list[str]]:
    found = sorted((folder / "runs").glob("*.jsonl"))
    return {path.name: results_of(read_record(path)) for path in found}


def test_a_rehearsal_gives_the_records_of_one_process_and_leaves_nothing(place: Path) -> None:
    process = deployed(place)
    seen: set[bool] = set()
    everyone: set[int] = set()
    assert process.stdout is not None
    for _ in process.stdout:  # at every line that it says, among others one a round
        now = below(process.pid)
        everyone |= now
        seen |= {host.is_loopback for one in listening(now).values() for host, _ in one}
    assert process.wait(30) == 0
    assert seen == {True}
    assert len(everyone) > 8  # keeper, SuperLink, two SuperNodes, their apps' runners, apps
    assert soon(lambda: not any(alive(pid) for pid in everyone))
    assert not list((place / "tmp").iterdir())
    (cell,) = planned().cells
    run_experiment(cell.spec, Store(place / "here").open(), RunOptions(engine="serial"))
    assert records(place / "results") == records(place / "here") != {}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killing_the_launcher_in_a_round_leaves_nothing(place: Path, number: int) -> None:
    process = deployed(place)
    heard(process, "are ready")
    everyone = below(process.pid)
    assert len(everyone) > 5
    process.send_signal(number)
    process.wait(30)
    assert soon(lambda: not any(alive(pid) for pid in everyone))
    assert soon(lambda: not list((place / "tmp").glob("asepsis-deploy-*")))


def test_ctrl_c_says_how_to_go_on_and_resuming_gives_the_same_records(place: Path) -> None:
    process = deployed(place)
    heard(process, "round 1 of 2")
    everyone = below(process.pid)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "go on with: asepsis deploy study.toml --local 2 --out results --resume" in out
    assert not any(alive(pid) for pid in everyone)
    assert not list((place / "tmp").iterdir())
    again = deployed(place, "--resume")
    out, _ = again.communicate(timeout=600)
    assert again.returncode == 0, out
    (cell,) = planned().cells
    run_experiment(cell.spec, Store(place / "here").open(), RunOptions(engine="serial"))
    assert records(place / "results") == records(place / "here") != {}


@pytest.mark.parametrize("name", ["superlink", "supernode-1", "superlink-apps"])
def test_killing_a_part_ends_the_rehearsal_with_a_clear_message(tmp_path: Path, name: str) -> None:
    plan = planned()
    app = write_app(study_toml(plan.study), plan, tmp_path / "app")

    def kill(line: str) -> None:
        if "are ready" in line:
            os.kill(made.kept.running[name], signal.SIGKILL)

    with local(2, quiet) as made:
        everyone = below(made.kept.keeper.pid)
        with pytest.raises(ProcessError, match=f"{name} ended: killed by signal 9"):
            made.play(app, Settings(str(tmp_path / "results")), kill)
    assert not any(alive(pid) for pid in everyone)
    assert not made.kept.folder.exists()

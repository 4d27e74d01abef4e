"""Purging deletes what asepsis wrote in a results folder, and nothing anywhere else."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest
from cli_command import asepsis, toml

from asepsis.core.errors import StoreError
from asepsis.experiments.locks import LOCKS
from asepsis.experiments.purge import plan_purge, purge


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    image = toml(
        folder,
        dataset='{ name = "phantom", n = 120, size = 16 }',
        attack='"badnets"',
        threat="{ hostile = 1, starts_at = 1 }",
        federation="{ hospitals = 3, rounds = 2 }",
        extra='model = "mlp"\nobserve = [{ name = "model-inversion", steps = 5 }]',
    )
    done = asepsis("run", image, "--out", str(folder / "out"), "--jobs", "1", "--engine", "serial")
    assert done.code == 0, done.err
    return folder / "out"


@pytest.fixture
def out(run: Path, tmp_path: Path) -> Path:
    import shutil

    return Path(shutil.copytree(run, tmp_path / "out", symlinks=True))


def files(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir()}


def test_evidence_goes_and_the_record_stays(out: Path) -> None:
    before = files(out)
    assert any(name.startswith("prefixes/") for name in before)
    records = {name: (out / name).read_bytes() for name in before if name.startswith("runs/")}
    done = asepsis("purge", str(out), "--yes")
    assert done.code == 0, done.err
    assert files(out) == {*records, "study.json", *LOCKS}
    assert "prefixes: 2 files" in done.out
    assert "backups" in done.out
    assert asepsis("report", str(out)).code == 0
    assert {name: (out / name).read_bytes() for name in records} == records


def test_all_of_it_goes_when_asked(out: Path) -> None:
    assert asepsis("purge", str(out), "--all", "--yes").code == 0
    assert not out.exists()


def test_bytes_are_counted(out: Path) -> None:
    plan = plan_purge(out, everything=True)
    assert plan.size == sum((out / name).stat().st_size for name in files(out) - set(LOCKS))
    assert plan.foreign == ()


def test_nothing_goes_unasked(out: Path) -> None:
    before = files(out)
    done = asepsis("purge", str(out))
    assert done.code == 2
    assert "--yes" in done.err
    assert files(out) == before


def test_what_asepsis_did_not_write_stays(out: Path) -> None:
    for name in ("notes.txt", "artifacts/mine.docx", "runs/x.txt", "mine/deep/a.safetensors"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("mine")
    done = asepsis("purge", str(out), "--all", "--yes")
    assert files(out) == {
        "notes.txt", "artifacts/mine.docx", "runs/x.txt", "mine/deep/a.safetensors"
    }  # fmt: skip
    assert done.out.count("left alone") == 4


def test_no_link_is_followed(out: Path, tmp_path: Path) -> None:
    treasure = tmp_path / "treasure"
    treasure.mkdir()
    for name in ("a.safetensors", "b.jsonl"):
        (treasure / name).write_text("dear")
    (out / "exports").symlink_to(treasure)
    (out / "artifacts" / "c.safetensors").symlink_to(treasure / "a.safetensors")
    (out / "traces" / "link").symlink_to(treasure)
    assert asepsis("purge", str(out), "--all", "--yes").code == 0
    assert files(treasure) == {"a.safetensors", "b.jsonl"}
    assert (out / "exports").is_symlink()
    assert (out / "artifacts" / "c.safetensors").is_symlink()


def test_a_folder_that_became_a_link_meanwhile_is_left(out: Path, tmp_path: Path) -> None:
    treasure = tmp_path / "treasure"
    (out / "prefixes").rename(treasure)
    os.symlink(treasure, out / "prefixes")
    (out / "prefixes").unlink()
    treasure.rename(out / "prefixes")
    plan = plan_purge(out)
    (out / "prefixes").rename(treasure)
    os.symlink(treasure, out / "prefixes")
    purge(plan)
    assert len(files(treasure)) == 2


def test_only_a_results_folder_is_purged(out: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "report.html").write_text("mine")
    link = tmp_path / "link"
    link.symlink_to(out)
    odd = tmp_path / "odd"
    odd.mkdir()
    (odd / "study.json").write_text('{"name": "another program"}')
    for place, words in ((plain, "no results"), (link, "link"), (odd, "no results")):
        done = asepsis("purge", str(place), "--all", "--yes")
        assert done.code == 2
        assert words in done.err
    assert asepsis("purge", str(tmp_path / "nowhere"), "--yes").code == 2
    assert (plain / "report.html").exists()
    assert "report.html" in files(out)


def test_a_folder_in_use_is_left(out: Path) -> None:
    plan = plan_purge(out)
    with (out / ".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(StoreError, match="another asepsis is writing here"):
            purge(plan)
    assert "report.html" in files(out)


def test_what_was_exported_and_tracked_into_the_folder_goes_too(out: Path) -> None:
    for words in (
        ("export", str(out), "--out", str(out / "exports"), "--format", "csv,latex"),
        ("frame", str(out), "--out", str(out / "exports" / "runs.csv")),
        ("track", str(out), "--to", "tensorboard"),
    ):
        done = asepsis(*words)
        assert done.code == 0, done.err
    assert any(name.startswith("tensorboard/") for name in files(out))
    assert plan_purge(out).foreign == ()
    assert asepsis("purge", str(out), "--yes").code == 0
    assert not (out / "exports").exists()
    assert asepsis("purge", str(out), "--all", "--yes").code == 0
    assert not out.exists()


@pytest.fixture
def assessed(run: Path, tmp_path: Path) -> Path:
    import shutil

    root = tmp_path / "assessed"
    for step in ("today", "search-1", "final"):
        shutil.copytree(run, root / step)
    (root / "progress.json").write_text('{"asked": "", "spent": 0.0, "decisions": {}}')
    for name in ("report.html", "assessment.json", "junit.xml", "recommended.toml"):
        (root / name).write_text("written")
    return root


def test_an_assessment_goes_as_a_whole(assessed: Path) -> None:
    plan = plan_purge(assessed, everything=True)
    assert plan.foreign == ()
    assert {path.relative_to(assessed).as_posix() for path in plan.files} == {
        name for name in files(assessed) if not name.endswith(".lock")
    }
    assert asepsis("purge", str(assessed), "--all", "--yes").code == 0
    assert not assessed.exists()


def test_evidence_of_an_assessment_goes_and_its_records_stay(assessed: Path) -> None:
    assert asepsis("purge", str(assessed), "--yes").code == 0
    left = files(assessed)
    assert {"progress.json", "assessment.json", "today/study.json"} <= left
    assert not [name for name in left if name.endswith((".html", ".safetensors"))]
    assert [name for name in left if name.startswith("final/runs/")]


def test_beside_an_assessment_nothing_else_goes(assessed: Path, tmp_path: Path) -> None:
    (tmp_path / "dear").mkdir()
    for name in ("study.json", "report.html"):
        (tmp_path / "dear" / name).write_text((assessed / "today" / "study.json").read_text())
    (assessed / "search-2").symlink_to(tmp_path / "dear")
    (assessed / "mine").mkdir()
    for name in ("mine/report.html", "notes.json", "final/notes.txt"):
        (assessed / name).write_text("mine")
    assert asepsis("purge", str(assessed), "--all", "--yes").code == 0
    assert files(assessed) == {"mine/report.html", "notes.json", "final/notes.txt"}
    assert (assessed / "search-2").is_symlink()
    assert files(tmp_path / "dear") == {"study.json", "report.html"}


def test_what_only_looks_like_an_assessment_stays(tmp_path: Path) -> None:
    for text in ("{}", "[" * 100_000, "no JSON"):
        (tmp_path / "progress.json").write_text(text)
        with pytest.raises(StoreError, match="nothing is deleted"):
            plan_purge(tmp_path, everything=True)

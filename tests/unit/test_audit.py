"""The audit of dependencies finds what it says it does; the project's own passes in ./check."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import audit
from audit_advisories import Advisory, affected, read_advisories
from audit_imports import strangers, unused
from audit_licenses import Policy, allowed, license_of, refused
from audit_pins import Installed, declared, differing, needed, read_pins

ROOT = Path(__file__).resolve().parents[2]
POLICY = Policy.read(ROOT / "scripts" / "licenses.toml")


def asked(*lines: str, extra: str = "") -> dict[str, list[Requirement]]:
    return {extra: [Requirement(line) for line in lines]}


def installed(*packages: Installed) -> dict[str, Installed]:
    return {package.name: package for package in packages}


def advisory(**changed: str) -> Advisory:
    told = {"id": "CVE-1", "package": "left", "fixed": "2.0", "what": "it bites", **changed}
    return Advisory(**told, reviewed=read_advisories(ROOT / "scripts/advisories.toml")[0].reviewed)


def test_what_is_reached_is_followed_through_extras_and_markers() -> None:
    packages = installed(
        Installed(
            name="left",
            version="1.0",
            requires=("middle; extra == 'more'", "never; python_version < '3'", "absent"),
        ),
        Installed(name="middle", version="1.0", requires=("right>=1",)),
        Installed(name="right", version="1.0", requires=("left",)),
        Installed(name="never", version="1.0"),
    )
    assert set(needed(asked("left"), packages)) == {"left"}
    assert set(needed(asked("Left[more]"), packages)) == {"left", "middle", "right"}


def test_a_package_that_is_not_pinned_or_differs_is_found() -> None:
    reached = installed(
        Installed(name="left", version="1.0+cpu"),
        Installed(name="middle", version="1.1"),
        Installed(name="right", version="2.0"),
    )
    found = differing(reached, {"left": "1.0", "middle": "1.2"})
    assert [line.partition(":")[0] for line in found] == ["middle", "right"]
    assert "1.1 is installed, 1.2 is pinned" in found[0]


@pytest.mark.parametrize(
    "line",
    ["left", "left>=1.0", "left==1.*", "left @ file:///tmp/left.whl", "left==1.0; x", "-r a"],
)
def test_only_exact_pins_may_stand_among_the_constraints(line: str) -> None:
    assert read_pins(f"# a remark\nright==1.0\n{line}\n")[1]


def test_a_package_pinned_twice_is_found() -> None:
    assert read_pins("left-pad==1.0\nLeft_Pad==1.1")[1] == [
        "constraints.txt: Left_Pad is pinned twice"
    ]
    assert read_pins("a==1.0  # why\n\nB_b==2")[0] == {"a": "1.0", "b-b": "2"}


@pytest.mark.parametrize(
    ("expression", "fine"),
    [
        ("MIT", True),
        ("GPL-3.0-only", False),
        ("AGPL-3.0-or-later", False),
        ("LGPL-2.1-only", False),
        ("MIT OR GPL-3.0-only", True),
        ("GPL-3.0-only OR MIT", True),
        ("MIT AND GPL-3.0-only", False),
        ("GPL-3.0-only AND MIT OR ISC", True),
        ("GPL-3.0-only AND (MIT OR ISC)", False),
        ("(MIT OR GPL-2.0-only) AND ISC", True),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("Apache-2.0 WITH anything", False),
        ("MIT AND", False),
        ("(MIT", False),
        ("MIT ISC", False),
        ("", False),
    ],
)
def test_expressions_of_licenses_are_read_as_written(expression: str, fine: bool) -> None:
    assert allowed(expression, POLICY) is fine


def test_older_ways_to_say_a_license_are_understood() -> None:
    trove = "License :: OSI Approved :: "
    bsd = Installed(name="a", version="1", classifiers=(trove + "BSD License", "Topic :: Other"))
    both = Installed(
        name="a",
        version="1",
        classifiers=(trove + "MIT License", trove + "GNU General Public License v3 (GPLv3)"),
    )
    text = Installed(name="a", version="1", license="apache 2.0\nand much more")
    assert license_of(bsd, POLICY) == "BSD-3-Clause"
    assert not refused([bsd, text], POLICY)
    assert refused([both], POLICY)
    assert "not said" in refused([Installed(name="a", version="1")], POLICY)[0]


def test_a_review_holds_for_one_package_and_one_license() -> None:
    reviewed = Policy(POLICY.permissive, {}, {"left": "MPL-2.0"})
    assert not refused([Installed(name="left", version="1", expression="MPL-2.0")], reviewed)
    assert refused([Installed(name="right", version="1", expression="MPL-2.0")], reviewed)
    assert refused([Installed(name="left", version="1", expression="GPL-3.0-only")], reviewed)


def test_a_review_gives_its_reason(tmp_path: Path) -> None:
    text = (ROOT / "scripts" / "licenses.toml").read_text(encoding="utf-8")
    path = tmp_path / "licenses.toml"
    path.write_text(re.sub(r'reason = ".*"', 'reason = " "', text, count=1))
    with pytest.raises(ValueError, match="no reason"):
        Policy.read(path)


def test_imports_and_declarations_are_held_against_each_other(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text(
        "import os, PIL.Image\nfrom asepsis import api\ndef f():\n    from foreign.part import x\n"
    )
    (tmp_path / "two.py").write_text("load = ['captum.attr', 'no module: spare']\n")
    wanted = {**asked("pillow", "captum", "spare"), **asked("ruff", extra="dev")}
    assert strangers(tmp_path, wanted) == [
        "one.py: imports foreign, which pyproject.toml does not declare"
    ]
    assert unused(tmp_path, wanted) == ["spare: declared in pyproject.toml, and nothing imports it"]
    assert strangers(tmp_path, {**wanted, **asked("foreign", extra="dev")})  # a tool is no use


def test_a_pin_with_an_advisory_is_found_whatever_is_reached() -> None:
    for unreached in ("", "nobody calls it"):
        known = advisory(unreached=unreached)
        assert affected([known], {"left": "1.9"}, asked("left>=2.0"))
        assert not affected([known], {"left": "2.0"}, asked("left>=2.0"))


def test_a_lower_bound_with_an_advisory_is_found_unless_it_is_unreached() -> None:
    pins = {"left": "2.1"}
    (found,) = affected([advisory()], pins, asked("left>=1.5,<3", extra="more"))
    assert found == (
        "left: 1.5 is allowed by the extra more and has CVE-1 (it bites); it is fixed in 2.0"
    )
    assert not affected([advisory(introduced="1.6")], {}, asked("left>=1.5"))
    assert not affected([advisory(unreached="nobody calls it")], pins, asked("left>=1.5"))
    assert affected([], pins, asked("left<3")) == ["left: no lower bound in pyproject.toml"]


def test_advisories_for_what_nothing_needs_are_found() -> None:
    assert affected([advisory()], {"right": "1.0"}, asked("right>=1.0"))


def test_the_advisories_kept_are_well_formed_and_named_once() -> None:
    known = read_advisories(ROOT / "scripts" / "advisories.toml")
    assert len({(each.id, each.package) for each in known}) == len(known) > 40
    for each in known:
        assert re.fullmatch(r"CVE-\d{4}-\d{4,}|GHSA(-[0-9a-z]{4}){3}|PYSEC-\d{4}-\d+", each.id)


def torch_at(tmp_path: Path, text: str) -> PathDistribution:
    (tmp_path / "torch").mkdir(exist_ok=True)
    (tmp_path / "torch" / "version.py").write_text(text)
    return PathDistribution(tmp_path / "torch-2.0.dist-info")


def test_a_build_for_cuda_is_found(tmp_path: Path) -> None:
    assert not audit.cuda([torch_at(tmp_path, "cuda: Optional[str] = None\nhip = '6'\n")])
    (found,) = audit.cuda([torch_at(tmp_path, "cuda: Optional[str] = '13.0'\n")])
    assert "CUDA 13.0" in found


def test_a_finding_makes_the_audit_fail(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(audit, "audit", lambda root, installed: [])
    monkeypatch.setattr(audit, "cuda", lambda found: ["torch: built for CUDA"])
    monkeypatch.delenv("CI", raising=False)
    assert audit.main([]) == 0
    assert "0 findings; " in capsys.readouterr().out
    monkeypatch.setenv("CI", "true")
    assert audit.main([]) == 1
    assert "1 findings; " in capsys.readouterr().out


def test_the_whole_audit_reads_the_project_that_it_is_given(tmp_path: Path) -> None:
    (tmp_path / "src" / "asepsis").mkdir(parents=True)
    (tmp_path / "scripts").mkdir()
    for name in ("licenses.toml", "advisories.toml"):
        (tmp_path / "scripts" / name).write_bytes((ROOT / "scripts" / name).read_bytes())
    (tmp_path / "src" / "asepsis" / "code.py").write_text("import torch\nimport foreign\n")
    (tmp_path / "constraints.txt").write_text("torch==2.5.0\n")
    (tmp_path / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools>=83"]\n'
        '[project]\nname = "asepsis"\ndependencies = ["torch>=2.13", "scipy>=1"]\n'
        '[project.optional-dependencies]\nall = ["asepsis[more]"]\n'
    )
    found = "\n".join(
        audit.audit(
            tmp_path,
            installed(
                Installed(
                    name="torch", version="2.13.0", expression="GPL-3.0-only", requires=("a",)
                ),
                Installed(name="a", version="1.0", expression="MIT"),
                Installed(name="bystander", version="1.0"),
            ),
        )
    )
    for line in (
        "torch: 2.13.0 is installed, 2.5.0 is pinned",
        "a: 1.0 is installed, constraints.txt lacks it",
        "torch: its license is GPL-3.0-only",
        "imports foreign",
        "scipy: declared",
        "torch: 2.5.0 is pinned and has CVE-2025-32434",
    ):
        assert line in found
    assert "bystander" not in found


def test_the_project_pins_and_allows_no_known_advisory() -> None:
    wanted = declared(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8")))
    pins, malformed = read_pins((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    known = read_advisories(ROOT / "scripts" / "advisories.toml")
    assert malformed == []
    assert affected(known, pins, wanted) == []

"""``asepsis epsilon``: both ways, everything that an epsilon belongs to, and bad input."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from cli_command import asepsis, refused

import asepsis as package

PLAN = ("--sample-rate", "0.01", "--steps", "10000")


def test_noise_to_budget_names_what_the_budget_belongs_to() -> None:
    done = asepsis("epsilon", "--noise-multiplier", "4", *PLAN)
    assert done.code == 0
    lines = dict(line.split(maxsplit=1) for line in done.out.splitlines())
    assert lines["epsilon"] == "1.035"
    assert lines["unit"] == "one record"
    assert lines["neighbors"] == "add or remove one"
    assert "Poisson" in lines["sampling"]
    assert lines["delta"] == "1e-05"
    assert lines["accountant"] == "rdp"


def test_budget_to_noise_and_back() -> None:
    found = json.loads(asepsis("epsilon", "--epsilon", "2", *PLAN, "--json").out)
    back = package.epsilon(
        noise_multiplier=found["noise_multiplier"], sample_rate=0.01, steps=10_000, delta=1e-5
    )
    assert 1.99 < back <= 2
    assert found["epsilon"] == back
    assert found["sampling"] == "poisson"


def test_a_patient_with_several_records_is_told_apart_from_a_record() -> None:
    how = ("--noise-multiplier", "4", *PLAN)
    patient = asepsis("epsilon", *how, "--unit", "patient", "--records", "3")
    assert "one patient of up to 3 records" in patient.out
    one = json.loads(asepsis("epsilon", *how, "--json").out)["epsilon"]
    three = json.loads(asepsis("epsilon", *how, "--records", "3", "--json").out)["epsilon"]
    assert three > 3 * one


def test_without_sampling_no_amplification_is_claimed() -> None:
    done = asepsis("epsilon", "--noise-multiplier", "4")
    assert "no amplification" in done.out


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--epsilon", "1", "--noise-multiplier", "1"),
        ("--epsilon", "-1"),
        ("--epsilon", "nan"),
        ("--noise-multiplier", "1", "--delta", "2"),
        ("--noise-multiplier", "1", "--sample-rate", "1.5"),
        ("--noise-multiplier", "1", "--accountant", "gdp"),
        ("--noise-multiplier", "1", "--records", "0"),
        ("--noise-multiplier", "1", "--unit", "patient"),
        ("--epsilon", "1e-12", "--steps", "100000", "--delta", "1e-30"),
    ],
)
def test_bad_input_is_refused(words: tuple[str, ...]) -> None:
    assert refused(asepsis("epsilon", *words))


@pytest.mark.parametrize("accountant", ["rdp", "prv"])
@pytest.mark.parametrize("noise", ["0", "1e-200", "1e-10", "1e-8", "1e-4"])
def test_next_to_no_noise_is_a_huge_epsilon_or_none(noise: str, accountant: str) -> None:
    how = ("--noise-multiplier", noise, "--sample-rate", "0.1", "--accountant", accountant)
    done = asepsis("epsilon", *how, "--json")
    if done.code != 0:
        assert (accountant, noise) in [("prv", "1e-8"), ("prv", "1e-4")]
        assert refused(done)
        return
    found = json.loads(done.out)["epsilon"]
    assert found is None or found > 1e6


def test_no_other_unit_is_promised_anything() -> None:
    assert asepsis("epsilon", "--noise-multiplier", "1", "--unit", "ward").code == 2


def test_a_patient_of_one_record_is_said_so() -> None:
    how = ("--noise-multiplier", "4", *PLAN, "--unit", "patient")
    assert "one patient of one record" in asepsis("epsilon", *how, "--records", "1").out


def test_importing_the_package_loads_neither_torch_nor_opacus() -> None:
    program = (
        "import sys, asepsis, asepsis.cli.main;"
        "print([name for name in ('torch', 'opacus', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr

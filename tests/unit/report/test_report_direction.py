"""A figure of which less is better: harm is a rise, beside what it is without an attack."""

from __future__ import annotations

import io
import math
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from report_study import CLASSES, FLIP, PATCH, SEEDS, experiment, record
from rich.console import Console

from asepsis.experiments.claims import Outcome, measured
from asepsis.experiments.figures import check_figures, generated
from asepsis.experiments.plan import Cell, probe_name
from asepsis.experiments.recovery import recovered
from asepsis.experiments.results import Results, Run
from asepsis.experiments.spec import Claim, Component, Scenario, Study
from asepsis.federation.generating.memory import memory
from asepsis.report.claimed import claims_grid
from asepsis.report.defended import defenses_grid
from asepsis.report.findings import Finding, Verdict, scenarios
from asepsis.report.html import render
from asepsis.report.sections import findings_grid, tile
from asepsis.report.sentences import headline, told
from asepsis.report.terminal import print_results
from asepsis.report.wording import Scale

CLEAN = 2.0
JITTER = (-0.02, 0.0, 0.02)
FLOOR = f"floor/{probe_name(PATCH)}"


def run(
    attack: str, component: Component | None, rule: str, seed: int, tail: dict[str, float]
) -> Run:
    spec = experiment(component, rule, seed, "phantom")
    lines = record(spec, {"collapsed": 0.0, **tail}, classes=CLASSES)
    lines[0]["result"]["resolved"] |= {"primary": "kernel_distance", "hostile": [0]}
    return Run(Cell("federated GAN", attack, rule, seed, spec), lines)


def apart(
    seed: int,
    tail: dict[str, float],
    hospitals: tuple[int, ...] = (0,),
    component: Component | None = None,
) -> Run:
    """A federation without some hospitals."""
    attack = "none" if component is None else str(component["name"])
    made = run(attack, component, "mean", seed, tail)
    stack: tuple[Component, ...] = ({"name": "exclude", "hospitals": hospitals}, {"name": "mean"})
    spec = made.cell.spec.model_copy(update={"defenses": stack})
    made.resolved["defenses"] = [{**stack[0], "knows": ["history"]}, stack[1]]
    return Run(Cell("federated GAN", attack, "exclude + mean", seed, spec), made.lines)


def study(
    attacked: float = 3.0,
    saved: float = 2.02,
    clean: float = CLEAN,
    seeds: tuple[int, ...] = SEEDS,
    claims: tuple[Claim, ...] = (),
    alone: float | None = CLEAN,
    floor: float = math.nan,
) -> Results:
    """Give every rule a twin at ``clean``; the flip is at ``attacked``, at ``saved`` with krum.

    The honest hospitals alone are at ``alone``, or nobody asked what they are at.
    """
    runs = []
    if alone is not None:
        for seed in seeds:
            tail = {"kernel_distance": alone + JITTER[seed], "kernel_floor": floor, FLOOR: 0.02}
            runs.append(apart(seed, tail))
    for rule, distance in (("mean", attacked), ("multi-krum", saved)):
        for seed in seeds:
            off = JITTER[seed]
            runs += [
                run(
                    "none",
                    None,
                    rule,
                    seed,
                    {"kernel_distance": clean + off, "kernel_floor": floor, FLOOR: 0.02},
                ),
                run("label-flip", FLIP, rule, seed, {"kernel_distance": distance + 1.1 * off}),
                run(
                    "badnets",
                    PATCH,
                    rule,
                    seed,
                    {"kernel_distance": distance + 1.1 * off, "asr": 0.4, "backdoor/seen": 0.45},
                ),
            ]
    about = (Scenario(title="federated GAN", experiment=experiment(None, "mean", 0, "phantom")),)
    return Results(Study(name="gan", seeds=seeds, claims=claims, scenarios=about), runs)


def found(results: Results, rule: str = "mean", attack: str = "label-flip") -> Finding:
    finding = scenarios(results)[0].at(attack, rule)
    assert finding is not None
    return finding


@pytest.mark.parametrize(
    ("distance", "verdict"),
    [
        (3.0, Verdict.FELL),
        (2.21, Verdict.FELL),
        (2.15, Verdict.HELD),  # a rise by 7.5 % is shown, and not material
        (1.0, Verdict.HELD),  # better than without an attack
    ],
)
def test_a_material_rise_is_harm_and_a_fall_is_none(distance: float, verdict: Verdict) -> None:
    assert found(study(distance)).verdict is verdict


def test_what_is_material_grows_with_the_clean_distance() -> None:
    small = study(0.030, clean=0.020, saved=0.02, alone=0.020)
    assert found(small).material == pytest.approx(0.002)
    assert found(study(101.0, clean=100.0, alone=100.0)).verdict is Verdict.HELD


def test_beside_a_distance_that_is_not_told_from_zero_nothing_is_decided() -> None:
    assert found(study(3.0, clean=0.0, alone=0.0)).verdict is Verdict.UNCLEAR


def test_a_rise_that_is_little_beside_the_floor_is_no_harm() -> None:
    """Ten times next to nothing is still next to nothing where real images differ by 5."""
    for floor, verdict in ((5.0, Verdict.HELD), (math.nan, Verdict.FELL)):
        finding = found(study(0.4, clean=0.2, alone=0.2, floor=floor))
        assert finding.verdict is verdict
    assert found(study(0.4, clean=0.2, alone=0.2, floor=5.0)).material == pytest.approx(0.5)


def test_harm_is_a_rise_over_what_the_honest_hospitals_have_alone() -> None:
    """Losing the hostile hospital's honest images is not what the attack did."""
    assert found(study(3.0, clean=2.0, alone=3.0)).verdict is Verdict.HELD
    assert found(study(3.0, clean=3.0, alone=2.0)).verdict is Verdict.FELL
    text = "\n".join(told(scenarios(study(3.0, clean=2.0, alone=3.0))[0]))
    assert "a change of +1.000" in text
    assert "to the honest hospitals alone" in text


@pytest.mark.parametrize("page", [True, False])
def test_without_the_honest_hospitals_alone_there_is_no_verdict(*, page: bool) -> None:
    results = study(9.0, alone=None)
    assert found(results).verdict is Verdict.UNCLEAR
    missing = "no twin with equally many honest images in this study"
    assert missing in (render(results) if page else printed(results))
    assert missing in tile(found(results)).lines


@pytest.mark.parametrize(
    ("hospitals", "component", "told_of"),
    [((0,), None, True), ((0,), FLIP, True), ((1,), None, False), ((0, 1), None, False)],
)
def test_companions_leave_out_the_hostile_hospitals_and_nobody_else(
    hospitals: tuple[int, ...], component: Component | None, told_of: bool
) -> None:
    results = study(3.0, alone=None)
    twins = [] if component is None else [None]
    for seed in SEEDS:
        tail = {"kernel_distance": 3.0 + JITTER[seed], FLOOR: 0.02}
        results.runs.extend(apart(seed, tail, hospitals, one) for one in [component, *twins])
    assert found(results).lonely is not told_of


def test_an_oracle_is_named_and_stands_apart_from_defenses() -> None:
    results = study(3.0)
    for seed in SEEDS:
        results.runs.append(apart(seed, {"kernel_distance": 2.0 + JITTER[seed]}, (0,), FLIP))
    finding = found(results, "exclude + mean (oracle)")
    assert finding.verdict is Verdict.ORACLE
    assert tile(finding).tone == "twin"
    assert "exclude" not in headline(results)[0]
    grid = defenses_grid(scenarios(results)[0])
    knows = {row[0].text: row[grid.heads.index("knows")].text for row in grid.rows}
    assert knows["exclude + mean (oracle)"] == "who is hostile"
    # As many claims are corrected for as without it.
    assert found(results).damage.p == found(study(3.0)).damage.p


def test_the_excess_of_generators_is_of_rates_that_are_not_cut_off_at_zero() -> None:
    """Of 45 % seen 10 % are the twin's, whatever the false alarms on real images."""
    results = study()
    probe = f"floor:seen/{probe_name(PATCH)}"
    for item in results.runs:
        if item.cell.attack == "none":
            item.footer["tail"] |= {probe: 0.1, FLOOR: 0.0}
    assert found(results, attack="badnets").excess.mean == pytest.approx(0.35 / 0.9)
    for item in results.runs:
        item.footer["generator"] = {"blind": ["asr"]}
        if item.cell.attack == "badnets":
            item.footer["tail"]["asr"] = math.nan
    assert not found(results, attack="badnets").excess.n


def test_two_seeds_show_nothing() -> None:
    assert found(study(9.0, seeds=(0, 1))).verdict is Verdict.UNCLEAR


def test_words_say_that_it_rose() -> None:
    results = study(saved=2.5)
    assert headline(results)[0].startswith(
        "federated GAN: under the plain mean, label-flip and badnets did harm."
    )
    text = "\n".join(told(scenarios(results)[0]))
    assert "label-flip took kernel distance to 3.000, a change of +1.000 (95%" in text
    assert "With multi-krum kernel distance still rose (change +0.500" in text
    assert "points" not in text
    assert "fell" not in text


def test_the_trigger_is_said_to_be_in_images_and_not_read_by_a_classifier() -> None:
    line = next(line for line in told(scenarios(study())[0]) if "badnets" in line)
    assert "put its trigger into 40.0% of generated images, beyond those on real images" in line
    assert "a generator nobody attacked: 2.0%; excess 38.8%" in line
    assert "read" not in line


def printed(results: Results) -> str:
    out = io.StringIO()
    print_results(results, Console(file=out, width=120, no_color=True))
    return " ".join(out.getvalue().split())


def test_the_terminal_knows_the_direction_and_no_points() -> None:
    text = printed(study())
    assert "kernel distance (lower is better)" in text
    assert "rose" in text
    assert "points" not in text
    assert "generated images in which a detector finds the trigger" in text
    assert "triggered samples" not in text


def test_page_and_tiles_say_rose_with_an_arrow_that_rises() -> None:
    results = study()
    harmed, held = tile(found(results)), tile(found(results, "multi-krum"))
    assert (harmed.verdict, harmed.mark, harmed.tone) == ("rose", "▲", "bad")
    assert (held.verdict, held.tone) == ("held", "good")
    assert "3.000 ±" in harmed.lines[0]
    assert "Δ +1.000" in harmed.lines[1]
    assert "▲ rose" in [row[-1].text for row in findings_grid(scenarios(results)[0]).rows]
    assert "a mean rise by at least 10% of what it is" in render(results)


def test_the_worst_attack_on_a_defense_is_the_one_with_the_largest_distance() -> None:
    results = study()
    for item in results.runs:
        if item.cell.attack == "badnets":
            item.footer["tail"]["kernel_distance"] = 2.5
    cells = [cell.text for cell in defenses_grid(scenarios(results)[0]).rows[0]]
    assert "label-flip" in cells
    assert "badnets" not in cells


def test_what_comes_back_of_a_rise() -> None:
    groups = {(g.attack, g.defense): g for g in study(3.0, saved=2.25).groups()}
    robust, plain = groups["label-flip", "multi-krum"], groups["label-flip", "mean"]
    assert recovered(robust, plain)[1] == pytest.approx(0.75)
    better = {(g.attack, g.defense): g for g in study(1.0).groups()}
    came_back = recovered(better["label-flip", "multi-krum"], better["label-flip", "mean"])
    assert math.isnan(came_back[1]), "where nothing was lost, no share is estimable"


@pytest.mark.parametrize(
    ("prior", "collapsed", "expected"),
    [(None, 0.0, False), (2.1, 0.0, True), (9.0, 0.0, False), (9.0, 1.0, True), (None, 1.0, True)],
)
def test_a_generator_has_learned_when_it_beats_an_untrained_one_and_has_not_collapsed(
    prior: float | None, collapsed: float, expected: bool
) -> None:
    results = study()
    for item in results.runs:
        item.footer["tail"]["collapsed"] = collapsed
        if prior is not None:
            item.footer["prior"] = {"kernel_distance": prior}
    assert found(results).group.undertrained is expected


def claim(metric: str, **about: Any) -> Claim:
    return Claim(says="so", paper=1.0, metric=metric, **{"attack": "label-flip", **about})


def test_claims_compare_distances_and_changes_of_them() -> None:
    claims = (
        claim("utility change", defense="mean"),
        claim("kernel_distance", defense="mean", instead_of="multi-krum"),
    )
    results = study(claims=claims)
    change, gap = measured(results)
    assert change.value.mean == pytest.approx(1.0)
    assert gap.value.mean == pytest.approx(0.98)
    assert gap.outcome is Outcome.MORE
    texts = [row[3].text for row in claims_grid(results).rows]
    assert texts[0].startswith("+1.0000 ±")
    assert texts[1].startswith("higher by 0.980 ±")
    assert not any("points" in text for text in texts)


@pytest.mark.parametrize(
    "metric",
    [
        "kernel_distance",
        "frechet_floor",
        "recall",
        "collapsed",
        "class_diversity",
        "backdoor/true_positives",
        "downstream/synthetic/auroc",
        "downstream/both/balanced_accuracy",
        "memorization/nn_ratio",
        "memorization/memorized_pixels",
        "memorization/floor/memorized",
    ],
)
def test_claims_may_be_about_generated_images(metric: str) -> None:
    check_figures(study(claims=(claim(metric, defense="mean"),)).study)


def test_every_figure_of_what_a_generator_gives_away_is_known() -> None:
    images = torch.rand(12, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    seen = SimpleNamespace(features=lambda part: part.flatten(1).double().numpy())
    made = memory(cast("Any", seen), images[:4], images[4:8], images[8:])
    known = {name for name in generated() if name.startswith("memorization/")}
    assert known == {f"memorization/{beside}{name}" for name in made for beside in ("", "floor/")}


@pytest.mark.parametrize(
    ("name", "label", "value"),
    [
        ("frechet_distance", "Fréchet distance", "0.500"),
        ("downstream/both/auroc", "AUROC, trained on real and synthetic images", "50.0%"),
        ("downstream/real/accuracy", "accuracy, trained on real images", "50.0%"),
        ("memorization/nn_ratio", "nearest-neighbor distance ratio", "0.50"),
        (
            "memorization/floor/nn_ratio",
            "nearest-neighbor distance ratio of real images nobody trained on",
            "0.50",
        ),
        ("backdoor/seen", "trigger in generated images", "50.0%"),
    ],
)
def test_figures_have_names_and_units(name: str, label: str, value: str) -> None:
    assert (Scale(name).label, Scale(name).value(0.5)) == (label, value)

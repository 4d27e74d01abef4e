"""The first screen says what was shown, and no more than that."""

from __future__ import annotations

from report_study import FLIP, Maker

from asepsis.experiments.results import Results
from asepsis.report.brief import Point, brief, ranking
from asepsis.report.findings import scenarios
from asepsis.report.threat_words import threat_lines
from asepsis.report.words import words


def answers(results: Results) -> dict[str, Point]:
    return {point.question: point for point in brief(results, scenarios(results))}


def test_seven_questions_are_answered_whatever_was_run(study: Maker, curious: Results) -> None:
    empty = study()
    for run in empty.runs:
        run.lines.clear()
    for results in (study(), curious, empty):
        said = answers(results)
        assert len(said) == 7
        assert all(point.answer.endswith((".", "!")) for point in said.values())
        assert not any("nan" in point.answer for point in said.values())


def test_what_broke_is_named_in_plain_words_with_its_size(study: Maker) -> None:
    said = answers(study())["What broke?"]
    assert said.tone == "bad"
    assert (
        "label-flip (wrong diagnoses in the training data) changed balanced accuracy by −30.0"
        in (said.answer)
    )
    # Excess: (0.91 - 0.1) / (1 - 0.1) = 0.9.
    assert (
        "badnets (a hidden trigger) succeeded on 90% of marked cases beyond chance" in said.answer
    )


def test_what_held_counts_attacks_by_defense(study: Maker) -> None:
    assert ranking(scenarios(study())) == [("multi-krum", 2, 2), ("mean", 0, 2)]
    said = answers(study())["What held?"]
    assert said.answer == "multi-krum withstood 2 of 2 attacks. Not shown to hold: plain averaging."
    assert said.tone == "good"


def test_who_withstood_harmless_attacks_is_not_praised(study: Maker) -> None:
    results = study(mean_drop=0.0)
    for run in results.runs:
        if run.cell.attack == "badnets":
            run.footer["tail"]["asr"] = 0.1
    said = answers(results)
    assert "no attack was shown to do harm" in said["What broke?"].answer
    assert "this says little" in said["What held?"].answer
    assert said["What held?"].tone != "good"


def test_two_seeds_show_nothing_and_the_screen_says_so(study: Maker) -> None:
    said = answers(study(seeds=(0, 1)))
    assert said["What broke?"].tone == "unclear"
    assert "may be chance" in said["What broke?"].answer
    assert "not the same as shown to fail" in said["What held?"].answer
    assert said["How sure is this?"].answer.startswith("Exploratory. 2 repetitions")
    assert "4 of 4 pairs" in said["What is not known?"].answer


def test_five_seeds_are_no_longer_exploratory(study: Maker) -> None:
    said = answers(study(seeds=(0, 1, 2, 3, 4)))["How sure is this?"]
    assert "Exploratory" not in said.answer
    assert "95%" in said.answer


def test_what_nobody_looked_for_is_not_called_safe(study: Maker) -> None:
    assert answers(study())["What leaks?"].answer.startswith("Not tested")


def test_leaks_stand_beside_a_guess(curious: Results) -> None:
    for run in curious.runs:
        for item in run.footer.get("evidence", []):
            item["scores"]["prior/mean/psnr"] = 18.0
    said = answers(curious)["What leaks?"].answer
    assert "dlg rebuilt training inputs, likeness (PSNR) 24.0 dB (a blind guess: 18.0 dB)" in said
    assert "dlg did no better than a blind guess (8.0 dB; the guess: 18.0 dB)" in said
    assert said.index("24.0") < said.index("8.0 dB")


def test_the_price_is_that_without_an_attack(study: Maker) -> None:
    said = answers(study())["At what cost?"].answer
    assert said == (
        "Without an attack, multi-krum moves balanced accuracy by 0.0 points on average, "
        "with as many bytes sent."
    )


def test_bytes_are_those_that_the_channel_counted(study: Maker) -> None:
    results = study()
    for run in results.runs:
        if run.cell.defense == "multi-krum":
            for item in run.rounds:
                item["channel"] = {"bytes_up_mean": 3072.0}
    # A bare update has 2048 bytes.
    assert "with 1.5 times as many bytes sent." in answers(results)["At what cost?"].answer


def test_nothing_is_said_of_the_bytes_of_an_ideal_sum(study: Maker) -> None:
    results = study()
    for run in results.runs:
        if run.cell.defense == "multi-krum":
            run.cell.spec.defenses[0]["name"] = "secure-sum"
    assert "bytes" not in answers(results)["At what cost?"].answer


def test_a_busy_machine_is_no_price(study: Maker) -> None:
    results = study()
    for run in results.runs:
        for line in run.lines:
            if run.cell.defense == "multi-krum" and "seconds" in line.get("observed", {}):
                line["observed"]["seconds"]["training"] *= 9
    assert answers(results)["At what cost?"] == answers(study())["At what cost?"]


def test_the_threat_model_is_told_in_words(study: Maker) -> None:
    (line,) = threat_lines(scenarios(study())[0])
    assert line.startswith("3 of 2 hospitals are hostile and attack from round 3 on;")
    assert "They do not know the defenses in use. The server is honest." in line


def test_every_name_of_the_page_is_explained(study: Maker) -> None:
    known = dict(words(scenarios(study())))
    assert {FLIP["name"], "badnets", "mean", "multi-krum", "balanced accuracy"} <= set(known)
    assert all(meaning.strip() for meaning in known.values())

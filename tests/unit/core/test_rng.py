from __future__ import annotations

import subprocess
import sys

import numpy as np
import torch

from asepsis.core.rng import Draw, Streams, building_modules


def test_an_address_always_gives_the_same_numbers() -> None:
    one = Streams(3).at(Draw.BATCH, 1, 2).random(5)
    assert (one == Streams(3).at(Draw.BATCH, 1, 2).random(5)).all()


def test_purpose_coordinates_and_seed_all_matter() -> None:
    streams = Streams(3)
    draws = [
        streams.at(Draw.BATCH, 1, 2).random(4),
        streams.at(Draw.BATCH, 2, 1).random(4),
        streams.at(Draw.BATCH, 12).random(4),
        streams.at(Draw.COHORT, 1, 2).random(4),
        Streams(4).at(Draw.BATCH, 1, 2).random(4),
    ]
    assert len({tuple(draw) for draw in draws}) == len(draws)


def test_an_address_is_stable_across_processes() -> None:
    code = (
        "from asepsis.core.rng import Draw, Streams;"
        "print(Streams(5).integer(Draw.MODEL, 7), Streams(5).at(Draw.MODEL, 7).integers(10**9))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = (Streams(5).integer(Draw.MODEL, 7), Streams(5).at(Draw.MODEL, 7).integers(10**9))
    assert out.stdout.split() == [str(number) for number in here]


def test_addresses_look_independent() -> None:
    first = np.array([Streams(0).at(Draw.BATCH, t).standard_normal() for t in range(2000)])
    assert abs(first.mean()) < 0.1
    assert abs(first.std() - 1) < 0.1
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 0.1


def test_building_modules_is_seeded_and_restores_the_global_generator() -> None:
    before = torch.get_rng_state()
    with building_modules(1):
        one = torch.nn.Linear(3, 3).weight
    with building_modules(1):
        two = torch.nn.Linear(3, 3).weight
    with building_modules(2):
        other = torch.nn.Linear(3, 3).weight
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert torch.equal(before, torch.get_rng_state())

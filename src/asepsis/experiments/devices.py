"""What a defense costs a constrained device: one hospital's part of one round, measured alone.

The part is handed to a fresh process with one thread: the model and the hospital's own data come
in, it trains, does what the stack has hospitals do, and sends. The server's part is not in it: a
rule at the server costs a client nothing but what it makes the channel carry, and the table shows
that instead of taking it for granted.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import Field

from asepsis.core.channel import Channel, fingerprint
from asepsis.core.engine import Plan
from asepsis.core.errors import AsepsisError
from asepsis.core.rng import Draw
from asepsis.core.updates import Individual, Reply, individual
from asepsis.engines.serial import Serial
from asepsis.experiments.device_child import Part
from asepsis.experiments.device_wires import NUMBER, Sending, sending
from asepsis.experiments.patients import few, private
from asepsis.experiments.resolve import resolve
from asepsis.experiments.spec import Experiment
from asepsis.federation.build import assemble
from asepsis.federation.federation import Cohort, Federation
from asepsis.federation.protecting import home_of, protected
from asepsis.models.user_code import loaded

LONGEST = 1800.0
"""Seconds after which a measurement is given up."""
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
CHILD = "from asepsis.experiments.device_child import main; main()"

Count = Annotated[int, Field(ge=0)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class DeviceCost:
    """What one hospital pays in one round.

    ``bytes_up`` and ``bytes_down`` are payloads: the model's broadcast is in ``bytes_down``, TLS
    and framing are in neither. ``seconds`` are of one thread of this machine, ``training``,
    ``protection`` (client stages) and ``sending`` are its parts. ``memory_mib`` is the peak of a
    process that does nothing else, beyond the ``imports_mib`` that Python, PyTorch and asepsis
    take before there is any model: the hospital's own data are in it. ``hospital`` has the median
    number of training ``samples`` of the round's cohort; ``None`` where they are of too few of a
    user's own patients to be written down. ``note`` says what is not in the figures.
    """

    bytes_up: Count
    bytes_down: Count
    seconds: Amount
    training: Amount
    protection: Amount
    sending: Amount
    memory_mib: Amount
    imports_mib: Amount
    hospital: Count
    samples: Count | None
    note: str = ""


def device_cost(spec: Experiment) -> DeviceCost:
    """Measure one hospital's part of one round of an experiment, nobody attacking.

    Raises:
        AsepsisError: the experiment cannot be built, or the process that measures failed.

    Example:
        >>> device_cost(Experiment()).protection < 1  # doctest: +SKIP
        True
    """
    federation, _ = assemble(resolve(spec.twin().model_copy(update={"probes": {}}))[0])
    round_, cohort = first_cohort(federation)
    client = median_hospital(federation.plan, cohort)
    part, wire, announced = part_of_round(federation, round_, cohort, client)
    told = _in_process(part)
    seconds = {name: float(value) for name, value in told["seconds"].items()}
    row = federation.plan.layout.dim * part.received.element_size()
    return DeviceCost(
        bytes_up=wire.up,
        bytes_down=row + NUMBER * announced + wire.down,
        seconds=sum(seconds.values()),
        **seconds,
        memory_mib=float(told["memory_mib"]),
        imports_mib=float(told["imports_mib"]),
        hospital=client,
        samples=_samples(federation, client, spec),
        note=wire.note,
    )


def _samples(federation: Federation, client: int, spec: Experiment) -> int | None:
    own = next(one.train for one in federation.hospitals if one.id == client)
    return None if private(spec) and few(own) else len(own)


def first_cohort(federation: Federation) -> tuple[int, Cohort]:
    """Return the first round in which anybody answers, and who does.

    Raises:
        AsepsisError: nobody ever does.
    """
    for round_ in range(federation.schedule.rounds):
        cohort = federation.cohort(round_)
        if cohort.present:
            return round_, cohort
    raise AsepsisError("no hospital answers in any round", place="devices")


def median_hospital(plan: Plan, cohort: Cohort) -> int:
    """Return the hospital with the median number of training samples; the lower of two."""
    sizes = sorted((len(plan.shards[i, "clean"].targets), i) for i in cohort.present)
    return sizes[(len(sizes) - 1) // 2][1]


def part_of_round(
    federation: Federation, round_: int, cohort: Cohort, client: int
) -> tuple[Part, Sending, int]:
    """Return what one hospital has to do, what its channel asks, and how many figures it is told.

    The hospital's own update stands for everybody's when the channel is played beforehand.
    """
    state, plan = federation.begin(), federation.plan
    job = next(job for job in federation.jobs(cohort, (), round_) if job.client == client)
    job = replace(job, work=1.0)
    engine = Serial()
    engine.start(plan)
    replies = engine.train(state.row, [job])
    announced = federation.pipeline.announce(state.pipeline)
    replies = protected(federation, replies, state.row, round_, announced)
    channel = Channel(
        round=round_,
        rng=federation.streams.at(Draw.CHANNEL, round_),
        drawn=cohort.present,
        received=dict.fromkeys(cohort.present, fingerprint(state.row)),
    )
    wire = sending(
        federation.pipeline.transport, _everybody(replies[0], plan, cohort), channel, client
    )
    own = replace(
        plan,
        shards={(client, "clean"): plan.shards[client, "clean"]},
        weights={client: plan.weights[client]},
    )
    stages = tuple(stage for _, stage in federation.pipeline.at_hospitals)
    home = home_of(plan, client, state.row, round_, announced)
    return Part(own, job, state.row, home, stages, wire.wire), wire, len(announced)


def _everybody(reply: Reply, plan: Plan, cohort: Cohort) -> Individual:
    return individual([replace(reply, client=i, weight=plan.weights[i]) for i in cohort.present])


def _in_process(part: Part) -> dict[str, Any]:
    """Let a fresh process play a part, and return what it says."""
    head = json.dumps([_modules(part), loaded()]).encode()
    try:
        done = subprocess.run(
            [sys.executable, "-c", CHILD],
            input=head + b"\n" + pickle.dumps(part),
            capture_output=True,
            timeout=LONGEST,
            check=False,
            env={**os.environ, **dict.fromkeys(THREADS, "1")},
        )
        told: dict[str, Any] = json.loads(done.stdout)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise _failed(f"a component cannot be handed to another process ({error})") from None
    except (ValueError, subprocess.TimeoutExpired) as error:
        raise _failed(f"it gave no answer ({type(error).__name__})") from None
    if "error" in told:
        raise _failed(str(told["error"]))
    return told


def _failed(message: str) -> AsepsisError:
    return AsepsisError(f"the cost of a device cannot be measured: {message}", place="devices")


def _modules(part: Part) -> list[str]:
    """Name the modules of all components, so that importing them is not counted as memory."""
    things: Iterable[object] = (
        part.plan.task,
        part.plan.trainer,
        part.wire,
        *part.stages,
        *part.plan.module.modules(),
        *vars(part.plan.trainer).values(),
    )
    names = {type(thing).__module__ for thing in things}
    extra = {"tenseal"} & set(sys.modules)
    return sorted(name for name in names | extra if _importable(name))


def _importable(name: str) -> bool:
    return name != "__main__" and name in sys.modules

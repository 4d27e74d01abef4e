"""What every attack on the wire between hospitals and server promises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch

from asepsis.core.channel import Message
from asepsis.core.contracts import ChannelAttack
from asepsis.core.threat import Facts, WireView
from asepsis.core.updates import State
from asepsis.testing import cohorts
from asepsis.testing.attacks import global_generators
from asepsis.testing.promises import Promises, copied, round_trip, same_state

Arrived = Mapping[int, Message | None]


def check_channel_attack(attack: ChannelAttack) -> None:
    """Check that an attack on the wire keeps the promises of its contract.

    With plain, signed and masked messages of one hospital or several, and in a second round: it
    names only hospitals that sent something; a message in another's place has a body of the same
    shape and dtype; what it was shown is not modified, and what it puts on the wire is its own;
    the same call gives the same messages; no global generator moves; the state is a dict of
    tensors and goes on from a checkpoint; measurements are finite. A row may hold NaN.

    Raises:
        AssertionError: naming the promise that was broken.

    Example:
        >>> from asepsis.core.registry import build
        >>> check_channel_attack(build("attack", {"name": "intercept", "does": "replay"}))
    """
    promises = Promises(str(attack))
    promises.hold(isinstance(attack, ChannelAttack), "it has intercept()")
    for d in cohorts.DIMS:
        for n in (1, 2, 7):
            for kind in ("plain", "signed", "masked"):
                first, second = (_view(n, d, round_, kind) for round_ in (0, 1))
                state = _check_round(attack, promises, {}, first, kind)
                _check_round(attack, promises, state, second, kind)
    spoiled = _view(3, 5, 0, "plain")
    spoiled.messages[0].body[0] = torch.nan
    _check_round(attack, promises, {}, spoiled, "a row with NaN")


def _view(n: int, d: int, round_: int, kind: str) -> WireView:
    rows = cohorts.rows(n, d) * (round_ + 1)
    messages = {}
    for client in range(n):
        signature = b"" if kind == "plain" else bytes([round_]) * 64
        message = Message(client, rows[client].clone(), round=round_, signature=signature)
        if kind == "masked":  # words of the row, then of count and telemetry
            words = torch.cat([(rows[client] * 1000).long(), torch.arange(8)])
            messages[client] = replace(message, body=words, masked=True)
        else:
            messages[client] = replace(message, weight=10.0 + client, side={"loss": 0.5})
    received = torch.full((d,), float(round_))
    return WireView(Facts(round_, n, 1.0, received.clone()), received, messages)


def _check_round(
    attack: ChannelAttack, promises: Promises, state: State, view: WireView, where: str
) -> State:
    before = {client: message.copy() for client, message in view.messages.items()}
    given, sent, generators = copied(state), view.sent.clone(), global_generators()
    after, made, measured = attack.intercept(state, view, np.random.default_rng(view.facts.round))
    promises.hold(global_generators() == generators, f"no global generator moves ({where})")
    promises.state(after)
    promises.measurements(measured)
    promises.hold(same_state(state, given), "the state handed in is not modified")
    _check_messages(promises, made, before)
    again = _answer(attack, copied(state), view)
    promises.hold(_same(made, again), f"the same call gives the same messages ({where})")
    resumed = _answer(attack, round_trip(state), view)
    promises.hold(_same(made, resumed), "it goes on from a checkpoint as if nothing had happened")
    kept = copied(after)
    for client, message in made.items():
        if message is not None and not message.same(before[client]):
            message.body.fill_(7)
    whole = all(message.same(before[client]) for client, message in view.messages.items())
    unharmed = whole and torch.equal(view.sent, sent) and same_state(after, kept)
    promises.hold(unharmed, f"what it was shown is neither modified nor handed on ({where})")
    return after


def _answer(attack: ChannelAttack, state: State, view: WireView) -> Arrived:
    return attack.intercept(state, view, np.random.default_rng(view.facts.round))[1]


def _check_messages(promises: Promises, made: Arrived, sent: Mapping[int, Message]) -> None:
    promises.hold(set(made) <= set(sent), "it names hospitals that sent something")
    for client, message in made.items():
        if message is not None:
            body, was = message.body, sent[client].body
            fits = body.shape == was.shape and body.dtype == was.dtype
            promises.hold(fits, f"a body stays {was.dtype} of shape {tuple(was.shape)}")


def _same(one: Arrived, two: Arrived) -> bool:
    return one.keys() == two.keys() and all(_alike(one[c], two[c]) for c in one)


def _alike(one: Message | None, two: Message | None) -> bool:
    return one is two if one is None or two is None else one.same(two)

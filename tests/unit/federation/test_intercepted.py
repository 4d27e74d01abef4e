"""Somebody on the wire: what it does to a plain channel, and what signatures stop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from test_round import parts
from torch import Tensor

from asepsis.attacks.channel.intercept import Intercept
from asepsis.core.channel import Message
from asepsis.core.errors import ConfigError
from asepsis.core.registry import build
from asepsis.core.samples import Kind
from asepsis.core.threat import Role, ThreatModel, WireView
from asepsis.core.updates import State
from asepsis.defenses.audit.keys import simulated_key
from asepsis.defenses.stack import build_pipeline
from asepsis.engines import make_engine
from asepsis.federation.build import assemble
from asepsis.federation.federation import RoundState, Schedule
from asepsis.federation.round import RoundOutcome, play_round
from asepsis.testing.promises import same_state

THREAT = ThreatModel(role=Role.INTERCEPTOR)
Changes = Callable[[Mapping[int, Message], WireView], Mapping[int, Message | None]]


@dataclass
class OnTheWire:
    """Does what a test tells it to, and keeps what it saw."""

    does: Changes
    views: list[WireView]
    kinds: ClassVar[frozenset[Kind]] = frozenset(Kind)

    def intercept(
        self, state: State, view: WireView, rng: np.random.Generator
    ) -> tuple[State, Mapping[int, Message | None], Mapping[str, float]]:
        self.views.append(view)
        return state, self.does(view.messages, view), {}


def on_the_wire(does: Changes) -> OnTheWire:
    return OnTheWire(does, [])


def played(
    attack: Any,
    transport: str | dict[str, Any] = "plain",
    rounds: int = 1,
    start: RoundState | None = None,
    engine: str = "serial",
    **changes: Any,
) -> tuple[RoundState, list[RoundOutcome]]:
    """Play on to round ``rounds``."""
    table = {"threat": THREAT if attack else ThreatModel(), **changes}
    made = parts(attack=attack, pipeline=build_pipeline([transport, "mean"]), **table)
    federation, _ = assemble(made)
    runs = make_engine(engine, 2) if engine in ("threads", "pool") else make_engine(engine)
    runs.start(federation.plan)
    state, outcomes = start or federation.begin(), []
    try:
        while state.round < rounds:
            state, outcome = play_round(federation, runs, state)
            outcomes.append(outcome)
    finally:
        runs.close()
    return state, outcomes


def mean_of(outcome: RoundOutcome, factors: Mapping[int, float]) -> Tensor:
    """Return the weighted mean of what hospitals sent, each row times its factor (absent: out)."""
    assert outcome.sent is not None
    pairs = list(zip(outcome.sent.clients, outcome.sent.weights.tolist(), strict=True))
    total = sum(weight for client, weight in pairs if client in factors)
    rows = outcome.sent.rows.dense().double()
    shares = [
        factors[client] * weight / total * rows[i]
        for i, (client, weight) in enumerate(pairs)
        if client in factors
    ]
    return torch.stack(shares).sum(dim=0)


ALL = dict.fromkeys(range(6), 1.0)


def test_an_altered_message_changes_the_aggregate_of_a_plain_channel() -> None:
    attack = on_the_wire(lambda sent, _: {2: replace(sent[2], body=-3 * sent[2].body)})
    state, [outcome] = played(attack)
    begun, _ = played(None, rounds=0)
    assert outcome.intercepted == {2: "altered"}
    step = (state.row - begun.row).double()
    torch.testing.assert_close(step, mean_of(outcome, {**ALL, 2: -3.0}), rtol=1e-4, atol=1e-6)


def test_signatures_refuse_an_altered_message_and_the_round_goes_on() -> None:
    attack = on_the_wire(lambda sent, _: {2: replace(sent[2], body=-3 * sent[2].body)})
    state, [outcome] = played(attack, "signed")
    begun, _ = played(None, rounds=0)
    assert outcome.void is None
    assert outcome.channel is not None
    assert outcome.channel["altered"] == 1
    others = {client: 1.0 for client in ALL if client != 2}
    step = (state.row - begun.row).double()
    torch.testing.assert_close(step, mean_of(outcome, others), rtol=1e-4, atol=1e-6)
    [report] = [report for report in outcome.protected if report.name == "signed"]
    assert report.changed == pytest.approx(1 / 6)
    assert report.verdicts == {2: 0.0}


@pytest.mark.parametrize(
    "change",
    [
        {"weight": 1e6},
        {"side": {"loss": 0.0}},
        {"client": 3},
        {"round": 7},
        {"received": bytes(32)},
        {"signature": bytes(64)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_signature_covers_all_that_a_message_says(change: dict[str, Any]) -> None:
    _, [outcome] = played(on_the_wire(lambda sent, _: {2: replace(sent[2], **change)}), "signed")
    assert outcome.channel is not None
    assert outcome.channel["altered"] == 1


def test_who_has_no_key_of_the_hospital_cannot_sign_for_it() -> None:
    def forged(sent: Mapping[int, Message], _: WireView) -> dict[int, Message | None]:
        return {2: replace(sent[2], signature=simulated_key("my own").sign(b"trust me"))}

    def swapped(sent: Mapping[int, Message], _: WireView) -> dict[int, Message | None]:
        return {2: sent[3], 3: sent[2]}

    for does, refused in ((forged, 1), (swapped, 2)):
        _, [outcome] = played(on_the_wire(does), "signed")
        assert outcome.channel is not None
        assert outcome.channel["altered"] == refused


@pytest.mark.parametrize(("transport", "taken"), [("plain", True), ("signed", False)])
def test_a_valid_message_of_the_last_round_is_refused_where_it_is_signed(
    transport: str, taken: bool
) -> None:
    heard: list[Message] = []

    def again(sent: Mapping[int, Message], view: WireView) -> dict[int, Message | None]:
        heard.append(sent[4])
        return {4: heard[0]} if view.facts.round else {}

    state, outcomes = played(on_the_wire(again), transport, rounds=2)
    honest, _ = played(None, transport, rounds=2)
    assert [outcome.intercepted for outcome in outcomes] == [{}, {4: "replayed"}]
    channel = outcomes[1].channel
    assert channel is not None
    assert channel.get("replayed", 0) == (not taken)
    assert not torch.equal(state.row, honest.row)
    stale = torch.equal(heard[0].body, outcomes[0].sent.rows.row(4)) if outcomes[0].sent else False
    assert stale


@pytest.mark.parametrize("transport", ["plain", "signed"])
def test_a_dropped_message_is_noticed_but_not_prevented(transport: str) -> None:
    state, [outcome] = played(on_the_wire(lambda sent, _: {0: None, 5: None}), transport)
    begun, _ = played(None, rounds=0)
    assert outcome.intercepted == {0: "dropped", 5: "dropped"}
    assert outcome.channel is not None
    assert outcome.channel.get("missing") == (2 if transport == "signed" else None)
    step = (state.row - begun.row).double()
    others = dict.fromkeys(range(1, 5), 1.0)
    torch.testing.assert_close(step, mean_of(outcome, others), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("transport", "does", "reason"),
    [
        ("plain", {"does": "drop"}, "no message arrived"),
        ("signed", {"does": "drop"}, "no message arrived"),
        ("signed", {"does": "alter"}, "every message was refused"),
    ],
)
def test_a_round_of_which_nothing_is_left_is_void(
    transport: str, does: dict[str, Any], reason: str
) -> None:
    state, [outcome] = played(Intercept(**does, share=1.0), transport)
    begun, _ = played(None, rounds=0)
    assert outcome.void == reason
    assert torch.equal(state.row, begun.row)


def test_signatures_do_not_stop_a_hospital_that_signs_its_own_lies() -> None:
    threat = ThreatModel(clients=(1, 3))
    signed, [outcome] = played(build("attack", "sign-flip"), "signed", threat=threat)
    plain, _ = played(build("attack", "sign-flip"), threat=threat)
    assert torch.equal(signed.row, plain.row)
    assert outcome.channel is not None
    assert outcome.channel["arrived"] == 6
    assert outcome.channel["altered"] == 0


@pytest.mark.parametrize("transport", ["plain", "signed"])
def test_who_lets_everything_pass_changes_nothing(transport: str) -> None:
    attacked, [outcome, *_] = played(on_the_wire(lambda sent, _: sent), transport, rounds=2)
    honest, _ = played(None, rounds=2)
    assert outcome.intercepted == {}
    assert torch.equal(attacked.row, honest.row)


def test_it_sees_what_is_on_the_wire_and_cannot_reach_behind_it() -> None:
    def scribble(sent: Mapping[int, Message], view: WireView) -> dict[int, Message | None]:
        view.sent.fill_(7)
        for message in sent.values():
            message.body.fill_(7)
        return {}

    attack = on_the_wire(scribble)
    state, _ = played(attack, "signed")
    honest, _ = played(None)
    assert torch.equal(state.row, honest.row)
    [view] = attack.views
    assert set(view.messages) == set(range(6))
    assert view.facts.rule is None
    assert all(len(message.signature) == 64 for message in view.messages.values())


def test_it_attacks_in_its_rounds_and_in_no_other() -> None:
    threat = ThreatModel(role=Role.INTERCEPTOR, starts_at=1, every=2, rounds=2)
    _, outcomes = played(Intercept(), rounds=6, threat=threat, schedule=Schedule(rounds=6))
    assert [o.round for o in outcomes if o.intercepted is not None] == [1, 3]
    honest, _ = played(None, rounds=1)
    assert torch.equal(
        played(Intercept(), rounds=1, threat=threat, schedule=Schedule(rounds=6))[0].row, honest.row
    )


def test_a_replay_listens_first() -> None:
    _, outcomes = played(Intercept(does="replay", share=1.0), rounds=3)
    assert outcomes[0].intercepted == {}
    assert outcomes[0].crafted == {"touched": 0.0, "inactive": 1.0}
    assert outcomes[2].intercepted == dict.fromkeys(range(6), "replayed")


@pytest.mark.parametrize("transport", ["plain", "signed", "secure-aggregation"])
@pytest.mark.parametrize("does", ["alter", "drop", "replay"])
def test_a_resumed_run_is_bit_equal(transport: str, does: Any) -> None:
    attack = Intercept(does=does, share=0.2)
    whole, outcomes = played(attack, transport, rounds=4)
    half, _ = played(attack, transport, rounds=2)
    tensors = {name: tensor.clone() for name, tensor in half.tensors().items()}
    rest, later = played(attack, transport, rounds=4, start=RoundState.from_tensors(tensors))
    assert same_state(whole.tensors(), rest.tensors())
    assert [o.intercepted for o in outcomes[2:]] == [o.intercepted for o in later]


def test_all_engines_agree() -> None:
    ended = {
        name: played(Intercept(does="replay"), "signed", rounds=3, engine=name)
        for name in ("serial", "threads", "batched")
    }
    assert torch.equal(ended["serial"][0].row, ended["threads"][0].row)
    torch.testing.assert_close(ended["serial"][0].row, ended["batched"][0].row)
    told = {str([o.intercepted for o in outcomes]) for _, outcomes in ended.values()}
    assert len(told) == 1


@pytest.mark.parametrize("transport", ["secure-sum", "grouped-secure-sum", "homomorphic-sum"])
def test_where_no_message_can_be_touched_it_is_refused(transport: str) -> None:
    made = parts(
        hospitals=9,
        attack=Intercept(),
        threat=THREAT,
        pipeline=build_pipeline([transport, "mean"]),
    )
    with pytest.raises(ConfigError, match=rf"defenses: .*{transport} has none"):
        assemble(made)


@pytest.mark.parametrize(
    ("attack", "threat", "match"),
    [
        (Intercept(), ThreatModel(), r'threat\.role: .*role = "interceptor"'),
        (build("attack", "ipm"), THREAT, r"threat\.hostile: .*needs hostile hospitals"),
        (build("attack", "label-leakage"), THREAT, r'threat\.role: .*role = "server"'),
        (Intercept(), replace(THREAT, clients=(1,)), r"threat\.hostile: .*no hospital"),
        (Intercept(does="replay"), replace(THREAT, rounds=1), r"threat\.rounds: .*at least 2"),
    ],
)
def test_what_does_not_fit_is_refused(attack: Any, threat: ThreatModel, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        assemble(parts(attack=attack, threat=threat))


@pytest.mark.parametrize(
    ("does", "match"),
    [
        (lambda sent, _: {2: replace(sent[2], body=sent[2].body[:-1])}, "no such message"),
        (lambda sent, _: {2: replace(sent[2], body=sent[2].body.double())}, "no such message"),
        (lambda sent, _: {17: None}, "sent none"),
    ],
)
def test_what_it_puts_on_the_wire_is_checked(does: Changes, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        played(on_the_wire(does))


SIGNED_SUM = {"name": "secure-aggregation", "signed": True}


def test_signing_masked_vectors_changes_no_sum() -> None:
    bare, [told] = played(None, "secure-aggregation")
    signed, [outcome] = played(None, SIGNED_SUM)
    assert torch.equal(bare.row, signed.row)
    assert told.channel is not None
    assert outcome.channel is not None
    assert outcome.channel["bytes_up_max"] - told.channel["bytes_up_max"] == 64
    assert outcome.channel["refused"] == 0


@pytest.mark.parametrize(("does", "farther"), [("alter", 1e6), ("replay", 5)])
def test_masks_do_not_keep_a_vector_whole_and_signatures_do(does: Any, farther: float) -> None:
    attack, threat = Intercept(does=does, share=0.2), replace(THREAT, rounds=2)
    spoiled, outcomes = played(attack, "secure-aggregation", rounds=2, threat=threat)
    saved, told = played(attack, SIGNED_SUM, rounds=2, threat=threat)
    honest, _ = played(None, SIGNED_SUM, rounds=2)
    assert len(outcomes[1].intercepted or {}) == 1
    away, near = (float((state.row - honest.row).norm()) for state in (spoiled, saved))
    assert away > farther * near
    assert told[1].void is None
    assert told[1].channel is not None
    assert told[1].channel["refused"] == 1
    assert told[1].channel["dropped"] == 1


def test_of_a_masked_message_it_sees_what_a_masked_message_is() -> None:
    attack = on_the_wire(lambda sent, _: {3: None})
    _, [outcome] = played(attack, "secure-aggregation")
    assert outcome.sent is not None
    [view] = attack.views
    message = view.messages[0]
    assert message.masked
    assert not message.side
    assert np.isnan(message.weight)
    assert not message.body.is_floating_point()
    assert outcome.channel is not None
    assert outcome.channel["dropped"] == 1
    assert outcome.void is None


def test_too_few_vectors_that_fit_make_the_round_void() -> None:
    _, [outcome] = played(Intercept(share=0.5), SIGNED_SUM)
    assert "not signed by its hospital" in str(outcome.void)

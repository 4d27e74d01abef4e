"""The hospital's side on Flower: a ClientApp that trains exactly as the other engines do.

Its context, which Flower keeps between messages and the server never sees, holds the hospital's
identity key, what it keeps for itself, and in rounds of secure aggregation its update until that
is masked.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

from torch import Tensor

from asepsis.core.channel import fingerprint
from asepsis.core.errors import AsepsisError
from asepsis.core.updates import Reply, State
from asepsis.defenses.masking.holder import STOPPED, Holder, Masking, Memory, registry_in
from asepsis.defenses.masking.keys import SEED, Identity
from asepsis.defenses.masking.refused import RefusedError
from asepsis.engines.flower.messages import (
    LONGEST,
    VERSION,
    WireError,
    content,
    packed_reply,
    plain,
    read_order,
    tensor,
)
from asepsis.engines.flower.site import Site

PARTITION = "partition-id"
HELLO, MASK = "hello", "mask"
MOST_RECORD = 512
"""Bytes that no record of one hospital has, in messages of secure aggregation."""
_IDENTITY, _KNOWN, _WAITING, _MEMORY, _HOME = (
    "asepsis.identity",
    "asepsis.known",
    "asepsis.waiting",
    "asepsis.memory",
    "asepsis.home",
)

SiteOf = Callable[[Any], Site]


def make_app(site_of: SiteOf, *, bench: bool = False) -> Any:
    """Return a ClientApp for the site that belongs to a Flower context.

    ``bench``: this is a simulation, whose server keeps for every hospital what that keeps for
    itself, so that a run can be resumed, and writes down what hospitals measured. A real one is
    told nothing of it. The app answers ``query.hello`` with who it is, ``train`` with an update,
    and ``query.mask`` with the next message of a round of secure aggregation.
    """
    from flwr.app import Message
    from flwr.clientapp import ClientApp

    def hello(message: Any, context: Any) -> Any:
        return Message(greeting(context), reply_to=message)

    def train(message: Any, context: Any) -> Any:
        made = trained(site_of(context), message.content, context, bench=bench)
        return Message(made, reply_to=message)

    def mask(message: Any, context: Any) -> Any:
        return Message(masked(site_of(context), message.content, context), reply_to=message)

    app = ClientApp()
    app.query(HELLO)(hello)
    app.train()(train)
    app.query(MASK)(mask)
    return app


def greeting(context: Any) -> Any:
    """Say which hospital this is, and its public identity key, which is made at first."""
    seed = _identity(context)
    facts = {"version": VERSION, "client": me(context), "key": Identity(seed).public}
    return content(facts)


def me(context: Any) -> int:
    """Return which hospital this is.

    Raises:
        AsepsisError: the node's configuration does not say.
    """
    found = context.node_config.get(PARTITION)
    if not isinstance(found, int) or isinstance(found, bool) or found < 0:
        raise AsepsisError(
            "the node's configuration does not say which hospital this is",
            place="node-config",
            got=found,
            fix=f'start the node with --node-config "{PARTITION}=0"',
        )
    return found


def trained(site: Site, record: Any, context: Any, *, bench: bool = False) -> Any:
    """Train as ordered; keep the update here where it is to be masked.

    Raises:
        WireError: the order is for another hospital, or one that this hospital refuses.
    """
    order = read_order(record, site.dim)
    round_ = order.job.round
    if order.job.client != me(context):
        raise WireError("an order for another hospital", place="wire", got=order.job.client)
    site.check(order)
    if order.keep and round_ <= _waiting(context).get("round", -1):
        # The same round makes the same update: masked twice, in other company, it would be open.
        raise WireError("an order for a round that is over here", place="wire", got=round_)
    if not bench:
        order = replace(order, job=replace(order.job, home=_tensors(context, _HOME)))
    reply = site.turn(order)
    if not bench:
        _keep(context, _HOME, reply.home)
    if order.keep:
        _hold(context, reply, round_, fingerprint(order.received))
    return packed_reply(reply, round_, keep=order.keep, told=bench)


def masked(site: Site, record: Any, context: Any) -> Any:
    """Return the hospital's next message of a round of secure aggregation."""
    federation = site.federation
    most = len(federation.plan.weights)
    wanted = {"version": int, "round": int, "step": int, "told": bytes}
    asked = plain(record, wanted, LONGEST + MOST_RECORD * most)
    facts, memory = _waiting(context), cast(Memory, dict(context.state.get(_MEMORY, {})))
    if not site.apart or facts.get("round") != asked["round"]:
        raise WireError("no update waits to be masked", place="wire", got=asked["round"])
    known = {int(k): bytes.fromhex(v) for k, v in _json(context, _KNOWN).items()}
    holder = Holder(
        channel=cast(Masking, federation.pipeline.transport),
        me=me(context),
        identity=_identity(context),
        round=asked["round"],
        received=facts["received"],
        row=_tensors(context, _WAITING + ".row")["row"],
        side=json.loads(facts["side"]),
        weight=facts["weight"],
        known=known,
        cohort=frozenset(federation.cohort(asked["round"]).drawn),
    )
    try:
        sent, after = holder.turn(asked["step"], asked["told"], memory)
    except RefusedError as refused:
        _remember(context, STOPPED, known)
        return content({"version": VERSION, "sent": b"", "refused": str(refused)})
    _remember(context, after, {**registry_in(after, len(holder.cohort)), **known})
    return content({"version": VERSION, "sent": bytes(sent), "refused": ""})


def _remember(context: Any, memory: Memory, known: Mapping[int, bytes]) -> None:
    from flwr.app import ConfigRecord

    context.state[_MEMORY] = ConfigRecord(dict(memory))
    keys = {str(who): key.hex() for who, key in known.items()}
    context.state[_KNOWN] = ConfigRecord({"json": json.dumps(keys)})


def _hold(context: Any, reply: Reply, round_: int, received: bytes) -> None:
    """Let an update wait here: the masks of an earlier one are forgotten."""
    from flwr.app import ConfigRecord

    facts = {
        "round": round_,
        "received": received,
        "side": json.dumps(dict(reply.side)),
        "weight": float(reply.weight),
    }
    context.state[_WAITING] = ConfigRecord(facts)
    context.state.pop(_MEMORY, None)
    _keep(context, _WAITING + ".row", {"row": reply.row})


def _waiting(context: Any) -> dict[str, Any]:
    return dict(context.state.get(_WAITING, {}))


def _identity(context: Any) -> bytes:
    from flwr.app import ConfigRecord

    if _IDENTITY not in context.state:
        context.state[_IDENTITY] = ConfigRecord({"seed": secrets.token_bytes(SEED)})
    return bytes(context.state[_IDENTITY]["seed"])


def _json(context: Any, name: str) -> dict[str, str]:
    found = context.state.get(name)
    return {} if found is None else dict(json.loads(found["json"]))


def _keep(context: Any, name: str, state: State) -> None:
    from flwr.app import Array, ArrayRecord

    arrays = {key: Array(one.detach().cpu().numpy()) for key, one in state.items()}
    context.state[name] = ArrayRecord(arrays)


def _tensors(context: Any, name: str) -> dict[str, Tensor]:
    found = context.state.get(name, {})
    return {key: tensor(array) for key, array in found.items()}

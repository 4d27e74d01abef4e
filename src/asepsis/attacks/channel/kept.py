"""Messages that an interceptor has heard, as a state that fits in a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from asepsis.core.channel import Message
from asepsis.core.updates import State

BODY, WEIGHT, ROUND, RECEIVED, SIGNATURE = "body", "weight", "round", "received", "signature"
SIDE = "side:"


def kept(state: State, messages: Mapping[int, Message]) -> State:
    """Return the state with the first message of every hospital that was ever heard."""
    fresh = {client: m for client, m in messages.items() if f"{client}/{BODY}" not in state}
    return {**state, **{key: tensor for m in fresh.values() for key, tensor in _named(m).items()}}


def recalled(state: State, now: Message) -> Message | None:
    """Return the message kept of the hospital that sends one now.

    Example:
        >>> first = Message(1, torch.ones(2), 3.0, {"loss": 0.5}, round=4, signature=b"s")
        >>> recalled(kept({}, {1: first}), first).same(first)
        True
    """
    prefix = f"{now.client}/"
    own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    if not own:
        return None
    body = own[BODY].clone()
    if body.shape != now.body.shape or body.dtype != now.body.dtype:
        return None  # masked words of another modulus: nobody would take them for this round's
    return Message(
        client=now.client,
        body=body,
        weight=float(own[WEIGHT]),
        side={k.removeprefix(SIDE): float(v) for k, v in own.items() if k.startswith(SIDE)},
        round=int(own[ROUND]),
        received=_text(own[RECEIVED]),
        signature=_text(own[SIGNATURE]),
        masked=now.masked,
    )


def _named(message: Message) -> State:
    side = {f"{SIDE}{name}": _number(value) for name, value in message.side.items()}
    own = {
        BODY: message.body.clone(),
        WEIGHT: _number(message.weight),
        ROUND: torch.tensor(message.round),
        RECEIVED: _bytes(message.received),
        SIGNATURE: _bytes(message.signature),
        **side,
    }
    return {f"{message.client}/{key}": value for key, value in own.items()}


def _number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def _bytes(text: bytes) -> Tensor:
    return torch.tensor(list(text), dtype=torch.uint8)


def _text(tensor: Tensor) -> bytes:
    return bytes(tensor.tolist())

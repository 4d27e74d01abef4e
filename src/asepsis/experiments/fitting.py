"""What a record says of an attack once it is fitted to data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from asepsis.attacks.backdoor.badnets import AUTO
from asepsis.core.contracts import Attack
from asepsis.core.registry import build, options_of, split_spec

Trigger = str | Mapping[str, Any]
FITTED = "fitted"
"""Stands for a value that came from data which are not public."""


def recorded(asked: Attack, attack: Attack, *, public: bool) -> dict[str, Any]:
    """Return a fitted attack's options as a record may hold them.

    Of public data, all. Of other data those that were asked for or are defaults, the name of any
    attack's ``trigger`` and its own such options among them; for the rest, which may be a
    patient's value, ``fitted``.

    Example:
        >>> from asepsis.attacks.backdoor.badnets import BadNets
        >>> fitted = BadNets(trigger={"name": "waveform", "amplitude": 0.731})
        >>> recorded(BadNets(), fitted, public=False)["trigger"]["amplitude"]
        'fitted'
    """
    options = options_of(attack)
    if public:
        return options
    told = _told(options_of(asked), options)
    before, after = (getattr(one, "trigger", None) for one in (asked, attack))
    if isinstance(before, str | Mapping) and isinstance(after, str | Mapping):
        told["trigger"] = _trigger(before, after)
    return told


def _trigger(asked: Trigger, fitted: Trigger) -> Trigger:
    if asked == fitted:
        return fitted
    name, values = split_spec(fitted)
    known = {} if asked == AUTO else split_spec(asked)[1]
    before = options_of(build("trigger", {"name": name, **known}))
    return {"name": name, **_told(before, values)}


def _told(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value if name in before and before[name] == value else FITTED
        for name, value in after.items()
    }

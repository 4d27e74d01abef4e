"""BadNets: stamp a trigger on own samples and call them the target class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
from pydantic import Field

from asepsis.attacks.data.choice import check_class, drawn
from asepsis.core.contracts import Trigger
from asepsis.core.errors import ConfigError
from asepsis.core.registry import build, options_of, register, split_spec
from asepsis.core.samples import Array, DataFacts, Kind, Samples

AUTO = "auto"
DEFAULTS = {
    Kind.IMAGE: "patch",
    Kind.MULTILABEL_IMAGE: "patch",
    Kind.VOLUME: "patch",
    Kind.TABLE: "feature-combination",
    Kind.SEQUENCE: "waveform",
}


@runtime_checkable
class FittedTrigger(Protocol):
    """A trigger whose values come from samples; fitted once, it stamps the same everywhere."""

    def fitted(self, own: Samples) -> Trigger:
        """Return the trigger with every value resolved."""
        ...


@register("attack", "badnets")
class BadNets:
    """Backdoor: a share of own samples gets a trigger and the target class (BadNets).

    ``share`` of the hospital's samples, those of the target class included, are drawn without
    replacement, stamped and relabeled ``target``. They replace the originals, or come on top of
    them with ``keep_originals``. With several labels per image (``multilabel-image``) ``effect``
    says what becomes of the label vector: ``one-hot`` the target finding alone, others erased;
    ``add`` the target finding joins the others; ``erase`` it disappears.

    ``trigger`` is a component (a name or a table with options). ``auto`` is ``patch`` for images
    and volumes, ``feature-combination`` for tables, ``waveform`` for sequences. A trigger that
    needs samples to know its values is fitted once, by :meth:`fitted`; all hostile hospitals, the
    evaluation and the pictures then share the fitted one.

    Raises ConfigError for a target that is no class, a trigger that cannot do this kind, and an
    ``effect`` other than ``one-hot`` where a sample has one class.

    Source: Gu et al., BadNets, arXiv 1708.06733, section 4.1; one-hot findings: Nwadike et al.,
    arXiv 2101.00008

    Fidelity: own

    Tasks: image, multilabel-image, volume, table, sequence

    Example:
        >>> attack = BadNets(trigger={"name": "patch", "size": 2}, target=1)
        >>> attack.stamp.mask((28, 28)).sum().item()
        4
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset(DEFAULTS)

    trigger: str | dict[str, Any] = AUTO
    target: Annotated[int, Field(ge=0)] = 0
    share: Annotated[float, Field(gt=0, le=1)] = 0.5
    keep_originals: bool = False
    effect: Literal["one-hot", "add", "erase"] = "one-hot"

    def fitted(self, own: Samples, facts: DataFacts) -> BadNets:
        """Return the attack with its trigger resolved for this kind, fitted to these samples."""
        check_class(self.target, len(facts.classes), "attack.target")
        _check_effect(self.effect, facts.kind)
        spec = _resolved(self.trigger, facts.kind)
        return replace(self, trigger=fitted_trigger(spec, own, facts.kind))

    @property
    def stamp(self) -> Trigger:
        """The trigger.

        Raises:
            ConfigError: it is still ``auto``.
        """
        if self.trigger == AUTO:
            raise ConfigError(
                "which trigger 'auto' is depends on the data",
                place="attack.trigger",
                fix="name a trigger, or fit the attack to a hospital's samples",
            )
        return trigger_of(self.trigger)

    def poison(self, own: Samples, facts: DataFacts, rng: np.random.Generator) -> Samples:
        """Return the samples with some stamped; an attack that is not fitted fits itself."""
        trigger = self.fitted(own, facts).stamp
        where = drawn(np.arange(len(own)), self.share, rng)
        chosen = own.take(where)
        stamped = chosen.changed(
            inputs=trigger.stamp(chosen.inputs, rng),
            targets=relabeled(chosen.targets, self.target, self.effect),
        )
        return joined(own, stamped) if self.keep_originals else replaced(own, where, stamped)


def _check_effect(effect: str, kind: Kind) -> None:
    if effect != "one-hot" and kind is not Kind.MULTILABEL_IMAGE:
        raise ConfigError(
            f"a sample of kind {kind} has one class: a label cannot join or leave it",
            place="attack.effect",
            got=effect,
            fix='use "one-hot", or data with several labels per image',
        )


def _resolved(spec: str | Mapping[str, Any], kind: Kind) -> str | Mapping[str, Any]:
    if spec != AUTO:
        return spec
    if kind not in DEFAULTS:
        raise ConfigError("badnets has no trigger for this kind", place="attack", got=str(kind))
    return DEFAULTS[kind]


def trigger_of(spec: str | Mapping[str, Any]) -> Trigger:
    """Build an attack's trigger from a name or a table."""
    trigger: Trigger = build("trigger", spec, "attack.trigger")
    return trigger


def fitted_trigger(spec: str | Mapping[str, Any], own: Samples, kind: Kind) -> dict[str, Any]:
    """Return the table of a trigger with every value resolved, fitted to these samples.

    Raises:
        ConfigError: the trigger cannot stamp samples of this kind.
    """
    trigger = trigger_of(spec)
    if kind not in trigger.kinds:
        raise ConfigError(
            f"the trigger cannot stamp samples of kind {kind}",
            place="attack.trigger",
            got=spec,
            fix=f"choose {DEFAULTS.get(kind, 'another attack')}",
        )
    if isinstance(trigger, FittedTrigger):
        trigger = trigger.fitted(own)
    return {"name": split_spec(spec)[0], **options_of(trigger)}


def relabeled(targets: Array, target: int, effect: str = "one-hot") -> Array:
    """Return the labels that a backdoor teaches: classes ``[n]`` or label vectors ``[n, labels]``.

    Example:
        >>> relabeled(np.array([[0, 1], [0, 0]]), 0, "add")
        array([[1, 1],
               [1, 0]])
    """
    if targets.ndim == 1:
        return np.full_like(targets, target)
    taught = np.zeros_like(targets) if effect == "one-hot" else targets.copy()
    taught[:, target] = effect != "erase"
    return taught


def joined(own: Samples, more: Samples) -> Samples:
    """Put more samples behind a hospital's own."""
    return Samples(
        np.concatenate([own.inputs, more.inputs]),
        np.concatenate([own.targets, more.targets]),
        np.concatenate([own.ids, more.ids]),
        np.concatenate([own.groups, more.groups]),
    )


def replaced(own: Samples, where: Array, stamped: Samples) -> Samples:
    """Put stamped samples in the place of those at ``where``."""
    inputs, targets = own.inputs.copy(), own.targets.copy()
    inputs[where], targets[where] = stamped.inputs, stamped.targets
    return own.changed(inputs=inputs, targets=targets)

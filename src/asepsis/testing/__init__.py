"""Public conformance checks: whoever adds a component proves it with one call in a test.

Each check raises ``AssertionError`` with a message that names the component and the promise it
broke. They are deterministic and need no test runner.

>>> from asepsis.core.registry import build
>>> check_rule(build("aggregator", "median"))
>>> check_screen(build("screen", "norm-clip"))
>>> check_release(build("release", "gaussian-noise"))
>>> check_update_attack(build("attack", "ipm"))
>>> check_observer(build("attack", "label-leakage"))
>>> check_channel_attack(build("attack", "intercept"))
"""

from asepsis.testing.attacks import check_update_attack
from asepsis.testing.breakdown import check_breakdown
from asepsis.testing.channels import check_channel_attack
from asepsis.testing.inspectors import check_inspector
from asepsis.testing.observers import check_observer
from asepsis.testing.releases import check_release
from asepsis.testing.rules import check_rule
from asepsis.testing.screens import check_screen

__all__ = [
    "check_breakdown",
    "check_channel_attack",
    "check_inspector",
    "check_observer",
    "check_release",
    "check_rule",
    "check_screen",
    "check_update_attack",
]

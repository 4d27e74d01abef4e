"""Whether code that the user brings may run: said once for a process, and heard by its children.

Nothing runs because a file names it. The grant is explicit (``--trust-code``, ``trust_code=True``)
and stands in the environment, so that worker processes have it, too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from asepsis.core.errors import ConfigError

VARIABLE = "ASEPSIS_TRUST_CODE"
FLAG = "--trust-code"


def trusted() -> bool:
    """Whether the user's own code may run in this process."""
    return os.environ.get(VARIABLE) == "1"


@contextmanager
def trusting_code(granted: bool) -> Iterator[None]:
    """Let the user's code run inside, in this process and in those that it starts.

    ``False`` takes nothing away that was granted around it.

    Example:
        >>> with trusting_code(True):
        ...     trusted()
        True
    """
    before = os.environ.get(VARIABLE)
    if granted:
        os.environ[VARIABLE] = "1"
    try:
        yield
    finally:
        if granted and before is None:
            del os.environ[VARIABLE]
        elif granted and before is not None:
            os.environ[VARIABLE] = before


def demand_trust(what: str, place: str) -> None:
    """Check that the user's code may run.

    Args:
        what: what would run, such as ``net.py``.
        place: the field that names it.

    Raises:
        ConfigError: nobody said so; the message names what would run, and the flag.
    """
    if not trusted():
        raise ConfigError(
            f"this would run code of yours: {what}",
            place=place,
            fix=f"read it, then say {FLAG} (trust_code=True in Python)",
        )

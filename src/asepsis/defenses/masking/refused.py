"""A role of the protocol that will not go on."""

from __future__ import annotations

from asepsis.core.errors import AsepsisError


class RefusedError(AsepsisError):
    """A message breaks the protocol: whoever received it stops here and reveals nothing."""

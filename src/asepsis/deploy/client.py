"""A hospital's app: it answers for its own hospital, with its own data."""

from __future__ import annotations

from typing import Any

from asepsis.deploy.roll import ANSWER, PARTITION


def __getattr__(name: str) -> Any:
    # Made on first use: without Flower this module can still be imported.
    if name == "app":
        return _app()
    raise AttributeError(name)


def _app() -> Any:
    from flwr.clientapp import ClientApp

    app = ClientApp()
    app.query()(who)
    return app


def who(message: Any, context: Any) -> Any:
    """Say which hospital this is."""
    from flwr.app import ConfigRecord, Message, RecordDict

    told = ConfigRecord({PARTITION: int(context.node_config[PARTITION])})
    return Message(RecordDict({ANSWER: told}), reply_to=message)

"""A ClientApp for tests: it answers as it is told, and says which process it is."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

told: dict[str, str] = {}
app = ClientApp()


def tell(word: str) -> None:
    told["word"] = word


def refuse() -> None:
    raise ValueError("no such data")


@app.train()  # type: ignore[untyped-decorator]
def echo(message: Message, context: Context) -> Any:
    asked = message.content["arrays"]
    if told["word"] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if told["word"] == "sleep":
        time.sleep(600)
    if message.content["say"]["raise"] == context.node_config["partition-id"]:
        raise ValueError("the scanner is broken")
    count = context.state["count"]["n"] + 1 if "count" in context.state else 1
    context.state["count"] = ConfigRecord({"n": count})
    said = ConfigRecord(
        {
            "pid": os.getpid(),
            "partition": context.node_config["partition-id"],
            "word": told["word"],
            "count": count,
        }
    )
    return Message(RecordDict({"arrays": asked, "said": said}), reply_to=message)

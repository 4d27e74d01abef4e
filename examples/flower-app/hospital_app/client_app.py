"""A hospital. Nothing in here knows of asepsis: it is the client of any Flower app."""

from __future__ import annotations

from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from hospital_app.task import accuracy, hospital, train

app = ClientApp()


@app.train()  # type: ignore[untyped-decorator]
def local_training(message: Message, context: Context) -> Message:
    """Train on this hospital's patients; the hostile ones do what they do."""
    number, settings = int(context.node_config["partition-id"]), context.run_config
    inputs, labels = hospital(number, int(settings["hospitals"]))
    sent = {name: array.numpy() for name, array in message.content["arrays"].items()}
    hostile = number < int(settings["hostile"])
    if hostile and settings["attack"] == "label-flip":
        labels = 1 - labels
    model, loss = train(sent, inputs, labels)
    if hostile:  # louder than the others, or the many would drown them out
        times = -5 if settings["attack"] == "sign-flip" else 5
        model = {name: sent[name] + times * (model[name] - sent[name]) for name in model}
    arrays = ArrayRecord({name: Array(array) for name, array in model.items()})
    metrics = MetricRecord({"train_loss": loss, "num-examples": len(labels)})
    return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)


@app.evaluate()  # type: ignore[untyped-decorator]
def evaluation(message: Message, context: Context) -> Message:
    """Say how good the model is."""
    model = {name: array.numpy() for name, array in message.content["arrays"].items()}
    metrics = MetricRecord({"accuracy": accuracy(model), "num-examples": 1})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)

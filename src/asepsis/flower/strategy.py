"""The defenses as a strategy of Flower's Message API: three lines in an app of somebody else's."""

from __future__ import annotations

import json
import logging
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from asepsis.core.errors import ConfigError, MissingExtraError
from asepsis.core.registry import build
from asepsis.core.stages import Audit
from asepsis.defenses.handed import check_state
from asepsis.flower.arrays import Array, Refused, Sent
from asepsis.flower.fitting import ALWAYS, check_cohort, stack_for_flower
from asepsis.flower.keeping import LedgerFile, Saved, load_state, save_state
from asepsis.flower.network import TorchNetwork
from asepsis.flower.replies import Keys, Roster, alike, content_of, metrics_of, take
from asepsis.flower.reports import RoundReport
from asepsis.flower.server import Server, Whole

try:
    from flwr.app import Array as FlowerArray
    from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
    from flwr.serverapp import Grid
    from flwr.serverapp.strategy import FedAvg, Result
except ImportError:
    raise MissingExtraError("flwr", "flower") from None

BUFFERS = ("running_mean", "running_var")
"""How names of PyTorch's buffers end that are averaged and are no parameters."""

Path_ = str | os.PathLike[str]
_LOG = logging.getLogger("flwr")


class RobustStrategy(FedAvg):  # type: ignore[misc]
    """FedAvg of a Flower app, with a stack of asepsis defenses between replies and model.

    Whom to ask, and what is sent, is Flower's. What comes back is checked reply by reply; whatever
    is wrong with one costs that reply alone, and :attr:`reports` says what it was. The others
    become rows (local minus sent, buffers included), sorted by hospital, and go through the stack
    as in :func:`asepsis.aggregate`; with too few of them the model stays.

    Args:
        defenses: names, tables with options, or components; a ledger is one of them.
        loss_key: the metric of a training reply that is its training loss.
        hospital_key: the metric that says which hospital a reply is from (a number); without one,
            Flower's nodes are the hospitals. What is remembered is remembered by hospital.
        integers: ``keep`` arrays of whole numbers as the server has them (so that nobody else can
            change them), or take the ``median`` of those whose updates got through.
        buffers: how names of arrays end that are no parameters, where there is no ``network``.
        network: the app's network, for defenses that try out models.
        root: the server's own data, inputs and targets, for defenses that compare with it.
        trainer: how the server trains on it.
        seed: of the stages' generators; random when left out: who knows it knows the noise.
        name: what the ledger calls this federation.
        ledger: the file that a ledger among the defenses writes to.
        checkpoint: a file to which the strategy is saved after every round.
        fedavg: options of Flower's FedAvg: ``min_train_nodes``, ``fraction_train``,
            ``weighted_by_key``...

    Raises:
        ConfigError: a stage needs what a plain app does not have, or an option does not fit.
        QuorumError: ``min_train_nodes`` is too few for a stage.

    Example:
        >>> RobustStrategy(["trimmed-mean"], min_train_nodes=5).stack.needs  # doctest: +SKIP
        frozenset()
    """

    def __init__(
        self,
        defenses: Sequence[str | Mapping[str, Any] | object],
        *,
        loss_key: str = "train_loss",
        hospital_key: str | None = None,
        integers: Whole = "keep",
        buffers: Sequence[str] = BUFFERS,
        network: TorchNetwork | None = None,
        root: tuple[Tensor, Tensor] | None = None,
        trainer: str | Mapping[str, Any] = "sgd",
        seed: int | None = None,
        name: str = "flower",
        ledger: Path_ | None = None,
        checkpoint: Path_ | None = None,
        **fedavg: Any,
    ) -> None:
        super().__init__(**fedavg)
        _check_options(integers, network, root)
        offered = (
            ALWAYS | ({"network", "head"} if network else set()) | ({"root"} if root else set())
        )
        self.stack = stack_for_flower(defenses, offered)
        if self.min_train_nodes:
            check_cohort(self.stack, self.min_train_nodes)
        self.server = Server(
            stack=self.stack,
            seed=secrets.randbits(63) if seed is None else seed,
            name=name,
            whole=integers,
            network=None if network is None else network.network(),
            root=root,
            trainer=build("trainer", trainer, "trainer"),
            ledger=_ledger(self.stack.audit, ledger),
        )
        self.reports: list[RoundReport] = []
        self._buffers = tuple(buffers)
        demanded = "side:loss" in self.stack.needs
        self._keys = Keys(self.weighted_by_key, loss_key, hospital_key, demanded)
        self._checkpoint = None if checkpoint is None else Path(checkpoint)
        self._roster, self._closed = Roster(), False
        self._sent: Sent | None = None
        self._record: Any = None
        self._model: Mapping[str, Array] | None = None
        self._asked: frozenset[int] = frozenset()

    def summary(self) -> None:
        """Log what defends the federation, and Flower's own settings."""
        _LOG.info("\t├──> Defenses: %s", ", ".join(item.name for item in self.stack.names))
        super().summary()

    def start(self, *args: Any, **options: Any) -> Result:
        """Run Flower's loop, and close the ledger behind it."""
        if self._closed:
            raise ConfigError(
                "the ledger of this strategy is closed", place="ledger", fix="make a new strategy"
            )
        if self.server.ledger is not None:
            self.server.ledger.check()
        result = super().start(*args, **options)
        self.close()
        return result

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Remember the model that is sent and who is asked, which is Flower's to choose."""
        self._sent = self._laid_out({name: array.numpy() for name, array in arrays.items()})
        self._record = arrays
        messages = list(super().configure_train(server_round, arrays, config, grid))
        self._asked = frozenset(message.metadata.dst_node_id for message in messages)
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Take replies through the defenses; where a round is void the model is what was sent."""
        if self._sent is None:
            raise ConfigError("no round was begun", fix="call configure_train first")
        if not self._asked:
            return None, None
        usable, refused = take(replies, self._asked, self._sent, self._keys, self._roster)
        model, report = self.server.play(self._sent, usable, refused, len(self._asked))
        self.reports.append(report)
        for line in report.lines():
            _LOG.info("asepsis: %s", line)
        self._model = self._sent.arrays if model is None else model
        if self._checkpoint is not None:
            self.save(self._checkpoint)
        through = [
            one.content
            for one, share in zip(usable, report.verdicts.values(), strict=True)
            if share > 0
        ]
        metrics = self._averaged(through, self.train_metrics_aggr_fn) or MetricRecord()
        metrics.update(report.metrics())
        return (self._record if model is None else _flower(model)), metrics

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """Average what hospitals measured, of those whose metrics are numbers like the others'."""
        contents = []
        for message in replies:
            try:
                contents.append(content_of(message))
            except Refused as why:
                _LOG.info("asepsis: refused node %d: %s", message.metadata.src_node_id, why)
        return self._averaged(contents, self.evaluate_metrics_aggr_fn)

    def _averaged(self, contents: list[Any], average: Any) -> MetricRecord | None:
        found = []
        for content in contents:
            try:
                found.append(metrics_of(content))
            except Refused as why:
                _LOG.info("asepsis: left out of the metrics: %s", why)
        kept = [found[place] for place in alike(found, self.weighted_by_key)]
        if sum(record[self.weighted_by_key] for record in kept) <= 0:
            return None
        records = [RecordDict({"metrics": MetricRecord(dict(record))}) for record in kept]
        return average(records, self.weighted_by_key)

    def close(self) -> None:
        """Write the ledger's last entry, which commits to all reports; without one do nothing."""
        if self.server.ledger is not None and not self._closed:
            self.server.close()
            self._closed = True

    def save(self, path: Path_) -> None:
        """Write the model and all that the defenses remember, as safetensors.

        Raises:
            ConfigError: no round was played.
            StoreError: it cannot be written.
        """
        server, book = self.server, self.server.ledger
        if self._model is None:
            raise ConfigError("there is nothing to save yet", fix="play a round first")
        about = {"round": server.round, "seed": server.seed, "told": server.told}
        about["stages"] = self._stages()
        audit = {} if book is None else book.state
        save_state(Path(path), Saved(about, self._model, server.state or {}, audit))

    def restore(self, path: Path_) -> ArrayRecord:
        """Take up what was saved, before the first round; return the model to start with.

        Raises:
            StoreError: there is no such file, it is damaged, or the ledger does not reach so far.
            ConfigError: it is of other defenses, or of another model.
        """
        saved, server = load_state(Path(path)), self.server
        if saved.about.get("stages") != self._stages():
            raise ConfigError(
                "this is the state of other defenses",
                place=str(path),
                got=saved.about.get("stages"),
                fix="build the strategy with those",
            )
        sent = self._laid_out(saved.arrays)
        state = check_state(saved.pipeline, self.stack, sent.layout.dim)
        if server.ledger is not None:
            server.ledger.go_on(saved.audit)
        server.state, server.round = state, saved.about["round"]
        server.seed, server.told = saved.about["seed"], str(saved.about.get("told"))
        self._model = saved.arrays
        return _flower(saved.arrays)

    def _laid_out(self, arrays: Mapping[str, Array]) -> Sent:
        network = self.server.network
        return Sent.of(arrays, self._buffers, None if network is None else network.layout)

    def _stages(self) -> list[dict[str, Any]]:
        return [dict(item) for item in json.loads(json.dumps(self.stack.describe(), default=str))]


def _check_options(integers: str, network: object, root: object) -> None:
    if integers not in ("keep", "median"):
        raise ConfigError(
            "no such way with whole numbers",
            place="integers",
            got=integers,
            fix='use "keep" or "median"',
        )
    if root is not None and network is None:
        raise ConfigError(
            "the server can do nothing with data of its own and no network",
            place="root",
            fix="give network=TorchNetwork(module, input_shape, classes)",
        )


def _ledger(audit: Audit | None, path: Path_ | None) -> LedgerFile | None:
    if audit is None and path is None:
        return None
    if audit is None or path is None:
        raise ConfigError(
            "a ledger is one of the defenses, and has a file",
            place="ledger",
            got="no file" if path is None else "none among the defenses",
            fix='name both: RobustStrategy([..., "ledger"], ledger="ledger.jsonl")',
        )
    return LedgerFile(Path(path), audit)


def _flower(arrays: Mapping[str, Array]) -> ArrayRecord:
    return ArrayRecord({name: FlowerArray(array) for name, array in arrays.items()})

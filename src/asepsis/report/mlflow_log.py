"""Runs told to an MLflow tracking store (extra ``[mlflow]``)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from asepsis.core.errors import MissingExtraError, StoreError
from asepsis.report.tracking import Told

EXTRA = "mlflow"
MOST_PARAMS = 100
MOST_POINTS = 1000
"""MLflow takes no more at once."""
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
"""MLflow tells its makers about its use unless it is asked not to."""
NOWHERE = "mlflow-artifacts:/asepsis-keeps-none"
ENDED = ("FINISHED", "FAILED")
STATUS = "asepsis.status"
CREDENTIALS = re.compile(r"//[^/\s@]*@")
"""A name and password in an address."""
Item = TypeVar("Item")


class Mlflow:
    """Tells runs to an MLflow store, each once: a run that is there is left alone.

    The plain client is used, since MLflow's fluent one adds the user's name and the program's path.
    """

    def __init__(self, uri: str) -> None:
        os.environ.update(QUIET)
        try:
            from mlflow import MlflowClient, entities, exceptions
        except ImportError:
            raise MissingExtraError("mlflow", EXTRA) from None
        self._entities, self._trouble = entities, exceptions.MlflowException
        try:
            self._client = MlflowClient(tracking_uri=uri)
        except (exceptions.MlflowException, ImportError) as error:
            raise _unusable(error) from None

    def log(self, run: Told) -> bool:
        """Tell of a run, under an experiment that is called like its study.

        Raises:
            StoreError: the store cannot be used.
        """
        try:
            return self._log(run)
        except self._trouble as error:
            raise _unusable(error) from None

    def _log(self, run: Told) -> bool:
        place = self._experiment(run.study)
        known = self._client.search_runs([place], f"tags.`asepsis.run` = '{run.name}'")
        if any(_same(one, run) for one in known):
            return False
        for one in known:  # told of before it had ended, or not to the end
            self._client.delete_run(one.info.run_id)
        made = self._client.create_run(place, tags=dict(run.tags), run_name=run.title)
        self._fill(made.info.run_id, run)
        return True

    def _experiment(self, study: str) -> str:
        name = f"asepsis/{study}"
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        # Nothing is kept there: the usual place would tell where this program was started.
        return str(self._client.create_experiment(name, artifact_location=NOWHERE))

    def _fill(self, place: str, run: Told) -> None:
        params = [self._entities.Param(key, value) for key, value in run.params.items()]
        points = [self._entities.Metric(p.name, p.value, 0, p.step) for p in run.points]
        for some in parts(params, MOST_PARAMS):
            self._client.log_batch(place, params=some)
        for some in parts(points, MOST_POINTS):
            self._client.log_batch(place, metrics=some)
        self._client.set_terminated(place, "FINISHED" if run.ended else "FAILED")


def _same(one: Any, run: Told) -> bool:
    """Whether a run of the store is this one, told of to the end after it had ended."""
    status = run.tags[STATUS]
    told = one.data.tags.get(STATUS) == status and one.info.status in ENDED
    return bool(told and status != "missing")


def parts(items: Sequence[Item], size: int) -> Iterator[list[Item]]:
    """Cut a list into parts of at most ``size``.

    Example:
        >>> list(parts([1, 2, 3], 2))
        [[1, 2], [3]]
    """
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some


def _unusable(error: Exception) -> StoreError:
    words = CREDENTIALS.sub("//", (str(error).splitlines() or [type(error).__name__])[0])
    return StoreError(
        f"MLflow cannot use its store: {words[:200]}",
        place="--uri",
        fix="e.g. --uri sqlite:///mlflow.db, or the address of a tracking server",
    )

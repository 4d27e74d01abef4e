"""The parts of Flower's simulation runtime that ``simulation`` drives; imported only there."""

from flwr.clientapp.client_app import ClientAppException
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.proto.task_pb2 import Task
from flwr.server.superlink.fleet.vce import vce_api as vce
from flwr.server.superlink.fleet.vce.metrics import VceMetrics
from flwr.server.superlink.linkstate import LinkStateFactory
from flwr.server.superlink.linkstate.in_memory_linkstate import RunRecord
from flwr.supercore.constant import FLWR_IN_MEMORY_DB_NAME, NOOP_FEDERATION_ID
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.federation import NoOpFederationManager
from flwr.superlink.grid import InMemoryGrid

__all__ = [
    "FLWR_IN_MEMORY_DB_NAME",
    "NOOP_FEDERATION_ID",
    "SUPERLINK_NODE_ID",
    "ClientAppException",
    "InMemoryGrid",
    "LinkStateFactory",
    "NoOpFederationManager",
    "ObjectStoreFactory",
    "Run",
    "RunRecord",
    "Task",
    "TaskIdentity",
    "VceMetrics",
    "vce",
]

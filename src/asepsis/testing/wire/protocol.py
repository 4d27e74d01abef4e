"""Flower's messages on the wire; imported only when a line is read."""

from flwr.app import ArrayRecord
from flwr.proto.fleet_pb2 import PullMessagesResponse, PushMessagesRequest
from flwr.proto.message_pb2 import PullObjectRequest, PullObjectResponse, PushObjectRequest
from flwr.supercore.inflatable.inflatable_object import get_object_id
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from google.protobuf.message import DecodeError

__all__ = [
    "ArrayRecord",
    "DecodeError",
    "PullMessagesResponse",
    "PullObjectRequest",
    "PullObjectResponse",
    "PushMessagesRequest",
    "PushObjectRequest",
    "get_object_id",
    "inflate_object_from_contents",
]

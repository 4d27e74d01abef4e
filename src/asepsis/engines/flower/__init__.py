"""Flower as the transport between the server and its clients (extra ``flower``)."""

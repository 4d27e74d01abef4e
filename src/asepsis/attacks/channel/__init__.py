"""What somebody on the wire does to the messages between hospitals and server."""

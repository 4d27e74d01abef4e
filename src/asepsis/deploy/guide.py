"""The README of an app folder: what each side does, in order."""

from __future__ import annotations

TEXT = """\
# {name}

An asepsis experiment as a Flower app for {count} hospitals: `asepsis.deploy.server:app` and
`asepsis.deploy.client:app`, which everybody has installed, play `experiment.toml`. The app itself
holds no code. docs/deploy.md of asepsis says what is trusted, and what TLS and node
authentication stop.

Everywhere: `pip install 'asepsis[flower]'`, the same version on all machines, and

    export FLWR_TELEMETRY_ENABLED=0 FLWR_DISABLE_UPDATE_CHECK=1

## The server (one port in)

    asepsis certificates keys --host superlink.example.org
    flower-superlink --ssl-ca-certfile keys/ca.crt --ssl-certfile keys/server.crt \\
        --ssl-keyfile keys/server.key --enable-supernode-auth \\
        --isolation process --superexec-auth-secret-file keys/apps.secret \\
        --host 0.0.0.0 --port 8443 --disable-runtime-dependency-installation
    flower-superexec --root-certificates keys/ca.crt \\
        --runtime-api-address superlink.example.org:8443 \\
        --superexec-auth-secret-file keys/apps.secret

Hospitals get `keys/ca.crt` and nothing else. Only they may reach port 8443: whoever reaches it can
have an app run by every hospital (see docs/deploy.md).

## Each hospital (no port in)

    asepsis certificates keys --node hospital-0
    # send keys/hospital-0.pub to the server, by a way on which nobody can change it
    flower-supernode --root-certificates ca.crt --superlink superlink.example.org:8443 \\
        --auth-supernode-private-key keys/hospital-0.key --node-config site-0.toml \\
        --isolation process --superexec-auth-secret-file keys/apps.secret --port 9094
    flower-superexec --insecure --runtime-api-address 127.0.0.1:9094 \\
        --superexec-auth-secret-file keys/apps.secret

`site-0.toml` is this hospital's file of `sites/`: which hospital it is, and where its data lie.

## The server again

    # ~/.flwr/config.toml:
    #   [superlink.asepsis]
    #   address = "superlink.example.org:8443"
    #   root-certificates = "/path/to/keys/ca.crt"
    flwr supernode register hospital-0.pub asepsis    # once for every hospital
    flwr run . asepsis --stream --run-config 'results="/path/to/results"'
    asepsis report /path/to/results

## A rehearsal on one machine

    asepsis deploy experiment.toml --local {count}
"""


def guide(name: str, count: int) -> str:
    """Return the text."""
    return TEXT.format(name=name, count=count)

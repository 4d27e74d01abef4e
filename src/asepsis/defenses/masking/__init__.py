"""Secure aggregation: hospitals send masked vectors, and a server learns only their sum.

The rooms, from the bottom up: :mod:`prg` (masks from keys), :mod:`keys` (X25519, HKDF, Ed25519,
authenticated encryption), :mod:`shamir` (secret sharing), :mod:`graph` (who masks with whom),
:mod:`quantize` (rows become words), :mod:`messages` (what is sent), :mod:`terms` (what all have
agreed on), :mod:`client`, :mod:`server`, and :mod:`session`, which carries messages between them in
one process.

Roles hold nothing of each other and exchange bytes only, but they live in one process: this shows
what the protocol computes, sends and costs, and protects nobody from a program beside it. Secrets
are derived from the generator that is handed in, so that a run can be repeated; a deployment hands
each hospital 32 bytes of its operating system's generator instead.
"""

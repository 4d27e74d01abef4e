"""``asepsis ledger``: check a ledger, prove one of its entries, make a key."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asepsis.core.errors import ConfigError

if TYPE_CHECKING:
    from asepsis.defenses.audit.verify import Verdict

TAMPERED = 1
SIMULATED = "the key is a simulation's, which anybody can derive: this protects nothing"
OWN_WORD = "the key is the ledger's own word: give the one you trust with --key"

app = typer.Typer(
    help="Check and prove what a federation's ledger says.",
    epilog="Example: asepsis ledger verify results/mine --key key.pub",
    no_args_is_help=True,
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Key = Annotated[
    str | None,
    typer.Option("--key", help="Public key that must have signed: 64 hex digits, or a file."),
]
Kept = Annotated[Path | None, typer.Option("--head", help="A signed head that was kept elsewhere.")]


@app.command(epilog="Example: asepsis ledger verify results/mine --key key.pub")
def verify(
    file: Annotated[
        Path | None, typer.Argument(help="A ledger, or a results folder: all of its ledgers.")
    ] = None,
    proof: Annotated[
        Path | None, typer.Option("--proof", help="Check this proof instead of a ledger.")
    ] = None,
    key: Key = None,
    head: Kept = None,
    chain: Annotated[
        str | None, typer.Option("--chain", help="URL of a node (otherwise ASEPSIS_LEDGER_CHAIN).")
    ] = None,
    contract: Annotated[
        str | None,
        typer.Option("--contract", help="Compare with the heads in this contract."),
    ] = None,
    unfinished: Annotated[
        bool, typer.Option("--unfinished", help="The run goes on: no closing entry yet.")
    ] = False,
    json_: Json = False,
) -> None:
    """Say whether anything was changed since it was signed, and where; exit code 1 if so."""
    if (file is None) == (proof is None):
        raise ConfigError(
            "name a ledger, or a proof with --proof", place="ledger verify", got=str(file)
        )
    if proof is not None and (chain or contract or unfinished):
        raise ConfigError(
            "--chain, --contract and --unfinished are for a ledger, not for a proof",
            place="ledger verify",
            fix="compare a proof's head with --head",
        )
    if unfinished and file is not None and file.is_dir():
        raise ConfigError(
            "--unfinished is for one ledger",
            place=str(file),
            fix="leave it out: in a folder the records say which runs have ended",
        )
    public = None if key is None else read_public(key)
    if proof is not None:
        _verify_proof(proof, public, head, json_)
    elif file is not None:
        anchor = _anchor(file, chain, contract)
        _verify_ledgers(file, public, head, anchor, unfinished, json_)


@app.command(epilog="Example: asepsis ledger prove LEDGER --entry 12 --out proof.json")
def prove(
    file: Annotated[Path, typer.Argument(help="A ledger.")],
    entry: Annotated[
        int | None, typer.Option("--entry", help="Prove that this entry is in it.")
    ] = None,
    since: Annotated[
        int | None,
        typer.Option("--since", help="Prove that nothing before this size was rewritten."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write the proof to a file.")] = None,
) -> None:
    """Print a proof that a head and the public key suffice to check."""
    from asepsis.defenses.audit import proof

    if (entry is None) == (since is None):
        raise ConfigError("give either --entry or --since", place="ledger prove")
    text = json.dumps(proof.prove(file, entry=entry, since=since), indent=1)
    if out is None:
        typer.echo(text)
        return
    with open(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as handle:
        handle.write(text + "\n")


@app.command("new-key", epilog="Example: asepsis ledger new-key ledger.pem")
def new_key(
    file: Annotated[Path, typer.Argument(help="Where to write it; must not exist yet.")],
) -> None:
    """Make a key that signs a ledger, and print the public key for those who check it."""
    from asepsis.defenses.audit.keys import new_key as make

    typer.echo(make(str(file)).public.hex())


def read_public(text: str) -> bytes:
    """Read a public key: hexadecimal, or a file with that or with PEM.

    Raises:
        ConfigError: it is neither.
        StoreError: the file cannot be read.
    """
    from asepsis.defenses.audit.keys import public_key
    from asepsis.defenses.audit.proof import read_small

    if not Path(text).exists():
        return public_key(text.encode(), text)
    return public_key(read_small(Path(text)), text)


def _verify_proof(path: Path, public: bytes | None, kept: Path | None, json_: bool) -> None:
    from asepsis.defenses.audit import proof

    head = None if kept is None else proof.read_kept(kept)
    checked = proof.check_proof(proof.read_small(path), public=public, kept=head)
    told: dict[str, Any] = {"proof": checked.kind, "wrong": checked.why or None}
    told |= {"head": checked.head.content, "public": checked.public.hex()}
    if json_:
        typer.echo(json.dumps(told, indent=1))
    elif checked.why:
        typer.echo(f"this proof of {checked.kind} is wrong: {checked.why}")
    else:
        own = "" if public else "; the key is the proof's own word: give yours with --key"
        size = checked.head.size
        typer.echo(f"this proof of {checked.kind} holds, under a head over {size} entries{own}")
    if checked.why:
        raise typer.Exit(TAMPERED)


def _anchor(file: Path, chain: str | None, contract: str | None) -> tuple[int, bytes] | None:
    """Return the latest head that a chain holds of this ledger."""
    from asepsis.defenses.audit.chain import check_options, connected, node_url, read_address
    from asepsis.defenses.audit.verify import verify_ledger

    if chain is None and contract is None:
        return None
    if contract is not None and chain is None:
        chain = node_url()
    if chain is None or contract is None or file.is_dir():
        raise ConfigError("--chain and --contract go together, with one ledger", place=str(file))
    check_options(chain, contract)
    log = verify_ledger(file).log
    size, root = connected(chain).latest(read_address(contract), log)
    if not size:
        raise ConfigError("the contract knows nothing of this ledger", place=contract, got=log)
    return size, root


def _verify_ledgers(
    path: Path,
    public: bytes | None,
    head: Path | None,
    anchor: tuple[int, bytes] | None,
    unfinished: bool,
    json_: bool,
) -> None:
    from asepsis.defenses.audit.proof import read_kept
    from asepsis.defenses.audit.verify import verify_ledger
    from asepsis.experiments.ledgers import verify_run
    from asepsis.experiments.store import Store

    kept = () if head is None else (read_kept(head),)
    found: Mapping[Path, Verdict]
    if path.is_dir():
        found = verify_run(Store(path), public=public, kept=kept)
    else:
        found = {
            path: verify_ledger(path, public=public, kept=kept, anchor=anchor, ended=not unfinished)
        }
    if json_:
        typer.echo(
            json.dumps([_told(place, verdict) for place, verdict in found.items()], indent=1)
        )
    else:
        for place, verdict in found.items():
            typer.echo("\n".join(_lines(place, verdict, trusted=public is not None)))
    if any(verdict.findings for verdict in found.values()):
        raise typer.Exit(TAMPERED)


def _told(path: Path, verdict: Verdict) -> dict[str, Any]:
    opening = verdict.opening
    return {
        "ledger": path.name,
        "log": verdict.log,
        "experiment": opening.experiment if opening else None,
        "public": opening.public.hex() if opening else None,
        "key": opening.origin if opening else None,
        "entries": verdict.entries,
        "rounds": verdict.rounds,
        "closed": verdict.closed,
        "head": verdict.head.content if verdict.head else None,
        "findings": [
            {"kind": f.kind, "line": f.line, "entry": f.entry, "message": f.message}
            for f in verdict.findings
        ],
    }


def _lines(path: Path, verdict: Verdict, trusted: bool) -> list[str]:
    if verdict.findings:
        wrong = [f"  {finding}" for finding in verdict.findings]
        return [f"{path.name}: not as it was signed", *wrong]
    if verdict.head is None:
        return [f"{path.name}: nothing is signed yet; its run has not ended"]
    size = f"{verdict.entries} entries of {verdict.rounds} rounds"
    state = "" if verdict.closed else "; its run has not ended"
    lines = [f"{path.name}: {size}, as they were signed{state}"]
    opening = verdict.opening
    if opening and opening.origin == "simulated":
        lines.append(f"  {SIMULATED}")
    elif not trusted:
        lines.append(f"  {OWN_WORD}")
    return lines

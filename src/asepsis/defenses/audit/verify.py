"""Check a ledger: name every entry or head that is not as it was written, and what is wrong.

Three things must agree: each entry's own hash, the chain from entry to entry, and the signed tree
heads. A forger without the key can mend the first two, never the third: then the entries since the
last good head are named, closer than that nothing tells. Where entries are missing, later roots
cannot be recomputed; later signatures are still checked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from asepsis.core.errors import StoreError
from asepsis.defenses.audit.findings import MOST_FINDINGS, Finding, Walk
from asepsis.defenses.audit.reading import (
    BadLine,
    EntryLine,
    HeadLine,
    Opening,
    lines_of,
    open_ledger,
    read_opening,
)

MOST_UNREADABLE = 10_000
"""Lines that cannot be read, beyond which nothing is read; far fewer end the checking."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of checking: without findings every entry is as it was signed.

    ``head`` is the last good head; ``opening`` is missing where entry 0 cannot be believed.
    ``record`` is the hash of the run's record that the closing entry holds.
    """

    log: str
    opening: Opening | None
    entries: int
    rounds: int
    head: HeadLine | None
    findings: tuple[Finding, ...]
    record: str = ""
    closed: bool = False


def verify_ledger(
    path: Path,
    *,
    public: bytes | None = None,
    kept: Sequence[HeadLine] = (),
    anchor: tuple[int, bytes] | None = None,
    ended: bool = True,
) -> Verdict:
    """Check a whole ledger.

    Args:
        path: the ledger's file.
        public: the key that must have signed it; without one, the ledger's own word is taken.
        kept: heads that were kept elsewhere: the ledger must still begin with what they signed.
        anchor: size and root of the latest head that a chain holds, likewise.
        ended: whether the run has ended, so that the closing entry must be there.

    Raises:
        StoreError: the file cannot be read, or no line of it belongs to a ledger.
    """
    with open_ledger(path) as handle:
        items = list(_few_bad(lines_of(handle)))
    if all(isinstance(item, BadLine) for item in items):
        raise StoreError("not a ledger", place=str(path), fix="name a file that a run left")
    opening = read_opening(path)
    walk = Walk(
        public=public or (opening.public if opening else None),
        log=_name(items),
        present={item.seq for item in items if isinstance(item, EntryLine) and item.intact},
        wanted={head.size for head in kept} | ({anchor[0]} if anchor else set()),
    )
    if opening and public is not None and public != opening.public:
        walk.say("other-log", 1, 0, "entry 0 names another public key than the one expected")
    walk.check_start(opening is not None, items[0])
    for item in items:
        walk.take(item)
        if len(walk.findings) >= MOST_FINDINGS:
            break
    else:
        walk.finish(len(items), ended)
    walk.check_key()
    for head in kept:
        walk.compare(head, len(items))
    if anchor:
        walk.compare_root(*anchor, len(items), "a head that the chain holds")
    found = tuple(walk.findings[:MOST_FINDINGS])
    return Verdict(
        walk.log, opening, walk.expected, walk.rounds, walk.head, found, walk.record, walk.closed
    )


def _few_bad(
    items: Iterable[EntryLine | HeadLine | BadLine],
) -> Iterator[EntryLine | HeadLine | BadLine]:
    """Stop where so much is unreadable that enough is found: such a file may be all line breaks."""
    bad = 0
    for item in items:
        yield item
        bad += isinstance(item, BadLine)
        if bad > MOST_UNREADABLE:
            return


def _name(items: Sequence[EntryLine | HeadLine | BadLine]) -> str:
    """Return the name that most lines give the ledger; they cannot all have been altered alone."""
    named = [item.log for item in items if not isinstance(item, BadLine) and item.log]
    if named:
        return Counter(named).most_common(1)[0][0]
    first = items[0]
    return first.leaf.hex() if isinstance(first, EntryLine) else ""

"""What a lying server, hospitals that collude with it, and tampering on the way achieve."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest
from masking_bench import MODEL, OTHER_MODEL, Table
from scipy import stats

from asepsis.defenses.masking import roster as bind
from asepsis.defenses.masking import shamir
from asepsis.defenses.masking.client import Client
from asepsis.defenses.masking.keys import Secrets, derive
from asepsis.defenses.masking.messages import (
    KEY_SHARE,
    SEED_SHARE,
    Advertisement,
    Consent,
    Sealed,
    Share,
)
from asepsis.defenses.masking.prg import Mask, Words, add_masks
from asepsis.defenses.masking.refused import RefusedError
from asepsis.defenses.masking.roster import Roster

EVERYBODY = range(5)
LONG = 4096


def flipped(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


# Tampering on the way


def test_a_share_that_was_changed_on_the_way_is_refused() -> None:
    table = Table(5, threshold=4)
    first, *rest = table.boxes()[0]
    with pytest.raises(RefusedError, match="tampered"):
        table.clients[0].mask([replace(first, box=flipped(first.box)), *rest], table.plain[0])


def test_a_share_for_another_hospital_or_of_another_round_is_refused() -> None:
    table, later = Table(5, threshold=4), Table(5, threshold=4, round_=1)
    boxes, replayed = table.boxes(), later.boxes()
    wrong = replace(boxes[1][0], receiver=0)  # hospital 0's own box to hospital 1
    with pytest.raises(RefusedError, match="no neighbor"):
        table.clients[0].mask([wrong, *boxes[0][1:]], table.plain[0])
    with pytest.raises(RefusedError, match="another hospital"):
        table.clients[1].mask(boxes[0], table.plain[1])
    with pytest.raises(RefusedError, match="tampered with or belongs elsewhere"):
        table.clients[2].mask(replayed[2], table.plain[2])


def test_a_share_is_taken_once() -> None:
    table = Table(5, threshold=4)
    boxes = table.boxes()[0]
    with pytest.raises(RefusedError, match="two shares of one neighbor"):
        table.clients[0].mask([*boxes, boxes[0]], table.plain[0])


def advertised(table: Table) -> list[Advertisement]:
    return [client.advertise() for client in table.clients.values()]


def test_keys_that_the_server_puts_in_a_hospitals_place_are_refused() -> None:
    table = Table(5, threshold=4)
    sent = advertised(table)
    servers = Client(table.terms, 1, table.identities[2], Secrets(b"s" * 32), MODEL).advertise()
    for client in (0, 2):
        with pytest.raises(RefusedError, match="not signed by their hospital"):
            table.clients[client].share([servers if ad.client == 1 else ad for ad in sent])
    with pytest.raises(RefusedError, match="other keys than this hospital's"):
        table.clients[1].share([servers if ad.client == 1 else ad for ad in sent])


def test_keys_of_an_earlier_round_are_refused() -> None:
    earlier = advertised(Table(5, threshold=4, round_=6))
    table = Table(5, threshold=4, round_=7, seed=1)
    table.terms = Table(5, threshold=4, round_=7).terms  # the same registered hospitals
    clients = Table(5, threshold=4, round_=7).clients
    own = {i: clients[i].advertise() for i in clients}
    with pytest.raises(RefusedError, match="not signed by their hospital"):
        clients[0].share([own[0], *earlier[1:]])


@pytest.mark.parametrize("change", ["twice", "stranger", "one key"])
def test_a_roster_that_cannot_be_is_refused(change: str) -> None:
    table = Table(5, threshold=4)
    sent = advertised(table)
    changed = {
        "twice": [*sent, sent[1]],
        "stranger": [*sent, replace(sent[1], client=9, mask_key=b"m" * 32, share_key=b"s" * 32)],
        "one key": [*sent[:-1], replace(sent[-1], mask_key=sent[0].mask_key)],
    }[change]
    with pytest.raises(RefusedError, match=r"twice|stranger"):
        table.clients[0].share(changed)


def test_a_key_that_makes_the_secret_known_is_refused() -> None:
    table = Table(5, threshold=4)
    sent = advertised(table)
    weak = replace(sent[1], share_key=bytes(32))
    signature = table.identities[1].sign(bind.advertised(table.terms, weak))
    with pytest.raises(RefusedError, match="of no use"):
        table.clients[0].share([replace(weak, signature=signature), *sent[:1], *sent[2:]])


def test_a_step_happens_once_and_nothing_follows_a_refusal() -> None:
    table = Table(5, threshold=4)
    named = table.survivors(EVERYBODY)
    hospital = table.clients[0]
    hospital.consent(named)
    with pytest.raises(RefusedError, match="out of order"):
        hospital.consent(named[:4])
    with pytest.raises(RefusedError, match="lies about who"):
        table.clients[1].consent([0, 2, 3, 4])
    with pytest.raises(RefusedError, match="out of order"):
        table.clients[1].consent(named)
    with pytest.raises(RefusedError, match="out of order"):
        table.clients[2].reveal([])


# A server that lies about who survived


def test_a_hospital_signs_no_survivors_that_it_knows_to_be_wrong() -> None:
    for named, reason in [
        ([0, 1, 2], "too few"),
        ([1, 2, 3, 4], "lies about who"),
        ([0, 1, 2, 3, 3], "named twice"),
        ([0, 1, 2, 3, 9], "never began"),
    ]:
        table = Table(5, threshold=4)
        table.survivors(EVERYBODY)
        with pytest.raises(RefusedError, match=reason):
            table.clients[0].consent(named)


def test_hospitals_that_were_told_of_different_survivors_reveal_nothing() -> None:
    table = Table(5, threshold=4)
    table.survivors(EVERYBODY)
    told = {0: [0, 1, 2, 3, 4], 1: [0, 1, 2, 3, 4], 2: [0, 1, 2, 3], 3: [0, 1, 2, 3, 4]}
    consents = [table.clients[i].consent(named) for i, named in told.items()]
    for i in (0, 1, 3):
        with pytest.raises(RefusedError, match="lies about who sent a vector"):
            table.clients[i].reveal(consents)


def test_a_signature_that_the_server_made_up_is_refused() -> None:
    table = Table(5, threshold=4)
    first, second, *rest = table.consents(EVERYBODY)
    forged = replace(second, signature=flipped(second.signature))
    with pytest.raises(RefusedError, match="not valid"):
        table.clients[0].reveal([first, forged, *rest])
    with pytest.raises(RefusedError, match="signed twice"):
        table.clients[2].reveal([first, first, *rest])
    with pytest.raises(RefusedError, match="too few hospitals signed"):
        table.clients[3].reveal([first, *rest[:2]])


def heard(n: int, threshold: int, colluders: int, victim: int) -> bool:
    """Whether some lie gives the server both secrets of a victim.

    The server may tell each honest hospital of any set of survivors, and hand it any signatures
    there are: those of honest hospitals over what they were told, colluders' over anything.
    """
    everybody = tuple(range(n))
    without = tuple(i for i in everybody if i != victim)
    honest = [i for i in everybody if i >= colluders and i != victim]
    for told in product([everybody, without], repeat=len(honest)):
        table = Table(n, threshold)
        table.survivors(everybody)
        sets = dict(zip(honest, told, strict=True)) | {victim: everybody}
        consents = {i: table.clients[i].consent(named) for i, named in sets.items()}
        kinds = {SEED_SHARE: set(range(colluders)), KEY_SHARE: set(range(colluders))}
        for i, named in sets.items():
            fitting = [consents[j] for j in sets if sets[j] == named]
            fitting += [_signed(table, j, named) for j in range(colluders)]
            try:
                shares = table.clients[i].reveal(fitting)
            except RefusedError:
                continue
            kinds[next(s.kind for s in shares if s.about == victim)].add(i)
        if all(len(holders) >= threshold for holders in kinds.values()):
            return True
    return False


def _signed(table: Table, client: int, named: tuple[int, ...]) -> Consent:
    roster = table.clients[client]._roster
    assert roster is not None
    hashed = bind.agreed(named)
    text = bind.consented(roster, client, hashed, MODEL)
    return Consent(client, hashed, MODEL, table.identities[client].sign(text))


@pytest.mark.parametrize(
    ("n", "threshold", "colluders", "possible"),
    [(4, 3, 0, False), (5, 3, 0, False), (5, 4, 1, False), (5, 4, 2, False), (5, 3, 1, True)],
)
def test_no_lie_opens_both_secrets_where_twice_the_threshold_exceeds_all_and_colluders(
    n: int, threshold: int, colluders: int, possible: bool
) -> None:
    assert (2 * threshold > n + colluders) is not possible
    assert heard(n, threshold, colluders, victim=n - 1) is possible


# Different models for different hospitals


def test_a_hospital_that_got_another_model_stops_the_round() -> None:
    result = Table(5, threshold=4, received={2: OTHER_MODEL}).run()
    assert result.total is None
    assert "inconsistent broadcast" in str(result.stopped)


def test_a_server_that_hides_the_victims_signature_gets_noise() -> None:
    table = Table(5, threshold=4, received={2: OTHER_MODEL}, words=LONG)
    table.survivors(EVERYBODY)
    others = [0, 1, 3, 4]
    consents = [table.clients[i].consent(list(EVERYBODY)) for i in others]
    table.server.consents(consents)
    total = table.server.finish({i: table.clients[i].reveal(consents) for i in others})
    assert uniform(total - np.array(table.sum_of(EVERYBODY), dtype=total.dtype)) > 0.001


def test_without_binding_different_models_go_unnoticed() -> None:
    table = Table(5, threshold=4, received={2: OTHER_MODEL}, bind=False)
    result = table.run()
    assert result.total is not None
    assert result.total.tolist() == table.sum_of(EVERYBODY)


# Hospitals that lie to the server


@pytest.mark.parametrize(("alive", "kind"), [(range(5), "seed"), (range(4), "key")])
def test_a_share_that_its_holder_changed_is_refused(alive: range, kind: str) -> None:
    table = Table(5, threshold=4)
    revealed = table.revealed(alive)
    last = revealed[0][-1]
    revealed[0][-1] = Share(last.about, last.kind, bytes(1) + flipped(last.value[1:]))
    with pytest.raises(RefusedError, match=f"hospital 4's {kind} was tampered with"):
        table.server.finish(revealed)


def test_the_server_takes_no_share_that_it_did_not_ask_for() -> None:
    table = Table(5, threshold=4)
    revealed = table.revealed(EVERYBODY)
    last = revealed[0][-1]
    revealed[0][-1] = Share(last.about, KEY_SHARE, last.value)
    with pytest.raises(RefusedError, match="not asked for"):
        table.server.finish(revealed)


def test_one_hospital_cannot_speak_for_another_or_send_twice() -> None:
    table = Table(5, threshold=4)
    begun = table.server.roster(advertised(table))
    boxes = {i: client.share(begun) for i, client in table.clients.items()}
    with pytest.raises(RefusedError, match="speaks for another"):
        table.server.route({**boxes, 0: [replace(boxes[0][0], sender=1)]})
    table.server.route(boxes)
    table.server.collect(0, table.plain[0])
    with pytest.raises(RefusedError, match="nobody waits for"):
        table.server.collect(0, table.plain[0])


# What the server is left with


def uniform(words: Words) -> float:
    """Return the p-value of a chi-square test of every byte's value."""
    values = np.bincount(np.ascontiguousarray(words).view(np.uint8), minlength=256)
    return float(stats.chisquare(values).pvalue)


@pytest.mark.parametrize("bits", [32, 64])
def test_a_masked_vector_says_nothing_about_its_row(bits: int) -> None:
    table = Table(5, threshold=4, words=LONG, bits=bits)
    table.survivors(EVERYBODY)
    for i in EVERYBODY:
        assert uniform(table.plain[i]) < 1e-6  # what is not masked fails the test
        assert uniform(table.masked[i]) > 0.001
        seen = table.masked[i].astype(float)
        assert abs(np.corrcoef(seen, table.plain[i].astype(float))[0, 1]) < 4 / np.sqrt(LONG)


def test_no_hospital_reveals_both_secrets_of_one_peer() -> None:
    for alive in combinations(EVERYBODY, 4):
        table = Table(5, threshold=4)
        kinds = defaultdict(set)
        for shares in table.revealed(alive).values():
            assert len({share.about for share in shares}) == len(shares)
            for share in shares:
                kinds[share.about].add(share.kind)
        assert kinds == {i: {SEED_SHARE if i in alive else KEY_SHARE} for i in EVERYBODY}


def test_below_the_threshold_the_shares_that_were_revealed_open_nothing() -> None:
    """Three of four signers answer: the fourth share is missing, and any value of it fits."""
    table = Table(5, threshold=4, words=LONG)
    revealed = table.revealed([0, 1, 2, 3])
    del revealed[3]
    with pytest.raises(RefusedError, match="too few shares"):
        table.server.finish(revealed)
    guesses = []
    for guess in range(1, 200):
        shares = {i + 1: int.from_bytes(revealed[i][0].value, "big") for i in (0, 1, 2)}
        guesses.append(shamir.combine({**shares, 4: guess * 2**248}))
    assert len(set(guesses)) == len(guesses)
    total = np.stack(list(table.masked.values())).sum(axis=0, dtype="<u4")
    assert isinstance(total, np.ndarray)
    assert uniform(total) > 0.001


def taken_off(words: Words, masks: list[Mask]) -> Words:
    left = words.copy()
    add_masks(left, [(key, -sign) for key, sign in masks])
    return left


def known_masks(table: Table, roster: Roster, client: int, peers: set[int]) -> list[Mask]:
    """Return a hospital's own mask, which the round opens, and those that its peers know."""
    hospital = table.clients[client]
    masks = [(derive(hospital._seed, bind.own_mask(roster, client)), 1)]
    for peer in sorted(peers):
        label = bind.mask_label(roster, client, peer, MODEL)
        public = roster.advertisements[client].mask_key
        key = table.clients[peer]._mask_pair.with_peer(public, label)
        masks.append((key, 1 if client < peer else -1))
    return masks


@pytest.mark.parametrize("colluders", [{0}, {0, 4}, {1, 2, 5}])
def test_server_and_colluders_learn_the_sum_of_the_honest_and_no_more(colluders: set[int]) -> None:
    table = Table(7, threshold=6, words=LONG)
    consents = table.consents(range(7))
    table.server.finish({i: table.clients[i].reveal(consents) for i in range(7)})
    roster = table.clients[0]._roster
    assert roster is not None
    honest = [i for i in range(7) if i not in colluders]
    left = {i: taken_off(table.masked[i], known_masks(table, roster, i, colluders)) for i in honest}
    for size in range(1, len(honest)):
        for some in combinations(honest, size):
            part = np.stack([left[i] for i in some]).sum(axis=0, dtype="<u4")
            truth = np.array(table.sum_of(some), dtype="<u4")
            assert uniform(np.asarray(part - truth)) > 1e-5
    whole = np.stack([left[i] for i in honest]).sum(axis=0, dtype="<u4")
    assert whole.tolist() == table.sum_of(honest)


def test_a_vector_that_came_too_late_stays_masked() -> None:
    """Hospital 4 sent one and is called a dropout: its key is opened, its own mask stays."""
    table = Table(5, threshold=4, words=LONG)
    late = table.boxes()
    vectors = {i: table.clients[i].mask(late[i], table.plain[i].copy()) for i in EVERYBODY}
    for i in range(4):
        table.server.collect(i, vectors[i])
    named = [record.client for record in table.server.survivors()]
    consents = table.server.consents([table.clients[i].consent(named) for i in range(4)])
    total = table.server.finish({i: table.clients[i].reveal(consents) for i in range(4)})
    assert total.tolist() == table.sum_of(range(4))
    roster = table.clients[0]._roster
    assert roster is not None
    pairwise = known_masks(table, roster, 4, {0, 1, 2, 3})[1:]
    own = taken_off(vectors[4], pairwise) - table.plain[4]
    assert uniform(np.asarray(own)) > 0.001


def test_boxes_that_a_neighbor_never_got_are_of_use_to_nobody_else() -> None:
    table = Table(5, threshold=4)
    box: Sealed = table.boxes()[0][0]
    assert box.sender == 1
    taken = replace(box, receiver=2)
    with pytest.raises(RefusedError, match="tampered"):
        table.clients[2].mask([taken], table.plain[2])

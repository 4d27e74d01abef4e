from __future__ import annotations

import torch

from asepsis.report.overlays import overlays


def test_evidence_shines_only_where_it_is() -> None:
    images = torch.full((2, 1, 2, 2), -1.0)
    maps = torch.full((2, 1, 2, 2), -1.0)
    maps[0, 0, 0, 1] = 1.0
    (first, second) = overlays({"inspected": images, "map of grad-cam": maps})[
        "grad-cam over the image"
    ]
    assert first[0, 1].tolist() == [191, 82, 0]
    assert first[0, 0].tolist() == first[1, 0].tolist() == [0, 0, 0]
    assert not second.any()


def test_maps_without_their_images_or_of_another_size_are_left_out() -> None:
    maps = torch.zeros(1, 1, 2, 2)
    assert overlays({"map of grad-cam": maps}) == {}
    assert overlays({"map of grad-cam": maps, "inspected": torch.zeros(1, 3, 4, 4)}) == {}


def test_what_is_no_number_is_drawn_as_none() -> None:
    maps = torch.full((1, 1, 1, 1), float("nan"))
    (row,) = overlays({"inspected": torch.ones(1, 3, 1, 1), "map of x": maps}).values()
    assert row[0].tolist() == [[[255, 255, 255]]]

"""Critics take every size, see every pixel, and judge all classes by projection."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from asepsis.core.errors import ConfigError
from asepsis.core.rng import building_modules
from asepsis.models.critics import Critic, Norm

NORMS: tuple[Norm, ...] = ("batch", "instance", "none")


def made(image: tuple[int, ...], classes: int = 0, norm: Norm = "batch", width: int = 4) -> Critic:
    with building_modules(0):
        return Critic(image, classes, width, norm)


def pictures(n: int, *image: int) -> Tensor:
    return torch.randn(n, *image, generator=torch.Generator().manual_seed(1)).tanh()


@pytest.mark.parametrize(
    "image", [(4, 8, 8), (1, 28, 28), (3, 64, 64), (1, 30, 17), (1, 8, 256), (1, 256, 256)]
)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("classes", [0, 3])
def test_any_image_is_judged_and_no_pixel_overlooked(
    image: tuple[int, ...], norm: Norm, classes: int
) -> None:
    images = pictures(2, *image).requires_grad_()
    logits = made(image, classes, norm)(images)
    assert logits.shape == (2, max(1, classes))
    (seen,) = torch.autograd.grad(logits[0, 0], images)
    assert seen.isfinite().all()
    assert (seen[0] != 0).all()


@pytest.mark.parametrize(("size", "left"), [(8, 4), (28, 3), (32, 4), (64, 4), (256, 4)])
def test_maps_end_small(size: int, left: int) -> None:
    assert made((1, size, size)).body(pictures(1, 1, size, size)).shape[2:] == (left, left)


def test_classes_are_judged_by_projection() -> None:
    critic, images = made((1, 9, 8), classes=3), pictures(4, 1, 9, 8)
    logits, maps = critic(images), critic.body(images)
    assert critic.like is not None
    for i, found in enumerate(maps):
        plain = (critic.real.weight[0].view(found.shape) * found).sum() + critic.real.bias
        for y in range(3):
            places = found.flatten(1).unbind(1)
            likeness = sum(torch.dot(critic.like.weight[y], place) for place in places)
            assert torch.allclose(logits[i, y], plain + likeness, atol=1e-5)
    assert logits.std(1).min() > 0


@pytest.mark.parametrize("norm", NORMS)
def test_only_batch_norm_mixes_samples_and_keeps_statistics(norm: Norm) -> None:
    critic, images = made((1, 12, 12), 2, norm), pictures(4, 1, 12, 12)
    alone = torch.allclose(critic(images)[:1], critic(images[:1]), atol=1e-5)
    assert alone == (norm != "batch")
    assert bool(list(critic.buffers())) == (norm == "batch")


@pytest.mark.parametrize("norm", ["instance", "none"])
def test_a_gradient_penalty_reaches_every_convolution(norm: Norm) -> None:
    critic, images = made((1, 16, 16), 2, norm), pictures(3, 1, 16, 16).requires_grad_()
    (slope,) = torch.autograd.grad(critic(images)[:, 0].sum(), images, create_graph=True)
    penalty = (slope.flatten(1).norm(dim=1) - 1).square().mean()
    kernels = [part.weight for part in critic.body if isinstance(part, nn.Conv2d)]
    for part in torch.autograd.grad(penalty, kernels):
        assert part.isfinite().all()
        assert part.any()


def test_weights_start_as_published_where_a_norm_follows() -> None:
    critic = made((3, 32, 32), norm="batch", width=32)
    for part in critic.body:
        if isinstance(part, nn.Conv2d):
            assert part.weight.std().item() == pytest.approx(0.02, rel=0.1)


def test_without_a_norm_nothing_fades_from_layer_to_layer() -> None:
    critic, maps = made((3, 64, 64), norm="none", width=16), pictures(4, 3, 64, 64)
    for part in critic.body:
        before, maps = maps, part(maps)
        if isinstance(part, nn.LeakyReLU):
            assert 0.3 < maps.square().mean().sqrt() < 2
    assert before.shape[1] == 128


@pytest.mark.parametrize("image", [(28, 28), (30,), (1, 7, 28), (1, 9, 9, 9)])
def test_refuses_what_it_cannot_judge(image: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="critic"):
        Critic(image)

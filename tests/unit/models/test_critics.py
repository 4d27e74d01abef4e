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


def test_what_the_projection_sums_differs_between_images() -> None:
    """Maps normalized within an image would have the same mean in all: no class could be told."""
    critic = made((1, 32, 32), classes=2, norm="instance", width=8)
    images = pictures(16, 1, 32, 32)
    images[8:] = torch.nn.functional.avg_pool2d(images[8:], 5, 1, 2)  # another texture
    before = critic.body[:-1](images)
    assert before.mean((2, 3)).std(0).mean() > 0.05 * before.std()
    sums = critic.body(images).sum((2, 3))
    apart = (sums[:8].mean(0) - sums[8:].mean(0)).abs() / sums.std()
    assert apart.max() > 0.5


def test_instance_norm_spares_first_and_last_convolution() -> None:
    norms = {
        size: sum(
            isinstance(part, nn.InstanceNorm2d)
            for part in made((1, size, size), 2, "instance").body
        )
        for size in (8, 16, 32, 64)
    }
    assert norms == {8: 0, 16: 0, 32: 1, 64: 2}


def test_leaky_slopes_are_as_published() -> None:
    found = [part for part in made((1, 32, 32)).body if isinstance(part, nn.LeakyReLU)]
    assert [part(torch.tensor(-1.0)).item() for part in found] == [pytest.approx(-0.2)] * 3


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


@pytest.mark.parametrize(("norm", "first"), [("none", 0), ("instance", 1)])
def test_without_a_norm_nothing_fades_from_layer_to_layer(norm: Norm, first: int) -> None:
    level = 0
    critic, maps = made((3, 64, 64), norm=norm, width=16), pictures(4, 3, 64, 64)
    for part in critic.body:
        before, maps = maps, part(maps)
        if isinstance(part, nn.LeakyReLU):
            assert level < first or 0.3 < maps.square().mean().sqrt() < 2
            level += 1
    assert before.shape[1] == 128


@pytest.mark.parametrize("image", [(28, 28), (30,), (1, 7, 28), (1, 9, 9, 9)])
def test_refuses_what_it_cannot_judge(image: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="critic"):
        Critic(image)

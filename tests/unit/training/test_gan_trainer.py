"""What a hospital does with a generator and its own critic."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from asepsis.core.contracts import Draws, Keeps, generates
from asepsis.core.errors import ConfigError
from asepsis.core.layout import Layout
from asepsis.core.registry import build
from asepsis.core.rng import building_modules
from asepsis.core.samples import Shard
from asepsis.core.updates import State
from asepsis.models.critics import Critic, Norm
from asepsis.models.gan import Gan
from asepsis.models.generators import Generator
from asepsis.training.gan_trainer import GanTrainer

SIDE, SAMPLES = 16, 24
LOCAL = ("critic.",)


def gan(classes: int = 2, norm: Norm = "batch") -> Gan:
    with building_modules(3):
        generator = Generator((1, SIDE, SIDE), classes, z_dim=4, width=8)
        return Gan(generator, Critic((1, SIDE, SIDE), classes, width=4, norm=norm))


def shard(samples: int = SAMPLES, classes: int = 2) -> Shard:
    inputs = torch.rand(samples, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(5)) * 2 - 1
    return Shard(inputs, torch.arange(samples) % classes)


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


def trained(
    trainer: GanTrainer, module: Gan, data: Shard, home: State | None = None, seed: int = 1
) -> tuple[Tensor, dict[str, float], State]:
    """Train where only the generator travels, from the weights it has; leave the module trained."""
    layout = Layout.of(module, LOCAL)
    task = build("task", "generation")
    row, side, kept = trainer.train_on(
        module, layout, layout.flatten(module), data, task, rng(seed), 1.0, home or {}
    )
    return row, dict(side), kept


def tensors(module: nn.Module) -> list[Tensor]:
    return [part.detach().clone() for part in module.state_dict().values()]


CHOICES: list[dict[str, Any]] = [
    {},
    {"loss": "hinge", "optimizer": "rmsprop"},
    {"loss": "wgan-gp", "critic_steps": 2},
    {"augment": "color,translation,cutout"},
    {"precision": "bf16"},
]


@pytest.mark.parametrize("choice", CHOICES, ids=str)
@pytest.mark.parametrize("classes", [0, 2])
def test_both_networks_learn_and_the_generator_travels(
    choice: dict[str, Any], classes: int
) -> None:
    module = gan(classes, "instance")
    before = Layout.of(module, LOCAL).flatten(module)
    critic = tensors(module.critic)
    row, side, kept = trained(GanTrainer(batch_size=8, **choice), module, shard())
    assert row.shape == before.shape
    assert row.isfinite().all()
    assert row.abs().max() > 0
    torch.testing.assert_close(Layout.of(module, LOCAL).flatten(module), before + row)
    assert not all(map(torch.equal, critic, tensors(module.critic)))
    assert set(side) == set(GanTrainer.telemetry)
    assert all(math.isfinite(value) for value in side.values())
    players = {name.split("/")[1] for name in kept}
    assert players == {"generator", "critic"}
    assert {name.split("/")[0] for name in kept} == {choice.get("optimizer", "adam")}
    assert all(part.dtype == torch.float32 for part in module.parameters())


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_the_same_draws_give_the_same_row(choice: dict[str, Any]) -> None:
    trainer = GanTrainer(batch_size=8, **choice)
    one, two, other = (
        trained(trainer, gan(norm="instance"), shard(), seed=seed)[0] for seed in (1, 1, 2)
    )
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_with_both_traveling_the_received_critic_is_trained() -> None:
    module = gan()
    layout = Layout.of(module)
    received = layout.flatten(module) * 0.5
    trainer = GanTrainer(batch_size=8, steps=1, lr=1e-9)
    row, _ = trainer.train(module, layout, received, shard(), build("task", "generation"), rng(), 1)
    assert row.shape == (layout.dim,)
    assert row[: layout.parameters].abs().max() < 1e-6


class Plainly:
    """The same steps as people write them, with optimizers that live on between rounds."""

    def __init__(self, module: Gan) -> None:
        self.module = module
        betas = (0.5, 0.999)
        self.makers = torch.optim.Adam(module.generator.parameters(), lr=2e-4, betas=betas)
        self.judges = torch.optim.Adam(module.critic.parameters(), lr=2e-4, betas=betas)

    def round(
        self, data: Shard, where: list[Tensor], draws: torch.Generator
    ) -> tuple[float, float]:
        critic, generator = self.module.critic, self.module.generator
        bce = nn.BCEWithLogitsLoss()
        for batch in where:
            real, labels = data.inputs[batch], data.targets[batch]
            z = generator.noise(len(real), draws)
            fake = generator(z, labels)
            column = labels[:, None]
            judged = critic(real).gather(1, column), critic(fake.detach()).gather(1, column)
            loss = bce(judged[0], torch.ones_like(judged[0]))
            loss = loss + bce(judged[1], torch.zeros_like(judged[1]))
            self.judges.zero_grad()
            torch.autograd.backward(loss)
            self.judges.step()
            lured = critic(fake).gather(1, column)
            wanted = bce(lured, torch.ones_like(lured))
            self.makers.zero_grad()
            torch.autograd.backward(wanted)
            self.makers.step()
        return wanted.item(), loss.item()


def test_two_rounds_are_those_of_a_plain_loop_with_optimizers_kept_alive() -> None:
    mine, plain = gan(), gan()
    trainer, loop = GanTrainer(batch_size=8), Plainly(plain)
    home: State = {}
    for seed in range(2):
        _, side, home = trained(trainer, mine, shard(), home, seed)
        source = rng(seed)
        where = trainer.drawn(SAMPLES, 1.0, source)
        draws = torch.Generator().manual_seed(int(source.integers(2**62)))
        told = loop.round(shard(), where, draws)
        assert (side["loss"], side["critic_loss"]) == pytest.approx(told, rel=1e-4)
    for ours, theirs in zip(tensors(mine), tensors(plain), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
def test_what_is_kept_at_home_matters_and_is_not_changed(optimizer: Any) -> None:
    trainer = GanTrainer(batch_size=8, optimizer=optimizer)
    module = gan()
    _, _, home = trained(trainer, module, shard())
    copy = {name: part.clone() for name, part in home.items()}
    again, forgetful = gan(), gan()
    for other in (again, forgetful):
        other.load_state_dict(module.state_dict())
    remembered = trained(trainer, module, shard(), home)[0]
    assert torch.equal(trained(trainer, again, shard(), copy)[0], remembered)
    assert not torch.equal(trained(trainer, forgetful, shard())[0], remembered)
    assert all(torch.equal(home[name], part) for name, part in copy.items())


class Asked(Generator):
    """Remembers the classes it is asked for, and whether gradients are wanted."""

    def __init__(self, classes: int) -> None:
        super().__init__((1, SIDE, SIDE), classes, z_dim=4, width=8)
        self.asked: list[tuple[list[int], bool]] = []

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        assert labels is not None
        self.asked.append((labels.tolist(), torch.is_grad_enabled()))
        return super().forward(z, labels)


def asked(trainer: GanTrainer, data: Shard) -> list[tuple[list[int], bool]]:
    with building_modules(0):
        generator = Asked(3)
        module = Gan(generator, Critic((1, SIDE, SIDE), 3, width=4))
    trained(trainer, module, data)
    return generator.asked


def test_fakes_have_the_classes_of_the_real_batch() -> None:
    data = Shard(shard().inputs, torch.tensor([0, 2] * 12))  # class 1 is elsewhere
    trainer = GanTrainer(batch_size=8)
    where = trainer.drawn(SAMPLES, 1.0, rng())
    assert [labels for labels, _ in asked(trainer, data)] == [
        data.targets[batch].tolist() for batch in where
    ]


def test_a_lonely_image_gets_two_fakes_of_its_class() -> None:
    assert asked(GanTrainer(), Shard(shard(1).inputs, torch.tensor([2]))) == [([2, 2], True)]


def test_the_generator_steps_after_so_many_critic_steps_and_after_the_last() -> None:
    turns = [due for _, due in asked(GanTrainer(batch_size=4, steps=5, critic_steps=2), shard())]
    assert turns == [False, True, False, True, True]


def test_training_uses_what_is_drawn() -> None:
    fed: list[Tensor] = []

    class Watched(Critic):
        def forward(self, images: Tensor) -> Tensor:
            fed.append(images.detach())
            return super().forward(images)

    with building_modules(0):
        module = Gan(Generator((1, SIDE, SIDE), 0, 4, 8), Watched((1, SIDE, SIDE), 0, 4))
    trainer, data = GanTrainer(batch_size=8, steps=4), shard()
    layout = Layout.of(module, LOCAL)
    task = build("task", "generation")
    trainer.train(module, layout, layout.flatten(module), data, task, rng(), 0.5)
    said = trainer.drawn(SAMPLES, 0.5, rng())
    assert len(said) == 2
    for images, where in zip(fed[::3], said, strict=True):  # real, fake, fake again
        assert torch.equal(images, data.inputs[where])


def test_augmented_critics_see_neither_real_nor_fake_images_as_they_are() -> None:
    seen: list[Tensor] = []

    class Watched(Critic):
        def forward(self, images: Tensor) -> Tensor:
            seen.append(images.detach())
            return super().forward(images)

    with building_modules(0):
        module = Gan(Generator((1, SIDE, SIDE), 0, 4, 8), Watched((1, SIDE, SIDE), 0, 4))
    trained(GanTrainer(augment="cutout"), module, shard())
    assert len(seen) == 3
    for images in seen:
        assert ((images == 0).flatten(1).sum(1) >= (SIDE // 4) ** 2).all()


def test_losses_that_are_no_numbers_are_told_and_not_raised() -> None:
    module = gan()
    with torch.no_grad():
        next(module.critic.parameters()).fill_(float("nan"))
    _, side, _ = trained(GanTrainer(), module, shard())
    assert math.isnan(side["loss"])
    assert math.isnan(side["critic_loss"])


def test_the_generator_comes_to_make_images_like_the_hospitals_own() -> None:
    module = gan(2, "none")
    bright = torch.full((SAMPLES, 1, SIDE, SIDE), 0.8)
    labels = torch.arange(SAMPLES) % 2
    data = Shard(torch.where(labels.view(-1, 1, 1, 1) == 1, bright, -bright), labels)
    trained(GanTrainer(batch_size=8, steps=60, lr=5e-3), module, data)
    with torch.no_grad():
        made = module.generator(module.generator.noise(32, torch.Generator()), torch.arange(32) % 2)
    assert made[1::2].mean() - made[::2].mean() > 0.8


def test_it_is_what_the_contracts_ask_for() -> None:
    trainer = build("trainer", "gan")
    assert isinstance(trainer, Keeps)
    assert isinstance(trainer, Draws)
    assert generates(trainer)
    recipe = build("trainer", {"name": "gan", "epochs": 2, "batch_size": 8}).recipe(SAMPLES, 0.5)
    assert (recipe.steps, recipe.batch, recipe.lr, recipe.momentum) == (3, 8, 2e-4, 0.5)


def test_what_does_not_fit_is_refused() -> None:
    module = gan()
    layout = Layout.of(module, LOCAL)
    with pytest.raises(ConfigError, match='norm = "instance"'):
        GanTrainer(loss="wgan-gp").check_model(module, layout)
    GanTrainer().check_model(module, layout)
    GanTrainer(loss="wgan-gp").check_model(gan(norm="instance"), layout)
    with building_modules(0):
        classifier = nn.Linear(2, 2)
    with pytest.raises(ConfigError, match="dcgan"):
        GanTrainer().check_model(classifier, Layout.of(classifier))
    with pytest.raises(ConfigError, match="tells no gradient"):
        GanTrainer().gradient_scale(10)
    with pytest.raises(ConfigError, match="did you mean 'cutout'"):
        build("trainer", {"name": "gan", "augment": "cutaut"})

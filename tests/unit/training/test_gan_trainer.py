"""What a hospital does with a generator and its own critic."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from asepsis.core.contracts import Draws, Keeps
from asepsis.core.errors import ConfigError
from asepsis.core.layout import Layout
from asepsis.core.markers import generates
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

    def __init__(self, module: Gan, trainer: GanTrainer) -> None:
        self.module, self.trainer = module, trainer
        players = (module.generator, trainer.lr), (module.critic, trainer.critic_lr or trainer.lr)
        self.makers, self.judges = (self.optimizer(player, lr) for player, lr in players)

    def optimizer(self, player: nn.Module, lr: float) -> torch.optim.Optimizer:
        if self.trainer.optimizer == "rmsprop":
            return torch.optim.RMSprop(player.parameters(), lr=lr, alpha=0.99, eps=1e-8)
        betas = self.trainer.beta1, self.trainer.beta2
        return torch.optim.Adam(player.parameters(), lr=lr, betas=betas)

    def judges_lose(self, real: Tensor, fake: Tensor) -> Tensor:
        if self.trainer.loss == "bce":
            bce = nn.BCEWithLogitsLoss()
            both: Tensor = bce(real, torch.ones_like(real)) + bce(fake, torch.zeros_like(fake))
            return both
        if self.trainer.loss == "hinge":
            apart: Tensor = (1 - real).clamp(min=0).mean() + (1 + fake).clamp(min=0).mean()
            return apart
        return fake.mean() - real.mean()

    def makers_lose(self, fake: Tensor) -> Tensor:
        if self.trainer.loss == "bce":
            lured: Tensor = nn.BCEWithLogitsLoss()(fake, torch.ones_like(fake))
            return lured
        return -fake.mean()

    def penalty(self, real: Tensor, fake: Tensor, column: Tensor, draws: torch.Generator) -> Tensor:
        share = torch.rand(len(real), 1, 1, 1, generator=draws)
        points = (share * real + (1 - share) * fake.detach()).requires_grad_()
        told = self.module.critic(points).gather(1, column).sum()
        (slope,) = torch.autograd.grad(told, points, create_graph=True)
        steepness = slope.square().sum((1, 2, 3)).sqrt()
        return self.trainer.penalty * (steepness - 1).square().mean()

    def round(
        self, data: Shard, where: list[Tensor], draws: torch.Generator
    ) -> tuple[float, float]:
        critic, generator = self.module.critic, self.module.generator
        for batch in where:
            real, labels = data.inputs[batch], data.targets[batch]
            z = generator.noise(len(real), draws)
            fake = generator(z, labels)
            column = labels[:, None]
            judged = critic(real).gather(1, column), critic(fake.detach()).gather(1, column)
            loss = self.judges_lose(*judged)
            if self.trainer.loss == "wgan-gp":
                loss = loss + self.penalty(real, fake, column, draws)
            self.judges.zero_grad()
            torch.autograd.backward(loss)
            self.judges.step()
            wanted = self.makers_lose(critic(fake).gather(1, column))
            self.makers.zero_grad()
            torch.autograd.backward(wanted)
            self.makers.step()
        return wanted.item(), loss.item()


OTHER_BETAS = {"beta1": 0.2, "beta2": 0.9}
LOSSES: list[dict[str, Any]] = [
    {"loss": "bce"},
    {"loss": "hinge"},
    {"loss": "wgan-gp"},
    {"loss": "wgan-gp", "penalty": 0.5},
]
PACES: list[dict[str, Any]] = [
    {},
    {**OTHER_BETAS, "lr": 1e-3},
    {"critic_lr": 3e-3},
    {"optimizer": "rmsprop", "lr": 1e-4, "critic_lr": 1e-3},
]


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@pytest.mark.parametrize("pace", PACES, ids=str)
def test_two_rounds_are_those_of_a_plain_loop_with_optimizers_kept_alive(
    loss: dict[str, Any], pace: dict[str, Any]
) -> None:
    norm: Norm = "instance" if loss["loss"] == "wgan-gp" else "batch"
    mine, plain = gan(norm=norm), gan(norm=norm)
    trainer = GanTrainer(batch_size=8, **loss, **pace)
    loop = Plainly(plain, trainer)
    home: State = {}
    for seed in range(2):
        _, side, home = trained(trainer, mine, shard(), home, seed)
        source = rng(seed)
        where = trainer.drawn(SAMPLES, 1.0, source)
        draws = torch.Generator().manual_seed(int(source.integers(2**62)))
        told = loop.round(shard(), where, draws)
        assert (side["loss"], side["critic_loss"]) == pytest.approx(told, rel=1e-4, abs=1e-5)
    for ours, theirs in zip(tensors(mine), tensors(plain), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


class Mixed(Critic):
    """Remembers whether it was asked in mixed precision."""

    def forward(self, images: Tensor) -> Tensor:
        kinds = self.__dict__.setdefault("kinds", [])
        kinds.append(torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None)
        return super().forward(images)


@pytest.mark.parametrize("loss", ["bce", "wgan-gp"])
def test_bf16_computes_forward_passes_in_mixed_precision(loss: Any) -> None:
    rows, kinds = {}, {}
    for precision in ("float32", "bf16"):
        module = gan(norm="instance")
        with building_modules(3):
            critic = Mixed((1, SIDE, SIDE), 2, width=4, norm="instance")
        module.critic = critic
        trainer = GanTrainer(batch_size=8, loss=loss, precision=precision)
        rows[precision] = trained(trainer, module, shard())[0]
        kinds[precision] = set(critic.__dict__["kinds"])
    assert kinds == {"float32": {None}, "bf16": {torch.bfloat16}}
    assert rows["bf16"].dtype == torch.float32
    assert not torch.equal(rows["float32"], rows["bf16"])
    assert torch.cosine_similarity(rows["float32"], rows["bf16"], dim=0) > 0.9


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


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"penalty": 5.0}, "trainer.penalty: the loss bce has no gradient penalty; got 5.0"),
        ({"loss": "hinge", "penalty": 0.0}, "the loss hinge has no gradient penalty"),
        ({"loss": "wgan-gp", "penalty": 0.0}, "nothing bounds the critic"),
        ({"optimizer": "rmsprop", "beta1": 0.4}, "rmsprop has no use for beta1 and beta2"),
        ({"optimizer": "rmsprop", "beta2": 0.9}, "rmsprop has no use for beta1 and beta2"),
    ],
)
def test_options_that_nothing_reads_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build("trainer", {"name": "gan", **options})


def test_blanks_between_augmentations_are_no_matter() -> None:
    made = build("trainer", {"name": "gan", "augment": " color, cutout "})
    assert made == GanTrainer(augment="color,cutout")
    assert made.augment == "color,cutout"


@pytest.mark.parametrize("steps", [None, 3])
def test_a_hospital_without_images_is_told_so(steps: int | None) -> None:
    with pytest.raises(ConfigError, match="hospital without training samples"):
        trained(GanTrainer(steps=steps), gan(), shard(0))

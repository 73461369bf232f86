"""Code that all peers share: perceptrons, the optimizer with its clipping, the moving average of the weights."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

LOG_2PI = math.log(2 * math.pi)


# Random numbers are drawn in single precision even if the model is in double, so that a seed gives the same numbers.


def randn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float32).to(torch.get_default_dtype())


def randn_like(x: Tensor) -> Tensor:
    return torch.randn(x.shape, dtype=torch.float32).to(x)


def rand_like(x: Tensor) -> Tensor:
    return torch.rand(x.shape, dtype=torch.float32).to(x)


class Mlp(nn.ModuleList):
    """Linear layers with a nonlinearity between them."""

    def __init__(self, sizes: list[int], activation: Callable[[Tensor], Tensor]):
        super().__init__(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:]))
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        first, *others = self
        x = first(x)
        for layer in others:
            x = layer(self.activation(x))
        return x


class Optimizer:
    """Adam on one network, with gradient clipping if the settings ask for it."""

    def __init__(self, network: nn.Module, settings: dict):
        assert settings["weight_decay"] == 0
        self.parameters = list(network.parameters())
        self.learning_rate = settings["learning_rate"]
        self.clip_norm = settings["clip_norm"]
        self.adam = torch.optim.Adam(
            self.parameters,
            lr=self.learning_rate,
            betas=(settings["beta1"], settings["beta2"]),
            eps=settings["epsilon"],
            fused=True,
        )

    def step(self, loss: Tensor, lr_scale: float) -> dict[str, Tensor]:
        """One step down the gradient of `loss`; returns the norm of the gradient if it is clipped."""
        self.adam.zero_grad()
        loss.backward()
        norms = {}
        if self.clip_norm > 0:
            norms["grad_norm"] = nn.utils.clip_grad_norm_(self.parameters, self.clip_norm)
        for group in self.adam.param_groups:
            group["lr"] = self.learning_rate * lr_scale
        self.adam.step()
        return norms


class Ema:
    """The exponential moving average of a network's parameters and statistics."""

    def __init__(self, network: nn.Module, decay: float):
        live = {name: t for name, t in network.state_dict().items() if t.is_floating_point()}
        self.live = list(live.values())
        self.average = {name: t.clone() for name, t in live.items()}
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self) -> None:
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(list(self.average.values()), self.live, 1 - decay)


def sum_rows(x: Tensor) -> Tensor:
    return x.flatten(1).sum(1)


def gaussian_log_prob(mean: Tensor, log_sigma: Tensor, x: Tensor) -> Tensor:
    return sum_rows(-0.5 * ((x - mean) * torch.exp(-log_sigma)).square() - log_sigma - 0.5 * LOG_2PI)

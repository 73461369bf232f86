"""Normalizing flows of the published libraries zuko, nflows and normflows, as their users would build them.

Each has the architecture of gen's model of the same name, from the settings that `gen bench` exports, and is trained as
in the examples of its library: on the negative log-likelihood with Adam, without `torch.compile`.
"""

import importlib.metadata
import math
import sys
import types
from collections.abc import Callable

import torch
from torch import Tensor, nn

from common import Optimizer, rand_like


class Flow(nn.Module):
    """A flow of a library behind the two calls that are timed."""

    def __init__(self, flow: nn.Module, log_prob: Callable[[Tensor], Tensor], sample: Callable[[int], Tensor]):
        super().__init__()
        self.flow = flow
        self.log_prob = log_prob
        self.sample = sample


def transforms(config: dict) -> int:
    """The number of layers of a flow of points."""
    return config["transforms"] if "transforms" in config else config["couplings"]


def bound(config: dict) -> float:
    """Splines act on [-bound, bound]; the default is that of the paper's experiments."""
    return config.get("bound", 3.0)


def dimension(data: dict) -> int:
    return data["shape"]["points"]["dimension"]


# zuko


def of_zuko(name: str, config: dict, data: dict, **settings) -> Flow:
    import zuko

    kind = getattr(zuko.flows, name)
    flow = kind(dimension(data), transforms=transforms(config), hidden_features=config["hidden"], **settings)
    return Flow(flow, lambda x: flow().log_prob(x), lambda n: flow().sample((n,)))


def zuko_realnvp(config: dict, data: dict) -> Flow:
    return of_zuko("RealNVP", config, data)


def zuko_maf(config: dict, data: dict) -> Flow:
    return of_zuko("MAF", config, data)


def zuko_nsf_ar(config: dict, data: dict) -> Flow:
    return of_zuko("NSF", config, data, bins=config["bins"])


def zuko_nsf(config: dict, data: dict) -> Flow:
    """Couplings with zuko's spline. Zuko's own NSF uses masked networks of all entries even for couplings."""
    from zuko.transforms import MonotonicRQSTransform

    bins = config["bins"]
    shapes = [(bins,), (bins,), (bins - 1,)]
    return of_zuko("NICE", config, data, univariate=MonotonicRQSTransform, shapes=shapes)


# nflows


def without_matplotlib() -> None:
    """Makes nflows importable without matplotlib, which one of its modules imports and no flow needs."""
    try:
        import matplotlib.pyplot
    except ImportError:
        package, pyplot = types.ModuleType("matplotlib"), types.ModuleType("matplotlib.pyplot")
        package.pyplot = pyplot
        sys.modules |= {"matplotlib": package, "matplotlib.pyplot": pyplot}


def nflows_nsf(config: dict, data: dict) -> Flow:
    without_matplotlib()
    from nflows.distributions import StandardNormal
    from nflows.flows import Flow as NflowsFlow
    from nflows.nn.nets import MLP
    from nflows.transforms import CompositeTransform, PiecewiseRationalQuadraticCouplingTransform
    from nflows.utils import create_alternating_binary_mask

    class Net(MLP):
        """Accepts the context that couplings pass to their networks, unlike the library's own perceptron."""

        def forward(self, inputs: Tensor, context: None) -> Tensor:
            return super().forward(inputs)

    features = dimension(data)
    couplings = [
        PiecewiseRationalQuadraticCouplingTransform(
            create_alternating_binary_mask(features, even=index % 2 == 0),
            lambda inputs, outputs: Net([inputs], [outputs], config["hidden"]),
            num_bins=config["bins"],
            tails="linear",
            tail_bound=bound(config),
        )
        for index in range(transforms(config))
    ]
    flow = NflowsFlow(CompositeTransform(couplings), StandardNormal([features]))
    return Flow(flow, flow.log_prob, flow.sample)


# normflows


def normflows_realnvp(config: dict, data: dict) -> Flow:
    import normflows as nf

    features = dimension(data)
    kept = features - features // 2
    layers = []
    for _ in range(transforms(config)):
        net = nf.nets.MLP([kept, *config["hidden"], 2 * (features - kept)])
        layers += [nf.flows.AffineCouplingBlock(net), nf.flows.Permute(features, mode="swap")]
    flow = nf.NormalizingFlow(nf.distributions.DiagGaussian(features, trainable=False), layers)
    return Flow(flow, flow.log_prob, lambda n: flow.sample(n)[0])


def multiscale_glow(image: tuple[int, int, int], scales: int, steps: int, width: int, transform=None) -> nn.Module:
    """Glow of images `[n, channels, height, width]` as in the library's example, without classes.

    Lists begin with the last scale on the way from data to noise.
    """
    import normflows as nf

    channels, height, width_ = image
    bases, flows, merges = [], [], []
    for index in range(scales):
        halvings = scales - index
        inside = channels * 2 ** (halvings + 1)
        flows.append([nf.flows.GlowBlock(inside, width) for _ in range(steps)] + [nf.flows.Squeeze()])
        # Half of the channels are factored out after each scale but the last.
        latent = inside if index == 0 else inside // 2
        bases.append(nf.distributions.DiagGaussian((latent, height >> halvings, width_ >> halvings)))
        if index > 0:
            merges.append(nf.flows.Merge())
    return nf.MultiscaleFlow(bases, flows, merges, transform=transform, class_cond=False)


def normflows_glow(config: dict, data: dict) -> Flow:
    image = data["shape"]["image"]
    shape = (image["channels"], image["height"], image["width"])
    flow = multiscale_glow(shape, config["scales"], config["steps"], config["width"])
    return Flow(flow, lambda x: flow.log_prob(x, None), lambda n: flow.sample(n)[0])


FLOWS: dict[tuple[str, str], Callable[[dict, dict], nn.Module]] = {
    ("zuko", "quick-flow"): zuko_realnvp,
    ("zuko", "maf"): zuko_maf,
    ("zuko", "nsf"): zuko_nsf,
    ("zuko", "nsf-ar"): zuko_nsf_ar,
    ("nflows", "nsf"): nflows_nsf,
    ("normflows", "quick-flow"): normflows_realnvp,
    ("normflows", "glow"): normflows_glow,
}

NAMES = sorted({library for library, _ in FLOWS})


class Model:
    """A flow of FLOWS with the training of gen's model: its optimizer, learning rate and clipping of gradients."""

    def __init__(self, library: str, model: str, config: dict, data: dict):
        if (library, model) not in FLOWS:
            raise ValueError(f"{library} has no `{model}` here")
        self.images = "image" in data["shape"]
        self.network = FLOWS[library, model](config, data)
        self.optimizer = Optimizer(self.network, config["optimizer"])
        self.networks = {"weights": self.network}
        self.version = f"{library} {importlib.metadata.version(library)}"

    def train_step(self, x: Tensor, lr_scale: float) -> dict[str, Tensor]:
        if self.images:
            levels = torch.round((x + 1) * 127.5)
            x = (levels + rand_like(levels)) / 256
            loss = -self.network.log_prob(x).mean() / (x[0].numel() * math.log(2)) + 8
        else:
            loss = -self.network.log_prob(x).mean()
        norms = self.optimizer.step(loss, lr_scale)
        return {"loss": loss.detach()} | norms

    def sample(self, n: int) -> Tensor:
        return self.network.sample(n)

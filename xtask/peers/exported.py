"""A training step of `gen`, as `gen bench` exports it, and the same step of a peer."""

import importlib
import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from common import Ema


class Exported:
    """The settings, the data, and the state before and after one step."""

    def __init__(self, folder: Path):
        self.step = json.loads((folder / "step.json").read_text())
        self.before = load_file(folder / "before.safetensors")
        self.after = load_file(folder / "after.safetensors")
        self.data = load_file(folder / "data.safetensors")

    def model(self):
        """The peer with the exported settings, weights and moments of optimizers."""
        peer = importlib.import_module(self.step["model"].replace("-", "_"))
        model = peer.Model({**self.step["config"], "sampling": self.step["sampling"]}, self.step["data"])
        for prefix, network in model.networks.items():
            load_weights(network, part(self.before, prefix))
        parameters = sum(p.numel() for network in model.networks.values() for p in network.parameters())
        if parameters != self.step["parameters"]:
            raise ValueError(f"{parameters} parameters, where gen has {self.step['parameters']}")
        for prefix, (network, optimizer) in model.optimizers.items():
            state = part(self.before, prefix)
            for name, parameter in network.named_parameters():
                optimizer.adam.state[parameter] = {
                    "step": state["steps"].clone(),
                    "exp_avg": state[f"m.{name}"].clone().to(parameter),
                    "exp_avg_sq": state[f"v.{name}"].clone().to(parameter),
                }
        return model

    def take_step(self, model) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Takes the step with the same random numbers; returns the losses, and the state by gen's names."""
        decay = self.step["training"]["ema_decay"]
        ema = Ema(model.network, decay) if decay > 0 else None
        torch.manual_seed(self.step["torch_seed"])
        batch = self.data["batch"]
        if batch.is_floating_point():
            batch = batch.to(torch.get_default_dtype())
        losses = model.train_step(batch, self.step["lr_scale"])
        after = {}
        if ema is not None:
            ema.update()
            after |= {f"ema.average.{name}": tensor for name, tensor in ema.average.items()}
        for prefix, network in model.networks.items():
            after |= {f"{prefix}.{name}": p.detach() for name, p in network.named_parameters()}
        for prefix, (network, optimizer) in model.optimizers.items():
            for name, parameter in network.named_parameters():
                after[f"{prefix}.m.{name}"] = optimizer.adam.state[parameter]["exp_avg"]
        return losses, after

    def compare(self) -> dict[str, float | str]:
        """The largest relative differences of one step: of a loss, of a tensor's gradient and of its weights.

        The peer takes the step in single and in double precision, and the result nearer to gen's counts. Two gradients
        in single precision differ if rounding changes the sign of the input of a ReLU. Gradients in single and double
        precision differ for a flow, whose first step spreads bytes over the real line.
        """
        return min(map(self.compare_in, (torch.float32, torch.float64)), key=lambda it: it["gradient_difference"])

    def compare_in(self, precision: torch.dtype) -> dict[str, float | str]:
        torch.set_default_dtype(precision)
        try:
            model = self.model()
            losses, after = self.take_step(model)
        finally:
            torch.set_default_dtype(torch.float32)
        ours = self.step["losses"]
        relative = {name: abs(loss.item() / ours[name] - 1) for name, loss in losses.items()}
        norm = relative.pop("grad_norm", 0.0)
        gradients, weights = {}, {}
        for prefix, (_, optimizer) in model.optimizers.items():
            beta1 = optimizer.adam.defaults["betas"][0]
            moments = [name for name in after if name.startswith(f"{prefix}.m.")]

            def gradient(state: dict[str, Tensor], name: str) -> Tensor:
                return (state[name] - beta1 * self.before[name]) / (1 - beta1)

            # If the loss hardly depends on a tensor, its gradient is only rounding errors.
            floor = 1e-4 * sum(gradient(self.after, name).square().sum() for name in moments).sqrt()
            for name in moments:
                gradients[name] = difference(gradient(after, name), gradient(self.after, name), floor)
        for name, tensor in after.items():
            # The discriminator's step moves the running statistics of PyTorch's generator, but not of ours.
            if ".m." not in name and ".running_" not in name:
                weights[name] = difference(tensor, self.after[name], 1e-4)
        worst = max(gradients, key=gradients.get)
        return {
            "loss_difference": max(relative.values()),
            "norm_difference": norm,
            "gradient_difference": gradients[worst],
            "gradient_worst": worst,
            "weight_difference": max(weights.values()),
        }


def difference(a: Tensor, b: Tensor, floor: float | Tensor) -> float:
    """The norm of the difference over the norm of `b`, or over `floor` if that is larger."""
    return ((a - b).norm() / torch.clamp(b.norm(), min=floor)).item()


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    start = f"{prefix}."
    return {name.removeprefix(start): t for name, t in tensors.items() if name.startswith(start)}


def load_weights(network: nn.Module, weights: dict[str, Tensor]) -> None:
    # PyTorch's batch normalisation counts batches, ours does not.
    counters = {name: t for name, t in network.state_dict().items() if name.endswith("num_batches_tracked")}
    network.load_state_dict(weights | counters)

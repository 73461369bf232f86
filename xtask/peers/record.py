"""Records one training step and some samples of a peer, for the tests of the family crates.

    python record.py FOLDER FILE COMMAND

FOLDER is an export of a small model by `gen bench`. FILE (safetensors) gets the weights before the step, the batch,
the seed, the losses, and the first moments of an optimizer that starts there, which are the gradients up to a factor;
and samples of the weights before the step. With convolutions there are also the losses and moments of layers that round
their operands to bfloat16. The peer works in double precision. COMMAND is kept in the file's metadata: how FOLDER was
made.

Weights are rounded to 16 bits before the peer sees them, and images are kept as bytes: the files stay small.
"""

import sys
from contextlib import nullcontext
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

import rounded
from exported import Exported

# One full vector of 16 numbers, or two of 8, and part of another.
SAMPLES = 20


def fresh(exported: Exported):
    """The peer with the exported weights and a new optimizer."""
    model = exported.model()
    for _, optimizer in model.optimizers.values():
        optimizer.adam.state.clear()
    return model


def step(exported: Exported, region) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The losses, and the first moments of all trained parameters."""
    with region:
        losses, after = exported.take_step(fresh(exported))
    return losses, {name: m for name, m in after.items() if name.startswith("training.") and ".m." in name}


def samples(exported: Exported) -> Tensor:
    model = fresh(exported)
    model.network.eval()
    torch.manual_seed(exported.step["sample_seed"])
    with torch.no_grad():
        return model.sample(SAMPLES)


def main() -> None:
    folder, file, command = sys.argv[1:]
    exported = Exported(Path(folder))
    exported.step["lr_scale"] = 1.0
    before = {name: t.half() if t.is_floating_point() else t for name, t in exported.before.items()}
    exported.before = {name: t.float() if t.is_floating_point() else t for name, t in before.items()}
    batch = exported.data["batch"]
    if "image" in exported.step["data"]["shape"]:
        batch = ((batch + 1) * 127.5).round().to(torch.uint8)
        exported.data["batch"] = batch.double() / 127.5 - 1

    torch.set_default_dtype(torch.float64)
    model = fresh(exported)
    optimizers = tuple(f"{prefix}." for prefix in model.optimizers if prefix != "training")
    is_moment = lambda name: name.startswith(("training.m.", "training.v.", "training.steps", *optimizers))
    tensors = {
        f"before.{name}": tensor
        for name, tensor in before.items()
        if name.startswith(("weights.", "training.")) and not is_moment(name)
    }
    tensors |= {"batch": batch, "seed": torch.tensor(exported.step["torch_seed"])}
    drawn = samples(exported)
    # Half precision is enough for images in [-1, 1].
    tensors["samples"] = drawn.half() if drawn.dim() == 4 else drawn.float()
    losses, moments = step(exported, nullcontext())
    tensors |= {f"loss.{name}": loss.float() for name, loss in losses.items()}
    tensors |= {f"moment.{name}": tensor.float() for name, tensor in moments.items()}
    modules = [module for network in model.networks.values() for module in network.modules()]
    # Layers compute the second derivatives of a gradient penalty in single precision.
    if any(isinstance(module, rounded.LAYERS) for module in modules) and "r1" not in losses:
        losses, moments = step(exported, rounded.convolutions())
        tensors |= {f"bf16.loss.{name}": loss.float() for name, loss in losses.items()}
        tensors |= {f"bf16.moment.{name}": tensor.bfloat16() for name, tensor in moments.items()}
    metadata = {"command": command, "torch": torch.__version__}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, file, metadata)


if __name__ == "__main__":
    main()

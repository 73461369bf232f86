"""Writes what a peer makes of one training step, for the tests of the family crates.

    python record.py FOLDER FILE COMMAND

FOLDER is what `gen bench` exported of a small model. FILE (safetensors) gets the weights before the step, the batch,
the seed, the losses, and the first moments of an optimizer that starts there, which are the gradients up to a factor.
COMMAND is kept in the file's metadata: how FOLDER was made.
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from exported import Exported


def main() -> None:
    folder, file, command = sys.argv[1:]
    exported = Exported(Path(folder))
    model = exported.model()
    for _, optimizer in model.optimizers.values():
        optimizer.adam.state.clear()
    optimizers = tuple(f"{prefix}." for prefix in model.optimizers if prefix != "training")
    is_moment = lambda name: name.startswith(("training.m.", "training.v.", "training.steps", *optimizers))
    tensors = {
        f"before.{name}": tensor
        for name, tensor in exported.before.items()
        if name.startswith(("weights.", "training.")) and not is_moment(name)
    }
    tensors["batch"] = exported.data["batch"]
    tensors["seed"] = torch.tensor(exported.step["torch_seed"])
    exported.step["lr_scale"] = 1.0
    losses, after = exported.take_step(model)
    tensors |= {f"loss.{name}": loss for name, loss in losses.items()}
    moments = {name: tensor for name, tensor in after.items() if name.startswith("training.") and ".m." in name}
    tensors |= {f"moment.{name}": tensor for name, tensor in moments.items()}
    metadata = {"command": command, "torch": torch.__version__}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, file, metadata)


if __name__ == "__main__":
    main()

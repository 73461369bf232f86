"""Writes state_dict.pth and state_dict_legacy.pth, and what is in them, state_dict.json, beside this script.

Run with torch 2.13.0. The state dict has what readers get wrong: views of one storage, strides that are not those of
a contiguous tensor, offsets, tensors without entries or without dimensions, parameters, and kinds of all widths.
"""

import json
from collections import OrderedDict
from pathlib import Path

import torch

here = Path(__file__).parent
shared = torch.arange(24, dtype=torch.float32) / 8 - 1

module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
with torch.no_grad():
    for number, parameter in enumerate(module.parameters()):
        parameter.copy_(torch.arange(parameter.numel()).view(parameter.shape) * 0.25 + number)

# That of a module has attributes: `_metadata`.
state = module.state_dict(prefix="module.")
state["parameter"] = torch.nn.Parameter(torch.tensor([1.5, -2.5]))
state["view"] = shared.view(4, 6)
state["transposed"] = shared.view(4, 6).t()
state["every second"] = shared[3::2]
state["inner"] = shared.view(2, 3, 4)[:, 1:, ::2]
state["nothing"] = torch.zeros(3, 0, 2)
state["one"] = torch.tensor(2.25, dtype=torch.float64)
state["half"] = torch.tensor([0.5, -1024.0, 65504.0], dtype=torch.float16)
state["bfloat16"] = torch.tensor([[1.0], [-3.0]], dtype=torch.bfloat16)
state["int64"] = torch.tensor([-(2**40), 7])
state["int32"] = torch.tensor([-(2**30), 7], dtype=torch.int32)
state["int16"] = torch.tensor([-300, 7], dtype=torch.int16)
state["int8"] = torch.tensor([-128, 7], dtype=torch.int8)
state["uint8"] = torch.tensor([255, 7], dtype=torch.uint8)
state["bool"] = torch.tensor([True, False, True])
assert isinstance(state, OrderedDict)

torch.save(state, here / "state_dict.pth")
torch.save(state, here / "state_dict_legacy.pth", _use_new_zipfile_serialization=False)
content = {
    name: {"kind": str(x.dtype), "size": list(x.shape), "values": x.double().flatten().tolist()}
    for name, x in state.items()
}
lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in content.items())
(here / "state_dict.json").write_text(f"{{\n{lines}\n}}\n")

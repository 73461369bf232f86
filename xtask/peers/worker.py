"""A PyTorch worker of `cargo xtask bench`: the requests and answers of `gen bench`.

    python worker.py FOLDER --mode eager|compile|zuko|nflows|normflows [--threads N]

FOLDER is an export of `gen bench`. `eager` and `compile` are the peer of the same name with the exported weights; the
others are of `libraries.py` and start from weights of their own. `train N` and `sample N` answer with wall-clock and
processor seconds, `check` with the largest differences of a peer from the exported step, and `quit` ends the worker.
"""

import argparse
import json
import platform
import sys
from pathlib import Path
from time import perf_counter, process_time

import torch

import libraries
from common import Ema
from exported import Exported


class Clock:
    def __init__(self):
        self.wall, self.cpu = perf_counter(), process_time()

    def read(self) -> dict[str, float]:
        return {"seconds": perf_counter() - self.wall, "cpu_seconds": process_time() - self.cpu}


class Worker:
    def __init__(self, folder: Path, mode: str):
        self.folder = folder
        self.exported = exported = Exported(folder)
        self.mode = mode
        self.model = self.build()
        training = exported.step["training"]
        self.x = exported.data["train"]
        self.batch_size = min(training["batch_size"], len(self.x))
        self.warmup = max(training["warmup_steps"], 1)
        self.ema = Ema(self.model.network, training["ema_decay"]) if training["ema_decay"] > 0 else None

    def build(self):
        if self.mode in libraries.NAMES:
            step = self.exported.step
            return libraries.Model(self.mode, step["model"], step["config"], step["data"])
        model = self.exported.model()
        if self.mode == "compile":
            for name in model.compiled:
                setattr(model, name, torch.compile(getattr(model, name), dynamic=False))
        return model

    def batches(self):
        while True:
            for index in torch.randperm(len(self.x)).split(self.batch_size):
                if len(index) == self.batch_size:
                    x = self.x.index_select(0, index)
                    yield x if x.is_floating_point() else x.float() / 127.5 - 1

    def train(self, steps: int) -> dict[str, float]:
        clock = Clock()
        for step, x in zip(range(steps), self.batches()):
            self.model.train_step(x, min((step + 1) / self.warmup, 1.0))
            if self.ema is not None:
                self.ema.update()
        return clock.read()

    def sample(self, n: int) -> dict[str, float]:
        self.model.network.eval()
        clock = Clock()
        with torch.inference_mode():
            self.model.sample(n)
        seconds = clock.read()
        self.model.network.train()
        return seconds

    def describe(self) -> dict:
        return {
            "model": self.exported.step["model"],
            "parameters": sum(p.numel() for net in self.model.networks.values() for p in net.parameters()),
            "batch_size": self.batch_size,
            "threads": torch.get_num_threads(),
            "precision": "f32",
            "version": getattr(self.model, "version", f"python {platform.python_version()}"),
            "torch_version": torch.__version__.split("+")[0],
        }

    def answer(self, request: str) -> dict:
        match request.split():
            case ["train", n]:
                return self.train(int(n))
            case ["sample", n]:
                return self.sample(int(n))
            case ["check"]:
                return Exported(self.folder).compare()
            case _:
                raise ValueError(f"requests are `train N`, `sample N`, `check` and `quit`, found `{request}`")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--mode", choices=["eager", "compile", *libraries.NAMES], default="eager")
    parser.add_argument("--threads", type=int, default=0)
    args = parser.parse_args()
    if args.threads > 0:
        torch.set_num_threads(args.threads)
    worker = Worker(args.folder, args.mode)
    print(json.dumps(worker.describe()), flush=True)
    for line in sys.stdin:
        if line.strip() == "quit":
            break
        try:
            answer = worker.answer(line)
        except Exception as error:
            first_line = (str(error).splitlines() or [""])[0]
            answer = {"error": f"{type(error).__name__}: {first_line}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()

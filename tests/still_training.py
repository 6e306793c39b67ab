"""`dsunet train` as a script with BatchNorm that stands still, and with accidents if asked for.

On a CPU, BatchNorm takes its statistics over what one process sees, so only without it do several
processes come to what one comes to. What is to happen is in the environment: `ACCIDENT` is
`RANK:EPOCH:BATCH:WHAT`, at the start of that step of that process; `GRADIENTS` is a file for those
of the first step, `STEPS` one for rank and process time at every step.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from dsunet.training.module import SegmentationModule


def hold_still(patch: Any = None) -> None:
    """Takes effect in this process, or for as long as a test's `monkeypatch` says."""
    start, before = (
        SegmentationModule.on_train_batch_start,
        SegmentationModule.on_before_optimizer_step,
    )

    def started(self: SegmentationModule, batch: Any, number: int) -> None:
        start(self, batch, number)
        for module in self.model.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
        _accident(self, number)

    def noted(self: SegmentationModule, optimizer: Any) -> None:
        before(self, optimizer)
        if (file := os.environ.get("GRADIENTS")) and self.global_step == 0 == self.global_rank:
            torch.save({n: p.grad for n, p in self.named_parameters() if p.grad is not None}, file)
        if file := os.environ.get("STEPS"):
            with open(file, "a", encoding="utf-8") as steps:
                steps.write(f"{self.global_rank} {time.process_time()}\n")

    change = setattr if patch is None else patch.setattr
    change(SegmentationModule, "on_train_batch_start", started)
    change(SegmentationModule, "on_before_optimizer_step", noted)


def _accident(module: SegmentationModule, number: int) -> None:
    *place, what = os.environ.get("ACCIDENT", "-1:0:0:none").split(":")
    if list(map(int, place)) != [module.global_rank, module.current_epoch, number]:
        return
    if what == "interrupt":
        os.kill(os.getpid(), signal.SIGINT)
    elif what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "hang":  # and not in torch's hands, where it would notice that others have gone
        time.sleep(600)


if __name__ == "__main__":
    from dsunet.cli import main

    hold_still()
    torch.set_num_threads(1)
    sys.exit(main(sys.argv[1:]))

"""What errors of a training say."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dsunet.errors import OutputError, TrainingError
from dsunet.training.trainer import explained


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (OSError(28, "No space left on device"), OutputError, "make room, and go on with `resume`"),
        (torch.OutOfMemoryError("CUDA out of memory"), TrainingError, "smaller `batch_size`"),
        (
            RuntimeError("DataLoader worker (pid 5) is killed by signal: Bus error."),
            TrainingError,
            r"has died \(DataLoader worker \(pid 5\) is killed.*fewer `workers`",
        ),
        (RuntimeError("shapes differ"), RuntimeError, "shapes differ"),
    ],
)
def test_errors_that_a_user_can_mend_say_how(
    error: Exception, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        raise explained(error, Path("run"))

"""Views of many sizes: a batch of training as it would be with another size of the view."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dsunet.data.dataset import Batch
from dsunet.errors import ConfigError

__all__ = ["at_another_size", "require_several", "sides_within"]

STEP = 32  # the views' sides are multiples of it
SMALLEST = 128  # see `ModelConfig.sam_size`


def sides_within(side: int, share: float) -> list[int]:
    """The sides, in pixels, that a side of the view may become.

    Multiples of 32 from (1 − `share`) to (1 + `share`) times `side`, at least 128; the side itself
    is always among them.
    """
    least, most = side * (1 - share), side * (1 + share)
    around = range(STEP, int(most) + 1, STEP)
    return sorted({side, *(x for x in around if x >= max(least, SMALLEST))})


def require_several(views: tuple[int, int], share: float) -> None:
    """Raises `ConfigError` if a share leaves views of this height and width as they are."""
    if share and len(sides_within(views[0], share)) == 1:
        raise ConfigError(
            f"`multi_scale` is {share:g}, but a view of {views[0]} px has no other multiple of "
            f"{STEP} px, from {SMALLEST} on, within that; give more, or leave it out"
        )


def at_another_size(batch: Batch, share: float, draws: torch.Generator | None = None) -> Batch:
    """The batch with its first view and its masks resized, all alike.

    The size is drawn from a generator that the step seeds, so that a resumed run sees the same
    ones. Views get smaller with antialiasing; a second view stays as it is. What is ignored
    stays so: a pixel counts where all that it is made of counts.

    Args:
        batch: Views of one size.
        share: Largest change of a side, in 0..0.5.
        draws: Draws the size; torch's own generator by default.
    """
    height, width = batch.sam.shape[-2:]
    sides = sides_within(height, share)
    new_height = sides[int(torch.randint(len(sides), (), generator=draws))]
    others = sides_within(width, share)  # of a view that is not square: the one nearest in shape
    new_width = min(others, key=lambda x: (abs(x * height - new_height * width), x))
    if (new_height, new_width) == (height, width):
        return batch

    def resized(values: Tensor) -> Tensor:
        return F.interpolate(
            values,
            size=(new_height, new_width),
            mode="bilinear",
            align_corners=False,
            antialias=True,
        )

    counted = batch.counted
    return batch._replace(
        sam=resized(batch.sam),
        mask=resized(batch.mask).clamp(0, 1),
        counted=None if counted is None else (resized(counted) > 1 - 1e-3).to(counted.dtype),
    )

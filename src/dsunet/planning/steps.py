"""Choices about steps: how many images in one, how large, how many. Functions without a side."""

from __future__ import annotations

import math

from dsunet.config import RECIPE_BATCH
from dsunet.planning.costs import Length, validations
from dsunet.planning.rules import Choice

__all__ = ["choose_batch", "choose_epochs", "choose_rates", "choose_smoothing", "most_epochs"]

_FEWEST_STEPS = 500  # with fewer, smaller batches make more of them, and larger rates use them
_MANY_SEEN, _MANY_EPOCHS = 60_000, 100  # beyond both, training repeats what is known


def choose_batch(batch: int, images: float, why: str) -> list[Choice]:
    """Images per step: the recipe's 8, or 4 where there would be too few steps.

    Args:
        batch: The largest that fits into the memory, 8 at most.
        images: How many the time allows to train on.
        why: How it was found that it fits.
    """
    made_up = max(1, RECIPE_BATCH // batch)
    if batch == RECIPE_BATCH and _are_few(images):
        why = f"8 would leave but {images / batch:.0f} steps"
        return [
            Choice("batch_size", 4, why),
            Choice("accumulate", 1, "more steps, not larger ones"),
        ]
    if made_up == 1:
        return [Choice("batch_size", batch, why), Choice("accumulate", 1, "the recipe's 8 a step")]
    return [
        Choice("batch_size", batch, why),
        Choice(
            "accumulate", made_up, f"makes the recipe's {RECIPE_BATCH} images a step of {batch}"
        ),
    ]


def _are_few(images: float) -> bool:
    """Whether so many images are few steps of the recipe."""
    return images / RECIPE_BATCH < _FEWEST_STEPS


def choose_rates(model: str, start: str, batch: int, images: float) -> list[Choice]:
    """Learning rates, by what the weights start from, the images of a step and those of all.

    Few steps from trained weights take twice the rates and more: on 1,200 images of strip steel S
    was 0.82 instead of 0.73, see "Plans" in benchmarks/README.md.

    Args:
        model: The preset's name.
        start: As `--weights` has it, resolved: `trained`, `encoders`, `none`.
        batch: Images of a step, accumulated ones included.
        images: How many the time allows to train on.
    """
    few = _are_few(images)
    rates = {
        "trained": (1e-3, 5e-4, "few steps from trained weights, so large ones")
        if few
        else (5e-4, 2e-4, "trained weights are left with small steps"),
        "encoders": (1e-3, 3e-4, "only the encoder has learned before"),
        "none": (1e-3, 1e-3 if model.startswith("dsunet-lite") else 2e-4, "from random weights"),
    }
    lr, encoder_lr, why = rates[start]
    if batch < RECIPE_BATCH and not few:
        factor = math.sqrt(batch / RECIPE_BATCH)
        lr, encoder_lr = (float(f"{each * factor:.2g}") for each in (lr, encoder_lr))
        why += f", times √({batch}/{RECIPE_BATCH}) for steps of {batch} images"
    return [
        Choice("lr", lr, why),
        Choice("encoder_lr", encoder_lr, "of an encoder that is trained as a whole"),
        Choice("clip_grad_norm", 2.0, "a broken mask cannot throw the weights off"),
    ]


def choose_smoothing(epochs: int, steps: int) -> list[Choice]:
    """Warm-up, and the average of the weights."""
    warm = min(1, epochs - 1) if epochs < 40 else 3
    reach = max(10, steps // 20)  # steps that the average reaches back
    decay = float(f"{min(0.998, 1 - 1 / reach):.3f}")
    return [
        Choice("warmup_epochs", warm, f"of {epochs}, for AdamW to learn the gradients' sizes"),
        Choice(
            "average",
            decay,
            f"of about the last {min(round(1 / (1 - decay)), steps)} of {steps:,} steps",
        ),
    ]


def most_epochs(pairs: int) -> int:
    """More epochs than these repeat what is known: 100, or 60,000 images."""
    return max(_MANY_EPOCHS, _MANY_SEEN // max(1, pairs))


def choose_epochs(length: Length, minutes: float, pairs: int, validated: bool) -> list[Choice]:
    """How long to train, and how often to validate."""
    least = "not even one fits into" if length.seconds > 60 * minutes else "what fits into"
    why = f"{least} {minutes:g} minutes: {length.epochs * pairs:,} images in all"
    if length.epochs == most_epochs(pairs):
        why = f"{length.epochs * pairs:,} images in all; more would repeat what is known"
    choices = [Choice("epochs", length.epochs, why)]
    if validated:
        count = validations(length.epochs, length.val_every)
        choices.append(
            Choice(
                "val_every",
                length.val_every,
                f"validations in all: {count}; a tenth of the time, but some where there is room",
            )
        )
    return choices

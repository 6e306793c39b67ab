"""From facts to choices: functions without a side, each choice with its reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dsunet.planning.costs import Costs, Length
from dsunet.planning.facts import DataFacts
from dsunet.planning.machine import Machine

__all__ = [
    "FEWEST_EPOCHS",
    "TINY",
    "Choice",
    "choose_changes",
    "choose_flips",
    "choose_tile",
    "choose_validation",
    "choose_view",
    "choose_weights",
    "choose_workers",
    "misfits",
    "models_for",
    "tiny_finding",
    "views_for",
]

TINY = 16
"""Pixels of the view below which an object is tiny: four cells of the finest map, at stride 4."""

FEWEST_EPOCHS = 5
"""Of a schedule that falls once an epoch."""

_STEP = 32  # of a view's sides
_SMALLEST, _LARGEST = 128, 1024
_FEW, _SOME = 0.05, 0.25  # shares of tiny objects that a view may have
_ENOUGH_SEEN = 10_000  # images, epochs times pairs; about those of the recipe in docs/own-data.md
_FEWEST_SEEN = 2_500
_SURE = 2.8  # standard deviations: one chance in a hundred, of two tests
_TELLING = 100  # so many pictures show a photograph's up and down
_HELD_OUT, _MOST_HELD_OUT = 0.2, 500
_STRATIFIED = 5_000  # more masks are not read for it


@dataclass(frozen=True)
class Choice:
    """A setting, and why."""

    name: str
    """That of the command line's flag, with underscores."""
    value: Any
    reason: str


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


# -- the model


def models_for(machine: Machine) -> list[Choice]:
    """Models to try, the most wanted first; the last always works."""
    last = "needs no weights from elsewhere: its trained ones come with dsunet"
    lite = Choice("model", "dsunet-lite", f"no GPU: the small one, which {last}")
    if machine.device != "cuda":
        return [lite]
    memory = machine.memory or 0.0
    found = []
    for name, need in (("dsunet-large", 16e9), ("dsunet-small", 6e9)):
        if memory >= need:
            why = f"a GPU with {memory / 1e9:.0f} GB free, of at least {need / 1e9:.0f} GB for it"
            found.append(Choice("model", name, why))
    return [*found, Choice("model", "dsunet-lite", f"the small one, which {last}")]


# -- the view


def views_for(facts: DataFacts) -> list[int]:
    """Sides of views, in pixels, that suit the pictures, the smallest first.

    None has more pixels than nine in ten pictures have, for then the network would look at made-up
    ones. Objects are tiny in few of them at most: in one of twenty; if no view can do that, in a
    quarter; if none can do that, only the largest view is left.
    """
    top = round(facts.longest_side / _STEP) * _STEP
    top = min(max(top, _SMALLEST), _LARGEST)
    sides = list(range(_SMALLEST, top + 1, _STEP))
    for share in (_FEW, _SOME):
        if good := [side for side in sides if facts.tiny(side, TINY) <= share]:
            return good
    return [top]


def choose_view(facts: DataFacts, sides: Sequence[int], seen: Callable[[int], float]) -> Choice:
    """The side of the view.

    The largest with which the time allows to train on 10,000 images, those of all epochs together,
    and for five epochs; if it allows that with none, on 2,500; else the smallest.

    Args:
        facts: Of the data.
        sides: What to choose from, as `views_for` gives them.
        seen: How many images the time allows to train on with a view.
    """
    enough = max(_ENOUGH_SEEN, FEWEST_EPOCHS * facts.pairs)
    fewest = max(_FEWEST_SEEN, FEWEST_EPOCHS * facts.pairs)
    for least in (enough, fewest):
        fitting = [side for side in sides if seen(side) >= least]
        if fitting:
            break
    side = max(fitting, default=min(sides))
    tiny = facts.tiny(side, TINY)
    size = f"{_percent(tiny)} of the objects under {TINY} px in it" if facts.objects else ""
    if side == max(sides):
        why = f"what nine in ten pictures have at most ({facts.longest_side:.0f} px)"
    elif fitting:
        why = f"larger ones leave the time for fewer than {least:,} images"
    else:
        why = f"the smallest that suits: even it leaves the time for only {seen(side):,.0f} images"
    return Choice("sam_size", side, f"{why}; {size}" if size else why)


def choose_tile(facts: DataFacts, view: int) -> Choice | None:
    """Tiles, where more than a quarter of the objects is tiny in the largest view that suits.

    Seen in the view, tiles show at most one of twenty objects as tiny; they have half of the view's
    pixels at least, since nothing is gained by magnifying more.

    Args:
        facts: Of the data.
        view: Side of the view in pixels.

    Returns:
        `None` where a view of the whole picture does, or pictures are no larger than a tile.
    """
    top = max(views_for(facts))
    share = facts.tiny(top, TINY)
    if share <= _SOME:
        return None
    smallest = sorted(facts.objects)[int(_FEW * len(facts.objects))] * facts.longest_side
    side = int(view * smallest / TINY) // _STEP * _STEP
    side = max(side, view // 2 // _STEP * _STEP, _STEP)
    if side >= facts.longest_side:
        return None
    tiny = facts.tiny(round(view * facts.longest_side / side), TINY)
    return Choice(
        "tile",
        side,
        f"{_percent(share)} of the objects are under {TINY} px even in a view of {top} px of the "
        f"whole picture; of tiles of {side} px it is {_percent(tiny)}",
    )


def tiny_finding(facts: DataFacts, side: int) -> str | None:
    """What is to be said of objects that are too small for a view; nothing of a few."""
    share = facts.tiny(side, TINY)
    if share <= _FEW:
        return None
    needed = [s for s in range(side, _LARGEST + 1, _STEP) if facts.tiny(s, TINY) <= _FEW]
    rather = (
        f"with `sam_size` {needed[0]} it would be {_percent(facts.tiny(needed[0], TINY))}"
        if needed
        else f"even with `sam_size` {_LARGEST} it would be {_percent(facts.tiny(_LARGEST, TINY))}"
    )
    return (
        f"{_percent(share)} of {len(facts.objects):,} objects are under {TINY} px long in a view "
        f"of {side} px, and may be missed; {rather}: give more time or memory, or cut the "
        "pictures into tiles (`tile`)"
    )


# -- how pictures are changed


def choose_flips(facts: DataFacts) -> tuple[list[Choice], str | None]:
    """Whether to mirror; and what cannot be known, if so.

    Mirroring left and right suits nearly everything. Top and bottom are alike where pictures are
    taken from above, through a microscope or of a surface; in photographs light comes from above
    and things stand on the ground. Two sign tests tell: whether the upper half is the lighter one
    more often than not, and whether objects lie below the middle.
    """
    level = Choice("horizontal_flip", 0.5, "left and right are alike in nearly all pictures")
    light, place = facts.light[0], facts.place[0]
    told = (
        f"the upper half is the lighter one in {light.more} of {light.pictures} pictures, the "
        f"object below the middle in {place.more} of {place.pictures}"
    )
    unsure = None
    if facts.camera > 0.5:
        off = f"photographs: {_percent(facts.camera)} name a camera in their EXIF"
    elif abs(light.z) > _SURE or abs(place.z) > _SURE:
        z = max(abs(light.z), abs(place.z))
        off = f"top and bottom differ: {told} ({z:.1f} standard deviations from chance)"
        if abs(facts.light[1].z) > _SURE or abs(facts.place[1].z) > _SURE:
            unsure = (
                "left and right differ, too, so that it may not be gravity (frames of one video, "
                "or one lamp, would do): if your pictures have no up and down, set "
                "`vertical_flip` to 0.5"
            )
    elif facts.looked_at < _TELLING:
        off = f"{facts.looked_at} pictures are too few to tell whether there is an up and down"
        unsure = (
            f"whether pictures have an up and down cannot be told from {facts.looked_at}: if they "
            "have none, set `vertical_flip` to 0.5"
        )
    else:
        why = f"no up or down: {told}, as chance has it"
        return [level, Choice("vertical_flip", 0.5, why)], None
    return [level, Choice("vertical_flip", 0.0, off)], unsure


def choose_changes(facts: DataFacts) -> list[Choice]:
    """Crops and colours."""
    crop = Choice("crop", 0.7, "crops show objects at several sizes")
    if facts.share > 0.5:
        crop = Choice("crop", 0.3, "the object fills most of a picture, and crops would cut it off")
    if facts.grey > 0.9:
        colour = Choice(
            "colour", 0.0, f"{_percent(facts.grey)} are grey, and in grey pictures brightness tells"
        )
    elif facts.pairs < 1000:
        colour = Choice(
            "colour", 0.3, f"colour pictures, and {facts.pairs} are few: light and colours vary"
        )
    else:
        colour = Choice("colour", 0.0, f"{facts.pairs:,} pictures vary enough by themselves")
    return [crop, colour]


# -- validation


def choose_validation(facts: DataFacts) -> tuple[list[Choice], str | None]:
    """What to hold out, where nothing is; and what has to be looked at, if so."""
    if facts.pairs < 5:
        return [], f"{facts.pairs} pairs are too few to hold any out: nothing is validated"
    fraction = round(min(_HELD_OUT, _MOST_HELD_OUT / facts.pairs), 4)
    many = f"at most {_MOST_HELD_OUT} pairs" if fraction < _HELD_OUT else "a fifth"
    choices = [Choice("val_fraction", fraction, f"{many}, chosen by the seed")]
    if facts.running:
        choices.append(
            Choice(
                "group_by",
                r"^(.*?)[-_. ]*\d+$",
                "names count on like frames of videos; what belongs together stays together",
            )
        )
    if facts.empty > 0 and facts.pairs <= _STRATIFIED:
        why = f"{_percent(facts.empty)} of the pictures have no object; held-out ones as many"
        choices.append(Choice("stratify", "empty", why))
    if facts.running:
        return choices, None
    return choices, (
        "nothing says whether pictures belong together (one patient, video or sheet); if some do, "
        "give `group_by`, or the measures will flatter"
    )


def choose_weights() -> Choice:
    """Of a model whose trained weights come with dsunet."""
    why = "the trained ones that come with dsunet, which need fewer images than random ones"
    return Choice("weights", "full", why)


def choose_workers(machine: Machine) -> Choice:
    """Processes that read images."""
    if machine.device == "cuda":
        count = max(1, min(8, machine.cores - 1))
        return Choice("workers", count, f"a GPU is quick; {machine.cores} cores feed it")
    count = 1 if machine.cores <= 2 else 2
    return Choice("workers", count, f"the training itself needs the {machine.cores} cores")


def misfits(
    facts: DataFacts,
    side: int,
    machine: Machine,
    costs: Costs,
    length: Length,
    budget: float,
) -> list[str]:
    """What does not fit: objects into the view, a training into the time or the memory.

    Args:
        facts: Of the data.
        side: Of the view, in pixels; 0 if it is not known.
        machine: Where is trained.
        costs: Of the training.
        length: Of the training.
        budget: Seconds that it may take.
    """
    found = []
    if side and (tiny := tiny_finding(facts, side)):
        found.append(tiny)
    if length.seconds > 1.05 * budget:
        found.append(
            f"{length.epochs} epoch{'s' * (length.epochs > 1)} would take about "
            f"{length.seconds / 60:.1f} minutes, more than "
            f"{budget / 60:g}: give more `minutes`, or fewer pairs (`limit`)"
        )
    if machine.memory is not None and costs.memory > machine.memory:
        found.append(
            f"it takes about {costs.memory / 1e9:.1f} GB, and {machine.memory / 1e9:.1f} GB are "
            "free"
        )
    return found

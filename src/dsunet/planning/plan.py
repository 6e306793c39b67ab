"""A plan: facts, a few timed steps, and the choices that follow from both."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from dsunet.config import RECIPE_BATCH, ModelConfig, as_size, model_config, require_one_class
from dsunet.config.classes import as_classes
from dsunet.data.class_tables import classes_in
from dsunet.data.limits import pixels_allowed
from dsunet.data.split import split_data
from dsunet.errors import ConfigError, DataError, WeightsError
from dsunet.network.source import CustomSource
from dsunet.planning import rules, steps
from dsunet.planning.costs import Costs, Length, length_within
from dsunet.planning.facts import DataFacts
from dsunet.planning.gathering import gather
from dsunet.planning.machine import Machine, look_at_machine
from dsunet.planning.rules import Choice
from dsunet.planning.trial import Task, Trial, costs_of, run_trial
from dsunet.planning.wishes import Plan, Wishes
from dsunet.training.folder import flat_settings
from dsunet.training.request import Request
from dsunet.weights.shipped import SHIPPED

__all__ = ["make_plan"]

_FIRST_TRY = 256  # px, a view to begin with
_TRIES = 4  # of views and batch sizes, until the one that was tried is the one that is chosen
_IMAGES = 32  # of a trial; four steps
_IMAGES_OF_LARGE = 16  # for encoders of hundreds of millions of parameters
_BY_HAND = "given by hand"
_HOLDS_OUT = ("val", "val_list", "val_fraction", "fold")


def make_plan(
    wishes: Wishes,
    *,
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int], None] | None = None,
    attempt: Callable[[Task], Trial] | None = None,
    clock: str = "wall",
) -> Plan:
    """Looks at data and machine, tries a few steps, and chooses.

    Args:
        wishes: What stands already, and how long it may take.
        say: Called with a line before what takes long.
        progress: Called with the number of pairs looked at and the number of all.
        attempt: Takes the steps; `run_trial` by default.
        clock: `wall`; or `processor`: minutes of computing, whatever else the machine does.

    Raises:
        DsunetError: Data, weights or device cannot be used; each says why.
    """
    named = wishes.model_settings.get("classes") or getattr(wishes.model, "classes", ())
    if wishes.data.class_table is not None and not named:
        named = classes_in(wishes.data.class_table)
    require_one_class(as_classes(named), "a plan", "train without one")
    with pixels_allowed(wishes.data.max_pixels):
        return _Planning(wishes, say, attempt or run_trial, clock).plan(progress)


class _Planning:
    """A plan in the making: settings as they stand so far, and the choices that led there."""

    def __init__(
        self,
        wishes: Wishes,
        say: Callable[[str], None],
        attempt: Callable[[Task], Trial],
        clock: str,
    ) -> None:
        self.wishes = wishes
        self.given = wishes.given
        self.say = say
        self.attempt = attempt
        self.clock = clock
        self.data, self.recipe, self.sources = wishes.data, wishes.recipe, wishes.sources
        self.chosen_model = wishes.model
        self.choices: dict[str, Choice] = {}
        self.findings: list[str] = []
        self.tried: dict[tuple[str, Any, Any], Trial] = {}
        self.split = split_data(self.data, self.recipe.seed)

    @property
    def model(self) -> ModelConfig | CustomSource:
        """What is trained, as it stands so far."""
        assert self.chosen_model is not None
        return self.chosen_model

    def plan(self, progress: Callable[[int, int], None] | None) -> Plan:
        """Goes through all of it."""
        machine = look_at_machine(self.recipe)
        facts = self._facts(progress)
        self._hold_out(facts)
        self._take(rules.choose_workers(machine))
        flips, unsure = rules.choose_flips(facts)
        self._take(*flips, *rules.choose_changes(facts))
        if unsure is not None and "vertical_flip" not in self.given:
            self.findings.append(unsure)
        costs = self._choose_model(facts, machine)
        length = self._length(costs)
        self._choose_length(length)
        side = self._fineness(facts)
        self.findings += rules.misfits(facts, side, machine, costs, length, self._budget)
        every = flat_settings(
            self.model, self.data, self.recipe, self.wishes.loss, self.sources.as_settings()
        )
        names = [name for name in every if name in self.choices or name in self.given]
        why = {name: self.choices.get(name, Choice(name, None, _BY_HAND)).reason for name in names}
        return Plan(
            tuple(Choice(name, every[name], why[name]) for name in names),
            tuple(self.findings),
            facts,
            len(self.split.training),
            len(self.split.validation),
            machine,
            self.wishes.minutes,
            length.seconds,
            costs,
        )

    @property
    def _budget(self) -> float:
        return 60 * self.wishes.minutes

    def _take(self, *choices: Choice) -> None:
        """Makes choices, where nothing is given by hand."""
        for choice in choices:
            if choice.name in self.given:
                continue
            self.choices[choice.name] = choice
            if choice.name == "sam_size":
                self._see(choice.value)
            for part in ("data", "recipe", "sources"):
                own = getattr(self, part)
                if choice.name in {field.name for field in dataclasses.fields(own)}:
                    setattr(self, part, replace(own, **{choice.name: choice.value}))

    def _facts(self, progress: Callable[[int, int], None] | None) -> DataFacts:
        intensity = self.wishes.model_settings.get("intensity")
        if intensity is None and self.wishes.model is not None:
            intensity = self.wishes.model.intensity
        facts = gather(self.split.seen_with(intensity or "full"), progress=progress)
        if facts.broken:
            self.findings.append(
                f"{len(facts.broken)} of {facts.looked_at + len(facts.broken)} pairs cannot be "
                f"read, which stops a training (first: {facts.broken[0]}); dsunet data check lists "
                "all"
            )
        return facts

    def _hold_out(self, facts: DataFacts) -> None:
        """Chooses validation pairs, where nothing has told any."""
        if self.split.validation or any(name in self.given for name in _HOLDS_OUT):
            return
        choices, finding = rules.choose_validation(facts)
        own = [choice for choice in choices if choice.name not in self.given]
        try:
            # together: most of them say nothing without the first
            data = replace(self.data, **{choice.name: choice.value for choice in own})
            self.split = split_data(data, self.recipe.seed)
        except (ConfigError, DataError) as error:
            self.findings.append(f"no pairs are held out: {error}")
            return
        self.data = data
        self.choices |= {choice.name: choice for choice in own}
        if finding is not None:
            self.findings.append(finding)

    # -- model, view and batch

    def _choose_model(self, facts: DataFacts, machine: Machine) -> Costs:
        """Chooses the model, unless it is told, and all that depends on it."""
        if self.chosen_model is not None:
            return self._choose_view(facts, machine)
        *larger, last = rules.models_for(machine)
        for choice in larger:
            try:
                costs = self._with_model(choice, facts, machine)
            except WeightsError as error:
                self.findings.append(f"{choice.value} was wanted, but {error}")
                continue
            epochs = self._length(costs).epochs
            if epochs >= rules.FEWEST_EPOCHS:
                return costs
            self.findings.append(
                f"{choice.value} was tried, but {self.wishes.minutes:g} minutes have room for "
                f"{epochs} epochs of it alone"
            )
        return self._with_model(last, facts, machine)

    def _with_model(self, choice: Choice, facts: DataFacts, machine: Machine) -> Costs:
        self.chosen_model = model_config(choice.value, **self.wishes.model_settings)
        self.choices["model"] = choice
        return self._choose_view(facts, machine)

    def _choose_view(self, facts: DataFacts, machine: Machine) -> Costs:
        """Tries steps until the view and the batch that were tried are those that are chosen."""
        start = self._choose_start()
        if self._side() and (tile := rules.choose_tile(facts, self._side())) is not None:
            self._take(tile)
        sides = self._sides(facts)
        if sides:
            self._see(min(sides, key=lambda side: abs(side - _FIRST_TRY)))
        free = "batch_size" not in self.given
        if free:
            auto = machine.memory is not None and machine.device != "mps"
            self.recipe = replace(self.recipe, batch_size="auto" if auto else RECIPE_BATCH)
        largest, why = 0, "as the recipe has it"
        for _ in range(_TRIES):
            trial = self._tried()
            tried = (self._side(), trial.batch_size)
            costs = costs_of(trial, self.clock)
            if sides:
                seen = {side: self._seen(costs, side) for side in sides}
                self._take(rules.choose_view(facts, sides, seen.__getitem__))
            if free:
                largest = max(largest, trial.batch_size)
                seen_here = self._seen(costs, tried[0])
                why = trial.line.partition(": ")[2] or why
                self._take(*steps.choose_batch(largest, seen_here, why))
            if tried == (self._side(), self.recipe.batch_size):
                break
        batch = self.recipe.batch_size
        assert isinstance(batch, int)
        step = batch * self.recipe.accumulate
        costs = costs_of(self._tried(), self.clock)
        seen_now = self._seen(costs, self._side())
        self._take(*steps.choose_rates(self.model.name, start, step, seen_now))
        return costs

    def _choose_start(self) -> str:
        """What the weights start from: `trained`, `encoders` or `none`; says so of shipped ones."""
        weights, name = self.sources.weights, self.model.name
        if weights in ("default", "full") and name in SHIPPED:
            self._take(rules.choose_weights())
            return "trained"
        if weights is None or (weights == "default" and name.endswith("-nano")):
            return "none"
        return "encoders" if weights in ("default", "encoders") else "trained"

    def _sides(self, facts: DataFacts) -> list[int]:
        """Views to choose from; none where somebody, the encoders or tiles tell theirs."""
        model = self.model
        if "sam_size" in self.given or not isinstance(model, ModelConfig) or model.uses_semantic:
            return []
        return [] if self.data.tiling is not None else rules.views_for(facts)

    def _see(self, side: int) -> None:
        assert isinstance(self.model, ModelConfig)
        self.chosen_model = replace(self.model, sam_size=side)

    def _side(self) -> int:
        """The view's longer side in pixels; 0 where a network of somebody's own tells it later."""
        return max(as_size(self.model.sam_size or 0))

    def _fineness(self, facts: DataFacts) -> int:
        """The side of the view that would show a whole picture as finely as it is seen."""
        tile, longest = self.data.tile, facts.longest_side
        return self._side() if tile is None else round(self._side() * max(1, longest / tile))

    def _tried(self) -> Trial:
        """Some steps with the settings as they stand; not tried twice."""
        batch = self.recipe.batch_size
        key = (self.model.name, self._side(), batch)
        if key not in self.tried:
            size = f"views of {self._side()} px" if self._side() else "its view"
            self.say(f"trying some steps of {self.model.name}, {size}, batch size {batch} …")
            trial = self.attempt(
                Task(self._request(), self.split, self._images(), self.wishes.report)
            )
            self.tried[key] = self.tried[(*key[:2], trial.batch_size)] = trial
        return self.tried[key]

    def _images(self) -> int:
        """On how many images to try."""
        model = self.model
        is_large = isinstance(model, ModelConfig) and model.has_hiera and not model.train_pyramid
        return _IMAGES_OF_LARGE if is_large else _IMAGES

    def _request(self) -> Request:
        return Request(
            folder=Path(),
            model=self.model,
            data=self.data,
            recipe=self.recipe,
            loss=self.wishes.loss,
            sources=self.sources,
            distill=None,
            resume=False,
            say=self.say,
            progress_bar=False,
        )

    # -- how long

    def _length(self, costs: Costs) -> Length:
        return length_within(
            costs,
            self._budget,
            len(self.split.training),
            len(self.split.validation),
            most=steps.most_epochs(len(self.split.training)),
            epochs=self.recipe.epochs if "epochs" in self.given else None,
            val_every=self.recipe.val_every if "val_every" in self.given else None,
        )

    def _seen(self, costs: Costs, side: int) -> float:
        """How many images the time allows to train on with a view, if steps go with its area."""
        area = (side / self._side()) ** 2 if self._side() else 1.0
        scaled = replace(costs, image=costs.image * area, validation=costs.validation * area)
        length = self._length(scaled)
        all_of_them = length.epochs * len(self.split.training)
        return all_of_them * min(1.0, self._budget / length.seconds)

    def _choose_length(self, length: Length) -> None:
        batch = self.recipe.batch_size
        assert isinstance(batch, int)
        step = batch * self.recipe.accumulate
        taken = length.epochs * -(-len(self.split.training) // step)
        validated = bool(self.split.validation)
        self._take(
            *steps.choose_epochs(length, self.wishes.minutes, len(self.split.training), validated),
            *steps.choose_smoothing(length.epochs, taken),
        )

"""What a reproduction has to do, and how far it is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from dsunet.config import DataConfig, ModelConfig, Protocol, Role, TrainConfig
from dsunet.data.catalogue.find import FoundSet, find_sets
from dsunet.data.catalogue.sets import TASKS
from dsunet.errors import ConfigError, DataError, DsunetError, OutputError, perhaps
from dsunet.network.source import CustomSource
from dsunet.research.experiments.methods import METHODS, TABLES, TARGETS, Method, PaperTable
from dsunet.support.files import encode_text
from dsunet.weights.checkpoint import read_metadata
from dsunet.weights.registry import PUBLIC_WEIGHTS, public_name

__all__ = [
    "PROTOCOL",
    "Plan",
    "Run",
    "TestSet",
    "check_protocol",
    "fingerprint",
    "make_plan",
]

PROTOCOL = "protocol.json"


@dataclass(frozen=True)
class TestSet:
    """The images that a method is tested on."""

    __test__ = False  # not a test of pytest's

    name: str
    """The set's published name."""
    images: dict[str, Path]
    """By stem."""
    masks: dict[str, Path]


def fingerprint(files: Mapping[str, Path]) -> str:
    """Changes with the names of some files, their sizes and the times of their last change.

    Raises:
        OSError: One is not there.
    """
    facts = []
    for name in sorted(files):
        stat = files[name].stat()
        facts.append(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}")
    return hashlib.sha256(encode_text("\n".join(facts))).hexdigest()


@dataclass(frozen=True)
class Run:
    """One method, trained for one task with one seed."""

    method: Method
    task: str
    seed: int
    folder: Path
    """The reproduction's folder."""

    @property
    def key(self) -> str:
        """Its name in folders: `sod-dsunet-seed0`."""
        return f"{self.task}-{self.method.key}-seed{self.seed}"

    @property
    def training(self) -> Path:
        """Folder of its training."""
        return self.folder / "runs" / self.key

    @property
    def weights(self) -> Path:
        """Its last epoch's weights, which the paper tests."""
        return self.training / "last.safetensors"

    def maps(self, test: str) -> Path:
        """Folder of its maps of one test set."""
        if self.method.maps is not None:
            return self.method.maps / test
        return self.folder / "maps" / self.key / test

    def scores(self, test: str) -> Path:
        """File with its measures on one test set."""
        return self.folder / "scores" / self.key / f"{test}.json"

    def epochs_done(self) -> int:
        """Epochs that it was trained for."""
        try:
            return int(read_metadata(self.weights)["training"]["epoch"])
        except (DsunetError, OSError, KeyError, TypeError, ValueError):
            return 0


@dataclass(frozen=True)
class Plan:
    """Everything that a target needs, in the order in which it is done."""

    folder: Path
    root: Path
    """Where the data sets lie."""
    protocol: Protocol
    tables: tuple[PaperTable, ...]
    rows: dict[str, tuple[Method, ...]]
    """What is trained and tested for each table, by its number."""
    runs: tuple[Run, ...]
    tests: dict[str, dict[str, TestSet]]
    """The test sets that were found, by task and name."""
    training_pairs: dict[str, int]
    """Pairs to train on, by task."""
    absent: tuple[str, ...] = ()
    """Test sets of the tables that were not found."""
    found: dict[str, FoundSet] = field(default_factory=dict)
    stale: set[str] = field(default_factory=set)
    """Keys of runs whose results on disk are not this plan's."""

    def recipe(self, run: Run) -> TrainConfig:
        """The training of one run."""
        protocol = self.protocol
        return run.method.train_config(
            epochs=protocol.epochs,
            batch_size=protocol.batch_size,
            seed=run.seed,
            device=protocol.device,
            precision=protocol.precision,
            feature_cache=protocol.feature_cache,
            cache_budget=protocol.cache_budget,
        )

    def network(self, run: Run) -> ModelConfig | CustomSource:
        """The network of one run, or what makes it."""
        return run.method.source or run.method.model_config(self.protocol.size)

    def data(self, run: Run) -> DataConfig:
        """What one run is trained on."""
        return DataConfig(
            benchmarks=str(self.root),
            task=run.task,
            limit=self.protocol.limit,
            workers=self.protocol.workers,
        )

    def encoder_files(self, run: Run) -> dict[Role, Path]:
        """The official files in `protocol.encoders` that a run needs.

        Raises:
            DsunetError: The folder lacks one.
        """
        if self.protocol.encoders is None or run.method.maps is not None:
            return {}
        config = self.network(run)
        if isinstance(config, CustomSource):
            return {}
        files: dict[Role, Path] = {}
        for role, architecture in config.encoders.items():
            if config.trains(role):
                continue
            version = config.sam_version if role == "pyramid" else "2.1"
            official = PUBLIC_WEIGHTS[public_name(architecture, version)].official_file
            files[role] = Path(self.protocol.encoders, official)
            if not files[role].is_file():
                raise DataError(
                    f"{self.protocol.encoders} lacks {official}, which {run.method.title} needs; "
                    "dsunet weights list names the page of every file"
                )
        return files

    def methods_of(self, task: str) -> list[Method]:
        """All methods of the task's tables, each once."""
        tables = [table for table in self.tables if table.task == task]
        every = {m.key: m for table in tables for m in self.rows[table.number]}
        ordered = [key for key in METHODS if key in every]
        return [every[key] for key in dict.fromkeys([*ordered, *every])]

    def runs_of(self, method: Method, task: str) -> list[Run]:
        """A method's runs for a task, one per seed."""
        return [run for run in self.runs if run.method == method and run.task == task]


def make_plan(
    target: str,
    root: str | Path,
    folder: str | Path,
    protocol: Protocol | None = None,
    methods: Sequence[str] | None = None,
    added: Sequence[Method] = (),
) -> Plan:
    """Finds the data that a target needs, and says what is to be trained and tested.

    Args:
        target: A key of `TARGETS`: a table of the paper, a task, or `all`.
        root: Folder below which the data sets lie, see `find_sets`.
        folder: Where runs, maps, measures and tables go.
        protocol: What of the paper's protocol is changed.
        methods: Keys of `METHODS` to take instead of those in the tables.
        added: Methods of your own beside them, see `added_method`.

    Raises:
        DataError: A training set, or every test set of a table, is not there.
        ConfigError: The target or a method is unknown.
    """
    protocol = protocol or Protocol()
    if target not in TARGETS:
        raise ConfigError(
            f"the target is {target!r}, but needs one of {', '.join(TARGETS)}"
            + perhaps(target, TARGETS)
        )
    tables = tuple(TABLES[number] for number in TARGETS[target])
    rows = {table.number: (*_methods(table, methods), *added) for table in tables}
    tasks = list(dict.fromkeys(table.task for table in tables))
    names = [name for task in tasks for name in TASKS[task].train]
    sets = list(dict.fromkeys(name for table in tables for name in table.sets))
    found = find_sets(root, [*names, *sets])
    counts = _training_pairs(tasks, found, root, protocol.limit)
    tests = _tests(tables, tasks, found, root, protocol.limit)
    absent = tuple(name for name in sets if name not in found or not found[name].pairs)
    _check_added(added)
    plan = Plan(Path(folder), Path(root), protocol, tables, rows, (), tests, counts, absent, found)
    runs = (
        Run(method, task, seed, plan.folder)
        for task in tasks
        for method in plan.methods_of(task)
        for seed in (protocol.seeds if method.trained else protocol.seeds[:1])
    )
    return replace(plan, runs=tuple(runs))


def _training_pairs(
    tasks: Sequence[str], found: Mapping[str, FoundSet], root: str | Path, limit: int | None
) -> dict[str, int]:
    """Pairs to train on, by task; every set has to be there."""
    counts = {}
    for task in tasks:
        lacking = [n for n in TASKS[task].train if n not in found or not found[n].pairs]
        for name in lacking:
            if name in found and found[name].broken:
                raise DataError(found[name].broken)
        if lacking:
            raise DataError(
                f"{root} has no {' and no '.join(lacking)}, which {task} is trained on; "
                f"dsunet data check {root} tells what is there, docs/benchmarks.md what is needed"
            )
        every = sum(len(found[name].pairs) for name in TASKS[task].train)
        counts[task] = min(every, limit or every)
    return counts


def _tests(
    tables: Sequence[PaperTable],
    tasks: Sequence[str],
    found: Mapping[str, FoundSet],
    root: str | Path,
    limit: int | None,
) -> dict[str, dict[str, TestSet]]:
    """The test sets that were found, by task and name; each task needs one."""
    tests: dict[str, dict[str, TestSet]] = {task: {} for task in tasks}
    for table in tables:
        for name in table.sets:
            if name in found and found[name].pairs:
                tests[table.task][name] = _test_set(found[name], limit)
    for task in tasks:
        if not tests[task]:
            missing = [n for table in tables if table.task == task for n in table.sets]
            raise DataError(
                f"{root} has none of the test sets {', '.join(dict.fromkeys(missing))}; dsunet "
                f"data check {root} tells what is there, docs/benchmarks.md what is needed"
            )
    return tests


def _check_added(added: Sequence[Method]) -> None:
    taken: dict[str, str] = {}
    for method in added:
        if method.key in taken:
            raise ConfigError(
                f"{taken[method.key]!r} and {method.title!r} are too much alike to name folders "
                "after; give one of them another name"
            )
        taken[method.key] = method.title


def _methods(table: PaperTable, keys: Sequence[str] | None) -> tuple[Method, ...]:
    wanted = table.methods if keys is None else keys
    unknown = [key for key in wanted if key not in METHODS]
    if unknown:
        raise ConfigError(
            f"method {unknown[0]!r} is unknown; known: {', '.join(METHODS)}"
            + perhaps(unknown[0], METHODS)
        )
    return tuple(METHODS[key] for key in dict.fromkeys(wanted))


def _test_set(found: FoundSet, limit: int | None) -> TestSet:
    pairs = found.pairs
    count = min(len(pairs), limit or len(pairs))
    images, masks = {}, {}
    for pair in (pairs[i * len(pairs) // count] for i in range(count)):
        if not (isinstance(pair.image, Path) and isinstance(pair.mask, Path)):
            raise DataError(f"{found.images} is an archive; unpack {found.name} to test on it")
        images[pair.name], masks[pair.name] = pair.image, pair.mask
    return TestSet(found.name, images, masks)


def check_protocol(plan: Plan) -> None:
    """Compares with how a folder's results were made.

    Raises:
        OutputError: The folder holds results of another protocol.
    """
    note = plan.folder / PROTOCOL
    now = plan.protocol.changes
    if not note.is_file():
        return
    try:
        before = {"feature_cache": False, **json.loads(note.read_bytes())}  # older ones lack it
        changed = [name for name in now if before[name] != now[name]]
    except (ValueError, KeyError, TypeError) as error:
        raise OutputError(
            f"{note} cannot be read; remove it, or choose another `output`"
        ) from error
    if changed:
        name = changed[0]
        raise OutputError(
            f"the results in {plan.folder} were made with {name} = {before[name]!r}, not "
            f"{now[name]!r}; go on as they were made, or choose another `output`"
        )

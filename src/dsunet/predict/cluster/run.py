"""From a plan to masks and a manifest, on a Ray cluster.

Ray Data shares parts out among actors, starts those that die again and holds no more of the input
and of results than it needs; here are only the plan, what is done already, and the end.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import Image

import dsunet
from dsunet.config import Options, require_one_class
from dsunet.errors import ConfigError, DeviceError, DsunetError, OutputError
from dsunet.predict.files import check_draft, check_folder
from dsunet.predict.outputs import check_options
from dsunet.predict.plan import Planned, output_path
from dsunet.predict.record import MANIFEST, add_failures, begin, folders_of, way_of
from dsunet.predict.segmenter import Segmenter
from dsunet.support.files import clear_temporaries, lock_folder, stopped_writing
from dsunet.support.packages import needing

if TYPE_CHECKING:
    from dsunet.predict.cluster.actor import Setup

__all__ = ["LOCAL", "ClusterReport", "predict_on_cluster"]

LOCAL = "local"
"""In place of an address: a cluster of this machine alone, for as long as the prediction takes."""

PATIENCE = 900.0
"""Seconds without any sign of life after which a prediction is given up."""

_EXAMPLES = 10


@dataclass
class ClusterReport:
    """What a prediction on a cluster came to."""

    written: int = 0
    """Images whose outputs were written."""
    skipped: int = 0
    """Images that the manifest had already."""
    failed: int = 0
    """Images without outputs."""
    notes: int = 0
    """Images of which the manifest has a note."""
    reasons: list[str] = field(default_factory=list)
    """Of the first few that failed, each with the image."""


def predict_on_cluster(
    segmenter: Segmenter,
    planned: Sequence[Planned],
    output: str | Path,
    options: Options | None = None,
    *,
    cluster: str = LOCAL,
    actors: int | None = None,
    cpus: int = 1,
    resume: bool = False,
    batch_size: int = 1,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    report: ClusterReport | None = None,
) -> ClusterReport:
    """Segments images on a Ray cluster; writes what `predict_files` writes, and a manifest.

    `OUTPUT/manifest` holds Parquet files with one row for every image, see
    `dsunet.predict.cluster.manifest`. All machines need the output folder, the images and the
    weights under the same paths, and the same dsunet.

    Actors that die are started again, and go on where they were; an image that several died over
    gets a row that says so. What was done stays done when the driver dies: `resume` goes on.

    Args:
        segmenter: The model; actors build theirs by its recipe.
        planned: Of `dsunet.predict.plan.plan`.
        output: Folder to write to.
        options: What to write.
        cluster: `local` starts one on this machine; `auto` takes the one that this machine belongs
            to, HOST:PORT that of this head.
        actors: How many at most; by default as many as the cluster has processors or GPUs for.
        cpus: Processors for each, and threads that compute in it.
        resume: Skip images that the manifest has without an error, and whose outputs are there,
            made by the same weights and options.
        batch_size: Images per pass.
        workers: Threads of each actor that read images, and as many that write; by default 4 where
            images have addresses, and otherwise none.
        progress: Called with the number of images done and the number of all.
        report: Is kept up to date while it goes on.

    Raises:
        ConfigError: Options do not go together, or another process cannot build the model.
        OutputError: The folder cannot be used or written, or is of another way.
        DeviceError: The cluster has not what an actor needs.
        MissingPackageError: Ray is not installed.
        DsunetError: There was no sign of life for a long time, or an actor cannot go on.
    """
    options, report = options or Options(), report or ClusterReport()
    check_options(options)
    require_one_class(segmenter.classes, "`cluster`", "leave it out")
    options = segmenter.filled(options)
    check_draft(options, segmenter)
    if cpus < 1 or (actors is not None and actors < 1):
        raise ConfigError("`actors` and `actor_cpus` need at least 1")
    recipe, folder = segmenter.recipe, Path(os.path.abspath(output))  # noqa: PTH100
    check_folder(folder)
    with needing("a cluster", extra="ray"):
        import ray

        from dsunet.predict.cluster.actor import Setup, work_folder
        from dsunet.predict.cluster.parts import size_of_parts
    size = size_of_parts(len(planned))
    device = "cuda" if recipe.device.startswith("cuda") else recipe.device
    setup = Setup(
        replace(recipe, device=device),
        way_of(segmenter, options),
        dsunet.__version__,
        folder,
        options,
        secrets.token_hex(4),
        size,
        batch_size,
        workers,
        cpus,
        Image.MAX_IMAGE_PIXELS,
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with lock_folder(folder):
            going_on = begin(folder, segmenter, partial(_names, planned), options, resume)
            kept, parts = _prepare(setup, planned, going_on is not None, report)
            if parts:
                total = len(planned)
                with _cluster(ray, cluster):
                    if progress:
                        progress(report.skipped, total)
                    run = _summaries(setup, parts, _Needs.of(ray, actors, cpus, device))
                    for summary in _watched(run, work_folder(folder)):
                        _add(summary, report)
                        if progress:
                            progress(report.skipped + report.written + report.failed, total)
            _finish(setup, kept + len(planned) - report.skipped, _names(planned))
    except OSError as error:
        raise stopped_writing(error, folder, "written") from error
    return report


def _names(planned: Sequence[Planned]) -> Iterator[str]:
    """Of the outputs that there will be."""
    return (job.name for job in planned if not job.trouble)


def _prepare(
    setup: Setup, planned: Sequence[Planned], going_on: bool, report: ClusterReport
) -> tuple[int, int]:
    """What is done already, and the plan of the rest.

    Returns:
        How many rows the manifest has and keeps, and how many parts there are to do.
    """
    import pyarrow.compute as pc

    from dsunet.predict.cluster.journal import rows_in
    from dsunet.predict.cluster.manifest import OK, done_in, settle, write_part
    from dsunet.predict.cluster.parts import table_of, write_plan

    manifest, options, kept = setup.output / MANIFEST, setup.options, 0
    manifest.mkdir(exist_ok=True)
    table, keys = table_of(planned, options.format)
    if going_on:
        left = [row for file in sorted(setup.work.glob("*.jsonl")) for row in rows_in(file)]
        if left:
            write_part(manifest / f"part-{setup.token}-left.parquet", left)

        def is_there(output: str, status: str) -> bool:
            return status == OK and all(
                output_path(setup.output, kind, options.save, output, options.format).exists()
                for kind in options.save
            )

        kept = settle(manifest, is_there)
        done = pc.is_in(keys, value_set=done_in(manifest))
        report.skipped = pc.sum(done).as_py() or 0
        table = table.filter(pc.invert(done))
    shutil.rmtree(setup.work, ignore_errors=True)
    setup.work.mkdir(parents=True)
    return kept, write_plan(setup.work, setup.token, table, setup.size)


def _finish(setup: Setup, expected: int, names: Iterable[str]) -> None:
    """Merges the manifest, looks whether it is complete, and tells of what failed."""
    from dsunet.predict.cluster.manifest import failures_in, settle

    manifest = setup.output / MANIFEST
    rows = settle(manifest)
    first = True
    for failure in failures_in(manifest):
        add_failures(setup.output, [failure], first=first)
        first = False
    if rows != expected:
        raise OutputError(
            f"{manifest} has {rows} rows, but {expected} were to be there; something else has "
            "written to it: go on with `resume`"
        )
    shutil.rmtree(setup.work, ignore_errors=True)
    for place in folders_of(setup.output, names, setup.options):
        clear_temporaries(place)  # of actors that died


@contextmanager
def _cluster(ray: Any, address: str) -> Iterator[None]:
    """Connected to a cluster; one of this machine alone ends with it."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
    if ray.is_initialized():  # by whoever calls this from Python
        yield
        return
    local = address == LOCAL
    shown: dict[str, Any] = {} if _shows_all() else _QUIET
    if not _shows_all():
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    # what goes through Ray are numbers of parts and summaries
    settings = {"include_dashboard": False, "object_store_memory": 2**28} if local else {}
    for left in reversed(range(_STARTS if local else 1)):
        try:
            ray.init(address=address, **settings, **shown)
            break
        except Exception as error:  # a start that takes too long is nothing more special
            ray.shutdown()
            if left:
                continue
            reason = " ".join(str(error).split())[:200]
            what = "be started here" if local else f"be reached at {address}"
            remedy = "try when the machine is less busy" if local else "name its head as HOST:PORT"
            raise DeviceError(
                f"no Ray cluster can {what} ({reason}); {remedy}, or leave `cluster` out"
            ) from error
    try:
        yield
    finally:
        ray.shutdown()


_STARTS = 3
"""How often a cluster of this machine is tried; Ray gives up after 30 seconds, busy or not."""

_QUIET = {"log_to_driver": False, "logging_level": "ERROR"}


def _shows_all() -> bool:
    """Whether what Ray has to say is shown, too."""
    return bool(os.environ.get("DSUNET_DEBUG"))


class _Needs(NamedTuple):
    """What every actor takes of the cluster, and how many there may be."""

    actors: int
    cpus: int
    gpus: int

    @classmethod
    def of(cls, ray: Any, actors: int | None, cpus: int, device: str) -> _Needs:
        """Raises `DeviceError` unless the cluster has room for one actor."""
        has, gpus = ray.cluster_resources(), int(device == "cuda")
        room = int(has.get("CPU", 0) // cpus)
        if gpus:
            room = min(room, int(has.get("GPU", 0)))
        if not room:
            needed = f"{cpus} processors" + (" and a GPU" if gpus else "")
            raise DeviceError(
                f"every actor needs {needed}, but the cluster has {has.get('CPU', 0):g} processors "
                f"and {has.get('GPU', 0):g} GPUs; use fewer `actor_cpus`, or a larger cluster"
            )
        return cls(actors or room, cpus, gpus)


def _summaries(setup: Setup, parts: int, needs: _Needs) -> Callable[[], Iterator[Any]]:
    """What gives the summaries of parts as they come."""
    import ray.data

    from dsunet.predict.cluster.actor import PartActor

    if not _shows_all():
        logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = _shows_all()

    def run() -> Iterator[Any]:
        actors = min(needs.actors, parts)
        data = ray.data.from_items(
            [{"part": number} for number in range(parts)], override_num_blocks=parts
        ).map_batches(
            PartActor,
            fn_constructor_args=(setup,),
            batch_size=1,
            # Ray Data starts actors that died again; no fixed pool waits for those that cannot come
            compute=ray.data.ActorPoolStrategy(
                min_size=1, max_size=actors, initial_size=actors, max_tasks_in_flight_per_actor=2
            ),
            num_cpus=needs.cpus,
            num_gpus=needs.gpus or None,
        )
        for row in data.iter_rows():
            yield json.loads(row["summary"])

    return run


def _watched(run: Callable[[], Iterator[Any]], work: Path) -> Iterator[Any]:
    """What an iterator gives, until nothing has happened for too long.

    Ray waits for ever for actors that never come up. A part that comes back and a journal that
    grows are signs of life.
    """
    given: queue.Queue[tuple[str, Any]] = queue.Queue()

    def consume() -> None:
        try:
            for each in run():
                given.put(("one", each))
            given.put(("end", None))
        except BaseException as error:  # handed to the thread that waits
            given.put(("error", error))

    threading.Thread(target=consume, daemon=True).start()
    seen, since = _signs(work), time.monotonic()
    while True:
        try:
            kind, each = given.get(timeout=min(5.0, PATIENCE))
        except queue.Empty:
            if (now := _signs(work)) != seen:
                seen, since = now, time.monotonic()
            elif time.monotonic() - since > PATIENCE:
                raise DsunetError(
                    f"nothing has come from the cluster for {PATIENCE / 60:.0f} minutes; look "
                    "whether its machines are up and have the memory that the model needs, and go "
                    "on with `resume`"
                ) from None
            continue
        since = time.monotonic()
        if kind == "end":
            return
        if kind == "error":
            raise each
        yield each


def _signs(work: Path) -> dict[str, int]:
    """How long the journals are."""
    signs = {}
    for file in work.glob("*.jsonl"):
        try:
            signs[file.name] = file.stat().st_size
        except OSError:  # just done
            continue
    return signs


def _add(summary: dict[str, Any], report: ClusterReport) -> None:
    if stop := summary.get("stop"):
        raise DsunetError(f"{stop}; what was written before is whole: go on with `resume`")
    report.written += summary["written"]
    report.failed += summary["failed"]
    report.notes += summary["notes"]
    room = _EXAMPLES - len(report.reasons)
    report.reasons += summary["reasons"][: max(0, room)]

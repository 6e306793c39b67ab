"""What runs on the cluster: the model is loaded once, then parts of the plan come one by one."""

from __future__ import annotations

import json
import os
import platform
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dsunet
from dsunet.config import Options
from dsunet.data.limits import pixels_allowed
from dsunet.data.remote import Remote
from dsunet.errors import DsunetError
from dsunet.predict.cluster.journal import Journal
from dsunet.predict.cluster.manifest import FAILED, read_part, row_of, write_part
from dsunet.predict.cluster.parts import Part, part_of
from dsunet.predict.record import MANIFEST
from dsunet.predict.segmenter import Recipe, Segmenter
from dsunet.predict.working import Outcome, Working

__all__ = ["PartActor", "Setup", "journal_of", "work_folder"]

_DEATHS = 2
"""How many processes may die over an image that each of them has begun alone."""


@dataclass(frozen=True)
class Setup:
    """What an actor is told."""

    recipe: Recipe
    made: dict[str, Any]
    """How outputs are made, as the driver's own model says."""
    version: str
    """Of the driver's dsunet."""
    output: Path
    options: Options
    token: str
    """Of this run."""
    size: int
    """Images of a part."""
    batch_size: int
    workers: int | None
    """Threads that read, and as many that write; `None` chooses."""
    cpus: int
    """Threads that compute."""
    max_pixels: int | None

    @property
    def work(self) -> Path:
        """Where plan and journals are."""
        return work_folder(self.output)


def work_folder(output: Path) -> Path:
    """Where plan and journals are; hidden from whatever reads the manifest as a table."""
    return output / MANIFEST / ".work"


def journal_of(setup: Setup, part: int) -> Path:
    """The journal of a part."""
    return setup.work / f"part-{setup.token}-{part:07d}.jsonl"


class PartActor:
    """Does parts of a plan; is called by Ray Data, with one at a time.

    What goes wrong beyond a single image comes back as `stop` instead of being raised, so that it
    ends the run with one line however deep Ray wraps what is raised.
    """

    def __init__(self, setup: Setup) -> None:
        self.setup, self.trouble = setup, ""
        os.environ["OMP_NUM_THREADS"] = str(setup.cpus)
        self._allowed = ExitStack()
        self._allowed.enter_context(pixels_allowed(setup.max_pixels))
        try:
            self.segmenter = self._build()
        except DsunetError as error:
            self.trouble = f"on the machine {platform.node()}: {error}"

    def _build(self) -> Segmenter:
        from dsunet.predict.record import way_of

        setup = self.setup
        if dsunet.__version__ != setup.version:
            raise DsunetError(
                f"dsunet {dsunet.__version__} is installed, but {setup.version} where the command "
                "runs; install one version everywhere"
            )
        segmenter = setup.recipe.build()
        made = way_of(segmenter, setup.options)
        differs = [
            key for key in made if key not in ("weights", "device") and made[key] != setup.made[key]
        ]
        if differs:
            raise DsunetError(
                f"the model is another one than where the command runs ({', '.join(differs)}); "
                "give all machines the same files"
            )
        return segmenter

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        """Does a part.

        Args:
            batch: `part` has its number.

        Returns:
            One text, `summary`: JSON with `part`, `written`, `failed`, `notes` (how many have any)
            and some `reasons`; or `stop` and why.
        """
        if self.trouble:
            return {"summary": [json.dumps({"stop": self.trouble})]}
        part = int(batch["part"][0])
        try:
            summary = self._do(part)
        except DsunetError as error:
            summary = {"stop": str(error)}
        except OSError as error:
            reason = f"{error.filename or self.setup.output} cannot be written or read"
            summary = {"stop": f"{reason} ({error.strerror or error})"}
        except self.segmenter.engine.out_of_memory:
            summary = {"stop": "the device is out of memory; use a smaller `batch_size`"}
        return {"summary": [json.dumps(summary)]}

    def _do(self, number: int) -> dict[str, Any]:
        setup = self.setup
        file = setup.output / MANIFEST / f"part-{setup.token}-{number:07d}.parquet"
        if file.is_file():  # this process's predecessor died just before it said so
            return _summary(number, read_part(file))
        path = journal_of(setup, number)
        parts = part_of(setup.work, setup.token, number, setup.size)
        with Journal(path) as journal:
            self._segment(parts, journal)
        rows = [journal.rows[part.key] for part in parts]
        write_part(file, rows)
        path.unlink(missing_ok=True)
        return _summary(number, rows)

    def _segment(self, parts: list[Part], journal: Journal) -> None:
        by_job = {id(part.job): part for part in parts}

        def ended(outcome: Outcome) -> None:
            part = by_job[id(outcome.job)]
            journal.add(row_of(outcome, part.source, part.output))

        setup = self.setup
        working = Working(self.segmenter, setup.output, setup.options, ended, scores=True)
        todo = [part for part in parts if part.key not in journal.rows]
        if not journal.attempts:
            threads = setup.workers
            if threads is None:  # what waits for a network does not compute
                threads = 4 if any(isinstance(p.job.image, Remote) for p in parts) else 0
            size = setup.batch_size if self.segmenter.engine.batches else 1
            working.segment_all([part.job for part in todo], size, threads, threads)
            return
        for part in todo:
            if (deaths := journal.deaths[part.key]) >= _DEATHS:
                reason = (
                    f"the process died {deaths} times over it; it may need more memory than there "
                    "is, or break a decoder"
                )
                ended(Outcome(part.job, reason))
                continue
            journal.begin(part.key)
            working.segment_all([part.job], 1, 0, 0)


def _summary(number: int, rows: list[dict[str, Any]]) -> dict[str, Any]:
    failed = [row for row in rows if row["status"] == FAILED]
    return {
        "part": number,
        "written": len(rows) - len(failed),
        "failed": len(failed),
        "notes": sum(bool(row["note"]) for row in rows),
        "reasons": [f"{row['input']}: {row['error']}" for row in failed[:3]],
    }

"""The manifest: one row for every image, in Parquet files that are whole or not there.

`OUTPUT/manifest/` is read as one table by whatever reads Parquet. While a prediction runs, each
part of the plan becomes a file of its own; at the end they are merged into few.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pad
import pyarrow.parquet as pq

from dsunet.errors import OutputError
from dsunet.predict.working import Outcome
from dsunet.support.files import write_atomically

__all__ = [
    "FAILED",
    "OK",
    "SCHEMA",
    "as_text",
    "done_in",
    "failures_in",
    "keys_of",
    "read_part",
    "row_of",
    "settle",
    "write_part",
]

OK, FAILED = "ok", "failed"

SCHEMA = pa.schema(
    {
        "input": pa.string(),  # absolute path, or address
        "output": pa.string(),  # below the output folder, or below each kind's folder there
        "width": pa.int32(),  # of the image, upright, in pixels; null if it could not be read
        "height": pa.int32(),
        "score": pa.float32(),  # mean probability of the object's pixels, 0 without any
        "seconds": pa.float32(),  # for reading, computing and writing it
        "status": pa.string(),  # ok or failed
        "error": pa.string(),  # why it failed; empty if it did not
        "note": pa.string(),  # what else is to be said; empty as a rule
    }
)
_MOST = 200_000
"""Rows of a merged file."""


def as_text(name: object) -> str:
    """A path or an address as a text; bytes that are none are written in hexadecimal."""
    return os.fsencode(str(name)).decode("utf-8", "backslashreplace")


def row_of(outcome: Outcome, source: str, output: str) -> dict[str, Any]:
    """The row of an image.

    Args:
        outcome: What became of it.
        source: What it is, as `as_text` writes it.
        output: The name of its outputs, likewise.
    """
    notes = [
        *(["several pages or frames; the first was taken"] if outcome.frames else []),
        *([f"taken as sRGB: {outcome.profile_trouble}"] if outcome.profile_trouble else []),
        *(["no object to crop to"] if outcome.whole else []),
        *(["taken for one without an object"] if outcome.abstained else []),
    ]
    width, height = outcome.size or (None, None)
    return {
        "input": source,
        "output": output,
        "width": width,
        "height": height,
        "score": outcome.score,
        "seconds": round(outcome.seconds, 4),
        "status": FAILED if outcome.reason else OK,
        "error": as_text(outcome.reason),
        "note": "; ".join(notes),
    }


def write_part(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Writes some rows as a file, whole or not at all."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(list(rows), SCHEMA), sink)
    write_atomically(path, sink.getvalue().to_pybytes())


def read_part(path: Path) -> list[dict[str, Any]]:
    """The rows of a file."""
    rows: list[dict[str, Any]] = pq.read_table(path, schema=SCHEMA).to_pylist()
    return rows


def settle(manifest: Path, keep: Callable[[str, str], bool] | None = None) -> int:
    """Merges all files into few, in which every image has one row.

    Of rows of one output, which a process that was given up may have added, the newest file's
    stays. Killed in between, it leaves rows twice, which the next call settles.

    Args:
        manifest: Its folder.
        keep: Says of an output and a status whether its rows are kept; all are by default.

    Returns:
        How many rows there are.

    Raises:
        OutputError: A file is no part of a manifest.
    """
    old = sorted(manifest.glob("*.parquet"), key=lambda file: (-file.stat().st_mtime_ns, file.name))
    new, rows, count = _Merged(manifest), 0, _repeated(old)
    taken: set[str] = set()
    for batch in _batches(old, SCHEMA.names):
        chosen = []
        for output, source, status in zip(
            batch.column("output").to_pylist(),
            batch.column("input").to_pylist(),
            batch.column("status").to_pylist(),
            strict=True,
        ):
            # those that failed because another image has their output stay beside it
            key = output if status == OK else f"{output}\0{source}"
            fresh = key not in taken and (keep is None or keep(output, status))
            if fresh and output in count:
                taken.add(key)
            chosen.append(fresh)
        rows += sum(chosen)
        new.add(batch.filter(pa.array(chosen, pa.bool_())))
    new.close()
    for file in old:
        file.unlink(missing_ok=True)
    return rows


def _repeated(files: Sequence[Path]) -> set[str]:
    """Outputs with several rows: none, as a rule."""
    if not files:
        return set()
    outputs = pa.chunked_array(
        [batch.column(0) for batch in _batches(files, ["output"])], pa.string()
    )
    if pc.count_distinct(outputs).as_py() == len(outputs):
        return set()
    counts = pc.value_counts(outputs)
    repeated = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")
    return set(repeated.to_pylist())


def _batches(files: Sequence[Path], columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    for file in files:
        try:
            with pq.ParquetFile(file) as opened:
                yield from opened.iter_batches(batch_size=50_000, columns=list(columns))
        except (pa.ArrowException, OSError) as error:
            raise OutputError(
                f"{file} is no part of a manifest ({' '.join(str(error).split())[:200]}); remove "
                "it, and go on with `resume`"
            ) from error


class _Merged:
    """Files of at most so many rows, each renamed to its name when it is complete."""

    def __init__(self, manifest: Path) -> None:
        self.manifest = manifest
        self.token = secrets.token_hex(4)
        self.number = 0
        self.waiting: list[pa.RecordBatch] = []
        self.rows = 0

    def add(self, batch: pa.RecordBatch) -> None:
        self.waiting.append(batch)
        self.rows += batch.num_rows
        if self.rows >= _MOST or len(self.waiting) >= 5_000:
            self.close()

    def close(self) -> None:
        if self.rows:
            sink = pa.BufferOutputStream()
            table = pa.Table.from_batches(self.waiting).combine_chunks()
            pq.write_table(table.cast(SCHEMA), sink, row_group_size=_MOST)
            file = self.manifest / f"rows-{self.token}-{self.number:05d}.parquet"
            write_atomically(file, sink.getvalue().to_pybytes())
            self.number += 1
        self.waiting, self.rows = [], 0


def done_in(manifest: Path) -> pa.Array:
    """What there are rows of, as `keys_of` writes it."""
    chunks = [
        keys_of(batch.column(0), batch.column(1))
        for batch in _batches(sorted(manifest.glob("*.parquet")), ["input", "output"])
    ]
    return pa.chunked_array(chunks, pa.string()).combine_chunks()


def keys_of(inputs: pa.Array, outputs: pa.Array) -> pa.Array:
    """What tells the rows of images apart."""
    return pc.binary_join_element_wise(inputs, outputs, "\0")


def failures_in(manifest: Path) -> Iterator[tuple[str, str]]:
    """Images that failed, each with its reason."""
    if not any(manifest.glob("*.parquet")):
        return
    files: Iterable[str] = sorted(str(file) for file in manifest.glob("*.parquet"))
    table = pad.dataset(list(files), format="parquet")
    failed = pad.field("status") == FAILED
    for batch in table.to_batches(columns=["input", "error"], filter=failed):
        yield from zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True)

"""The plan on disk, from which actors take their parts: the driver holds none of it in memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from dsunet.data.remote import Remote
from dsunet.predict.cluster.journal import key_of
from dsunet.predict.cluster.manifest import as_text, keys_of
from dsunet.predict.plan import Job, Planned
from dsunet.support.files import write_atomically

__all__ = ["Part", "part_of", "size_of_parts", "table_of", "write_plan"]

_PARTS_A_FILE = 50

# paths are bytes, which need not be texts
_SCHEMA = pa.schema(
    {
        "input": pa.binary(),
        "remote": pa.bool_(),
        "name": pa.binary(),
        "trouble": pa.string(),
    }
)


class Part(NamedTuple):
    """One image of a part."""

    job: Job
    source: str
    """Its absolute path or address, as the manifest has it."""
    output: str
    """The name of its outputs, likewise."""

    @property
    def key(self) -> str:
        """What tells it from others in the journal."""
        return key_of(self.source, self.output)


def table_of(planned: Sequence[Planned], ending: str) -> tuple[pa.Table, pa.Array]:
    """A plan as a table, and what tells its images apart in a manifest.

    Args:
        planned: The plan.
        ending: Of its outputs, without the dot.
    """
    tables, keys = [], []
    for start in range(0, len(planned), 50_000):
        some = planned[start : start + 50_000]
        inputs = [_path(each) for each in some]
        names = [_output(each.name, ending) for each in some]
        columns = {
            "input": [os.fsencode(path) for path in inputs],
            "remote": [isinstance(each.found.file, Remote) for each in some],
            "name": [os.fsencode(name) for name in names],
            "trouble": [as_text(each.trouble) for each in some],
        }
        tables.append(pa.table(columns, _SCHEMA))
        texts = (pa.array(map(as_text, each), pa.string()) for each in (inputs, names))
        keys.append(keys_of(*texts))
    return pa.concat_tables(tables), pa.chunked_array(keys, pa.string()).combine_chunks()


def _path(each: Planned) -> str:
    file = each.found.file
    if isinstance(file, Remote):
        return file.uri
    return file if each.found.trouble else os.path.abspath(file)  # noqa: PTH100


def _output(name: str, ending: str) -> str:
    return f"{os.path.splitext(name)[0]}.{ending}"  # noqa: PTH122


def size_of_parts(images: int) -> int:
    """How many images make a part: few enough to share them out, many enough to bother."""
    return min(512, max(16, images // 4000))


def write_plan(folder: Path, token: str, table: pa.Table, size: int) -> int:
    """Writes a plan; gives the number of its parts.

    Args:
        folder: For its files.
        token: Of the run.
        table: Of `table_of`.
        size: Images of a part.
    """
    step = size * _PARTS_A_FILE
    for number, start in enumerate(range(0, table.num_rows, step)):
        sink = pa.BufferOutputStream()
        pq.write_table(table.slice(start, step), sink)
        write_atomically(_file(folder, token, number), sink.getvalue().to_pybytes())
    return -(-int(table.num_rows) // size)


def part_of(folder: Path, token: str, number: int, size: int) -> list[Part]:
    """A part, by its number from 0."""
    file, place = divmod(number, _PARTS_A_FILE)
    rows = _read(_file(folder, token, file)).slice(place * size, size)
    return [
        Part(
            Job(
                Remote(os.fsdecode(row["input"]))
                if row["remote"]
                else Path(os.fsdecode(row["input"])),
                Path(os.fsdecode(row["name"])),
                row["trouble"],
            ),
            as_text(os.fsdecode(row["input"])),
            as_text(os.fsdecode(row["name"])),
        )
        for row in rows.to_pylist()
    ]


def _file(folder: Path, token: str, number: int) -> Path:
    return folder / f"plan-{token}-{number:06d}.parquet"


@lru_cache(maxsize=2)
def _read(file: Path) -> pa.Table:
    return pq.read_table(file, schema=_SCHEMA)

"""Records that are read quickly are those read thoroughly, and what is no record is found as well."""

from __future__ import annotations

import csv
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from auditing import gpu, layered
from factory import STEADY, absent, cell, record, timed
from preparing import prepared
from pyarrow import parquet
from pydantic import ValidationError
from reusing import reused
from stored import exported

from vlmnb.meters.readings import Compilation, EnergyRefusal, ProbeLogits
from vlmnb.records import export, indexed_record, quick_record, record_file, store
from vlmnb.records.parts import FailedSample, VisualTokens
from vlmnb.records.record import Record
from vlmnb.records.reported import Figure, Remark, Reported
from vlmnb.spec import cell as cells

FIGURE = Figure(
    file="000", kind="report", table="T", axis="device", row="a", column="b", quantity="wer", unit="%",
    printed="12", value=0.12,
)  # fmt: skip
FULL = gpu().model_copy(
    update={
        "compilation": Compilation(graphs=2, graph_breaks=0, cache_hits=1, cache_misses=1),
        "energy_refused": (EnergyRefusal(source="ram", method="model", reason="none"),),
        "failed_samples": (FailedSample(row=1, id="1", reason="broken"),),
        "layers": layered().layers,
        "notes": ("a note",),
        "preprocessing": prepared(2, 1.0, 2.0).preprocessing,
        "probe": ProbeLogits(vocabulary=4, values=(0.5, 1.5), token=1),
        "reported": Reported(figures=(FIGURE,), remarks=(Remark(axis="device", text="a remark"),)),
        "reused": reused().reused,
        "visual_tokens": VisualTokens(kept=1, of=2),
    }
)
"""A record in which every part occurs, as in no real one."""

MADE = [
    record(), timed(), timed(STEADY * 4, of=cell(length="fixed"), passes=2), reused(), prepared(2, 1.0, 2.0),
    layered(), gpu(), absent(cell(batch_size=4), "failed", 'no\n"memory"'), FULL,
    record(cell(model='/home/a\tb/\u00e9 "\u4e2d"\\\x7f\x01', image_shape="kept")),
]  # fmt: skip


def dumped(found: Record) -> str:
    """All that is in a record, numbers with their types."""
    fields = found.model_dump(mode="json") if isinstance(found, Record) else msgspec.to_builtins(found)
    return json.dumps(fields | {"cell": cells.fields(found.cell)})


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a nested value: what holds it, and its key or index there."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], (dict, list)):
            yield from places(value[key])


ODD: tuple[Any, ...] = (
    None, "", "5", "5\n", "cpu", "\ud800", 5, -5, 1.0, 1.5, 1e22, 2**70, True, float("nan"), [], [5], ["5"],
    {}, {"5": 5},
)  # fmt: skip


@pytest.mark.parametrize("made", MADE, ids=range(len(MADE)))
def test_a_record_read_quickly_is_the_same(made: Record) -> None:
    found = quick_record.parse(made.model_dump_json().encode())
    assert found is not None
    assert dumped(found) == dumped(made)


def shortened(value: Any) -> Any:
    """The same with no more than one item in each list."""
    if isinstance(value, dict):
        return {key: shortened(each) for key, each in value.items()}
    return [shortened(each) for each in value[:1]] if isinstance(value, list) else value


def altered(content: dict[str, Any]) -> Iterator[bytes]:
    """A record as JSON with one value that is odd or missing, or one too many, at each place."""
    for holder, key in places(content):
        was = holder[key]
        for odd in ODD:
            holder[key] = odd
            yield json.dumps(content).encode()
        if isinstance(holder, dict):
            del holder[key]
            yield json.dumps(content).encode()
            holder |= {key: was, "unknown": 1}
            yield json.dumps(content).encode()
            del holder["unknown"]
        holder[key] = was


def test_nothing_is_read_quickly_that_is_no_record_or_another() -> None:
    taken = 0
    for text in altered(shortened(FULL.model_dump(mode="json"))):
        if (quick := quick_record.parse(text)) is not None:
            assert dumped(quick) == dumped(Record.model_validate_json(text))
            taken += 1
    assert taken > 1_000


@pytest.mark.parametrize("part", ["answers", "energy"])
def test_what_the_models_check_themselves_is_checked(part: str) -> None:
    content = FULL.model_dump(mode="json")
    content[part] *= 2
    text = json.dumps(content).encode()
    assert quick_record.parse(text) is None
    with pytest.raises(ValidationError, match="more than one"):
        Record.model_validate_json(text)


@pytest.mark.parametrize("file_format", ["csv", "json"])
def test_lines_made_on_all_cores_are_those_made_in_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file_format: str
) -> None:
    for number in range(7):
        store.keep(record(cell(batch_size=number + 1), key=f"{number:016x}"), tmp_path / "results")
    written = []
    for at_once in (1_000, 2):
        monkeypatch.setattr(export, "AT_ONCE", at_once)
        assert export.export_records(tmp_path / "results", tmp_path / "all", file_format) == (7, [])
        written.append((tmp_path / "all").read_text())
    assert written[0] == written[1]
    rows = exported(tmp_path / "results")[0]
    read = json.loads(written[0]) if file_format == "json" else [*csv.DictReader(written[0].splitlines())]
    assert [one["key"] for one in read] == [one["key"] for one in rows]


def test_a_table_made_in_parts_has_the_types_of_one_made_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    each = (absent(cell(batch_size=4), "failed", "no memory"), FULL)
    for number, one in enumerate(each):
        store.keep(one.model_copy(update={"key": f"{number:016x}"}), tmp_path / "results")
    tables = []
    for at_once in (1_000, 1):
        monkeypatch.setattr(export, "AT_ONCE", at_once)
        assert export.export_records(tmp_path / "results", tmp_path / "all", "parquet") == (2, [])
        tables.append(parquet.read_table(tmp_path / "all"))
    assert tables[0].equals(tables[1])


def content_of(index: Path) -> list[Any]:
    with sqlite3.connect(index) as database:
        return database.execute("SELECT * FROM records").fetchall()


def test_an_index_made_from_nothing_is_the_one_that_was_entered_record_by_record_and_thoroughly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, project: Path
) -> None:
    committed, _ = record_file.read_all(project / "results")
    several = [
        made.model_copy(update={"key": f"{number:016x}"}) for number, made in enumerate([*committed, *MADE])
    ]
    paths = [store.keep(made, tmp_path) for made in several]
    rows = exported(tmp_path)
    entered = content_of(tmp_path / store.INDEX)
    assert len(entered) == len(rows[0]) == len(several) > 80
    for quick, alone in ((True, True), (True, False), (False, True)):
        with monkeypatch.context() as patched:
            patched.setattr(indexed_record, "PARALLEL_FROM_EXPORT", 1_000 if alone else 1)
            if not quick:
                patched.setattr(quick_record, "parse", lambda text: None)
            (tmp_path / store.INDEX).unlink()
            assert exported(tmp_path) == rows
        assert content_of(tmp_path / store.INDEX) == entered
    assert len(paths) == len(set(paths))

"""Rows that cannot be used, within cells: a cell goes on without a few, and fails without many."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from factory import cell
from PIL import Image

from vlmnb import models, paths
from vlmnb.data.catalogue import Sample
from vlmnb.measure import batches, failures
from vlmnb.measure.cells import measure_cells


def png(side: int = 64) -> bytes:
    file = io.BytesIO()
    Image.effect_noise((side, side), 90).save(file, "PNG")
    return file.getvalue()


def write(folder: Path, damaged: int) -> None:
    """Eight questions with pictures, of which some are cut short."""
    pictures = [png()[: 500 if number < damaged else None] for number in range(8)]
    rows = [
        {"question_id": number, "image": {"bytes": picture}, "question": "?", "answers": [str(number)] * 10}
        for number, picture in enumerate(pictures)
    ]
    file = folder / "lmms-lab" / "textvqa" / "data" / "validation-00000-of-00001.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)


@pytest.fixture(scope="module")
def loaded() -> Any:
    """What preparing batches needs of a loaded model."""
    entry = models.get("llava-tiny")
    family = models.family_of(entry)
    processor = family.load_processor(paths.bundled_model(entry.name))
    return SimpleNamespace(processor=processor, sizing=family, engine=None)


def test_pictures_are_sized_one_by_one_and_a_damaged_one_leaves_no_gap(
    loaded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        batches, "encode", lambda loaded, samples, prompts, side, shape: [s.images[0].size for s in samples]
    )
    contents = [png(), png(900), b"no picture", png()]
    samples = [
        Sample(str(i), (content,), "?", ("a",), row=i, file="textvqa, f")
        for i, content in enumerate(contents)
    ]
    failed: list[Any] = []
    made = batches.prepare(cell(), loaded, samples, failed)
    assert [batch.inputs for batch in made] == [[(64, 64)] * 2, [(64, 64)]]
    assert [[sample.sample_id for sample in batch.samples] for batch in made] == [["0", "1"], ["3"]]
    assert [(each.row, each.id) for each in failed] == [(2, "2")]
    assert failed[0].reason.startswith("textvqa, f: image cannot be decoded")
    with pytest.raises(failures.NotMeasured, match=r"2 of the 4 chosen rows of textvqa-mini .* row 2"):
        batches.prepare(cell(), loaded, samples, failed)


@pytest.mark.slow
def test_a_cell_is_measured_without_its_damaged_rows_and_fails_without_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLMNB_DATA", str(tmp_path))
    asked = {"samples": 8, "batch_size": 4, "max_new_tokens": 2}
    write(tmp_path, damaged=1)
    (good,) = measure_cells([cell(dataset="textvqa", **asked)], tmp_path / "results")
    assert (good.status, len(good.answers), good.timing.batch_samples[:2]) == ("ok", 7, (4, 3))
    assert "row 0 (id 0): textvqa, validation-00000-of-00001.parquet: image" in good.remarks
    write(tmp_path, damaged=3)
    wanted = [
        cell(dataset="textvqa", optimization="prompt_lookup", **asked | {"batch_size": 1}),
        cell(**asked),
    ]
    bad, other = measure_cells(wanted, tmp_path / "results")
    assert (bad.status, other.status) == ("failed", "ok")
    assert "3 of the 8 chosen rows" in bad.reason

"""Notes name cells as tables do."""

from __future__ import annotations

from factory import absent, but, cell, timed

from vlmnb.analysis.titles import where, words
from vlmnb.views import footnotes


def test_models_data_sets_and_devices_have_their_titles() -> None:
    every = [cell(), cell(dataset="coco-mini", device="cuda"), cell(model="fuyu-tiny")]
    assert where(every[1:2], every) == "LLaVA tiny; COCO mini; GPU"
    assert words(cell()) == "TextVQA mini, CPU, fp32, batch 2, image 64, prompt 200"
    assert "LLaVA tiny; TextVQA mini; CPU" in where(every[:1], every[:1])
    gone = but(cell(), model="no-such-model", dataset="no-such-data")
    assert where([gone], [gone, cell()]) == "no-such-model; no-such-data"


def test_what_a_cell_has_not_is_not_named() -> None:
    reused = cell(questions=4, reuse="prefix", repeat=2)
    assert where([cell()], [cell(), reused]) == "all cells"
    assert where([reused], [cell(), reused]) == "kept: prefix; questions a picture: 4; repeat 2"
    assert where([cell(length="fixed")], [cell(length="fixed"), cell()]) == "answers of fixed length"


def test_notes_on_load_and_on_failures_name_cells_by_what_differs() -> None:
    records = [
        absent(cell(dataset="coco-mini"), "out_of_memory", "no room"),
        timed(of=cell(batch_size=4)),
    ]
    said = footnotes.reasons(records)
    assert "(COCO mini; batch size 2)" in said
    assert "coco-mini" not in said

"""FLOPs by phase, three ways: they agree, or the record says where they do not."""

from __future__ import annotations

from pathlib import Path

import bundled
import pytest
from factory import cell, record

from vlmnb.book import postprocess
from vlmnb.flops import flop_count
from vlmnb.flops.flop_count import FlopCount, Parts
from vlmnb.views import detail_table, footnotes
from vlmnb.views.table import render

WHOLE = Parts(vision=900, vision_scores=100, projector=50, projections=300, mlp=500, scores=100, head=50)


def counted(**changes: object) -> FlopCount:
    values: dict[str, object] = {
        "fvcore": 1900, "torch": 2000, "formula": 2000, "prefill_formula": WHOLE, "prefill_torch": WHOLE,
        "prefill_fvcore": WHOLE.model_copy(update={"vision": 800}), "unused": 100,
        "decode_formula": Parts(head=10), "decode_torch": Parts(head=10),
    }  # fmt: skip
    return FlopCount.model_validate(values | changes)


def test_what_is_executed_and_never_used_is_no_disagreement() -> None:
    count = counted()
    assert flop_count.disagreements(count) == []
    assert (count.executed, count.used, count.per_token) == (2000, 1900, 10)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"prefill_torch": WHOLE.model_copy(update={"scores": 0})},
            "torch's counter and formula differ by 11.1",
        ),
        ({"unused": 0}, "fvcore and formula differ by 10.0 % in vision"),
        ({"decode_torch": Parts(head=20)}, "50.0 % in a decoding step"),
    ],
)
def test_a_planted_error_is_named_with_its_place(changes: dict[str, object], said: str) -> None:
    (told,) = flop_count.disagreements(counted(**changes))
    assert said in told


def test_a_batch_has_its_rows_times_the_flops_of_one() -> None:
    four = counted().times(4)
    assert (four.torch, four.fvcore, four.formula, four.unused) == (8000, 7600, 8000, 400)
    assert four.prefill_torch == WHOLE.times(4)
    assert FlopCount(fvcore=None, torch=3).times(2) == FlopCount(fvcore=None, torch=6)


def test_the_detail_table_shows_phases_and_the_notes_say_where_counts_differ() -> None:
    made = record(cell(), flops=counted(note="fvcore and formula differ by 10.0 % in vision"))
    table = detail_table.detail_table("batch_size", [made.cell], [made])
    shown = dict(zip(table.columns, table.rows[0], strict=True))
    assert shown["Of these, vision"].text.startswith("1.000 k")
    assert "2 x fvcore 900" in shown["Of these, vision"].title
    assert shown["FLOPs per decoded token"].text.startswith("10")
    assert "differ by 10.0 % in vision" in footnotes.reasons([made])


def test_figures_of_a_page_lead_to_their_records() -> None:
    table = render(detail_table.detail_table("batch_size", [record().cell], [record()]))
    page = postprocess.linked(table, {record().key: "../records/x.json"})
    assert page.count('<a href="../records/x.json">') == table.count(f'data-key="{record().key}"') > 5
    assert postprocess.linked(table, {}) == table


@pytest.mark.slow
@pytest.mark.parametrize("model", bundled.NAMES)
def test_formula_torch_and_fvcore_agree_in_every_phase_of_the_bundled_models(
    model: str, tmp_path: Path
) -> None:
    from vlmnb.measure.batches import choose, prepare
    from vlmnb.measure.flop_counting import count as counted
    from vlmnb.measure.loading import ModelSlot, configuration
    from vlmnb.records.resolved import resolve_cell
    from vlmnb.spec import planning

    asked = {"model": model, "samples": 2, "batch_sizes": [2], "device": "cpu", "length": "natural"}
    (point,) = planning.plan("batch_size", asked).cells
    resolved = resolve_cell(point)
    loaded = ModelSlot().get(configuration(resolved))
    (batch,) = prepare(point, loaded, *choose(resolved))
    count = counted(resolved, loaded, batch, {})
    assert count.note == ""
    assert count.prefill_formula == count.prefill_torch == count.prefill_fvcore
    assert count.decode_formula == count.decode_torch
    assert count.formula == count.torch == count.fvcore

"""Where the time goes: the views on a profile made by hand, and a profile of a bundled model."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from factory import absent, cell
from profiles import part, profiled

from vlmnb.analysis import layer_shares
from vlmnb.device.state import Conditions, DeviceState
from vlmnb.measure import layers
from vlmnb.measure.cells import measure_cells
from vlmnb.meters.readings import EnergyReading, EnergyRefusal
from vlmnb.records.parts import LayerPart
from vlmnb.records.record import Record
from vlmnb.spec import planning
from vlmnb.views import by_layers, footnotes
from vlmnb.views.marks import MODELLED


def changed(made: Record, **fields: object) -> Record:
    """A record with other fields of its profile."""
    assert made.layers is not None
    return made.model_copy(update={"layers": made.layers.model_copy(update=fields)})


def with_head(made: Record, head: LayerPart) -> Record:
    """A record with another head as its last part."""
    assert made.layers is not None
    return changed(made, parts=(*made.layers.parts[:-1], head))


def test_components_show_share_rate_and_modelled_energy_per_call() -> None:
    table = by_layers.component_table([profiled(1.0)])
    shown = {fields[1].text: [field.text for field in fields] for fields in table.rows}
    heads = table.columns
    attention = dict(zip(heads, shown["decoder, attention"], strict=True))
    assert attention["% of whole"] == "30.0"
    assert attention["Energy, J"] == f"{MODELLED}0.500"
    assert attention["% of peak rate"] == "16.7"
    assert shown["decoder, norms and the like"][6:] == ["-", "-", "-", "-"]
    assert dict(zip(heads, shown["not explained by parts"], strict=True))["% of whole"] == "0.0"
    assert shown["whole pass"][3] == "100"


@pytest.mark.parametrize(
    ("whole_s", "said"),
    [
        (1.0, "decoder, attention takes 30 % (30 to 30) of the pass"),
        (1.02, "add up to the whole within 5 %"),
        (1.5, "do not add up to the whole"),
    ],
)
def test_the_page_says_whether_the_parts_add_up(whole_s: float, said: str) -> None:
    text = by_layers.text([profiled(whole_s)])
    assert said in text
    assert "\n" not in text


def test_a_cell_that_could_not_be_profiled_shows_its_reason() -> None:
    found = absent(cell(measure="layers"), "out_of_memory", "no room")
    table = by_layers.component_table([found])
    assert table.rows[0][2].title == "out of memory: no room"
    assert "be measured" in by_layers.text([found])


def test_the_rows_of_the_components_and_what_they_leave_close_on_the_whole() -> None:
    table = by_layers.component_table([profiled(1.25)])
    for name, whole, shown in (("Time in pass, s", 1.25, "1.250"), ("% of whole", 100, "100.0")):
        *parts, last = (row[table.columns.index(name)].text for row in table.rows)
        assert sum(map(float, parts)) == pytest.approx(whole)
        assert last in (shown, "100")


@pytest.mark.parametrize("middle", [1.0, 1.07])
def test_whether_parts_add_up_is_not_told_of_an_interval_that_allows_both(middle: float) -> None:
    varied = tuple(middle + 0.1 * (i - 5) for i in range(11))
    said = by_layers.text([changed(profiled(1.0), forward_s=varied)])
    assert "it is not known whether the parts add up" in said
    assert "; the parts" not in said


def test_a_share_of_a_ceiling_is_marked_if_it_is_above_all_of_it_or_others_disturbed_the_ceiling() -> None:
    found = with_head(profiled(1.0), part("head", "head", 0.04, activation_bytes=4000))
    for table in (by_layers.component_table([found]), by_layers.part_table(found)):
        marked = [field.text for row in table.rows for field in row if field.text.endswith("‡")]
        assert marked == ["125.0 ‡", "220.0 ‡"]
        assert "‡ above 100 %" in table.caption
    made = profiled(1.0)
    assert "‡" not in str(by_layers.component_table([made]))
    assert made.layers is not None
    tops = made.layers.ceilings.model_copy(update={"other_load": 0.4, "contaminated": True})
    table = by_layers.component_table([changed(made, ceilings=tops)])
    share = table.columns.index("% of peak rate")
    assert [row[share].text.endswith("†") for row in table.rows if row[share].text != "-"] == [True] * 5
    assert "in every try of the peak rate" in table.rows[0][share].title


def test_a_share_has_the_interval_of_both_medians() -> None:
    steady = profiled(1.0).layers
    varied = changed(profiled(1.0), forward_s=tuple(1 + 0.02 * (i - 5) for i in range(11))).layers
    assert steady
    assert varied
    attention = layer_shares.components(steady)["attention"]
    assert layer_shares.share(steady, attention) == pytest.approx((0.3, 0.3, 0.3))
    middle, low, high = layer_shares.share(varied, attention)
    assert middle == pytest.approx(0.3)
    assert low < 0.3 < high
    rest = [part("rest", "other", -0.1)]
    assert layer_shares.share(steady, rest) == pytest.approx((-0.1, -0.1, -0.1)), "no logarithm of it"


def test_a_profile_of_a_busy_machine_says_so_and_has_no_note_on_batches() -> None:
    busy = Conditions(start=DeviceState(), end=DeviceState(), other_load=0.4, contaminated=True)
    found = profiled(1.0)
    provenance = found.provenance.model_copy(update={"conditions": busy})
    fast = with_head(found, part("head", "head", 0.04))
    told = by_layers.text([fast.model_copy(update={"provenance": provenance})])
    assert "Other processes used 40 % of the CPU" in told
    assert "1 of 5 parts were faster than the peak rate" in told
    assert "Other processes" not in by_layers.text([found])
    told = footnotes.reasons([found])
    assert "fewer samples" not in told
    assert "modelled" in told, "the parts' joules are"
    assert footnotes.reasons([found], energy=False) == ""


class Meter:
    """A meter whose counter needs ten seconds, or cannot be read at all."""

    opened = 0
    least_window_s = 10.0
    readable = True

    def __init__(self, device: str) -> None:
        self.readings: tuple[EnergyReading, ...] = ()
        self.refused: tuple[EnergyRefusal, ...] = ()

    def __enter__(self) -> Meter:
        Meter.opened += 1
        return self

    def __exit__(self, *_: object) -> None:
        if self.readable:
            self.readings = (EnergyReading(source="cpu", method="rapl", energy_j=120.0, detail="test"),)
        else:
            self.refused = (EnergyRefusal(source="cpu", method="rapl", reason="it stood still"),)


def test_equal_parts_share_a_window_where_one_each_would_take_too_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(layers, "EnergyMeter", Meter)
    monkeypatch.setattr(Meter, "opened", 0)
    parts = [part(f"attention {i}", "attention", 1.0, i, replays=0, energy=()) for i in range(8)]
    parts.append(part("head", "head", 0.5, replays=0, energy=()))
    calls = [0] * 9

    def call(i: int) -> None:
        calls[i] += 1

    made = layers.energies(parts, [partial(call, i) for i in range(9)], "cpu")
    assert Meter.opened == 2
    assert calls == [3] * 8 + [22], "11 s of work: 2 rounds of 8 s would do, and 3 are the fewest"
    assert [each.energy_parts for each in made] == [8] * 8 + [1]
    assert made[0].replays == 24
    few = layers.energies(parts[:2], [partial(call, i) for i in range(2)], "cpu")
    assert [each.energy_parts for each in few] == [1, 1]


def test_a_refused_counter_is_kept_with_its_reason_and_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "EnergyMeter", Meter)
    monkeypatch.setattr(Meter, "readable", False)
    (made,) = layers.energies([part("head", "head", 1.0, energy=())], [lambda: None], "cpu")
    assert made.energy == ()
    table = by_layers.part_table(changed(profiled(1.0), parts=(made,)))
    field = table.rows[0][table.columns.index("Energy, J")]
    assert (field.text, field.title) == ("-", "it stood still")


@pytest.mark.slow
@pytest.mark.parametrize("model", ["llava-tiny", "qwen2.5-vl-tiny", "fuyu-tiny"])
def test_every_part_of_a_model_is_there_once_and_its_flops_are_the_models(model: str, tmp_path: Path) -> None:
    plan = planning.plan(
        "layers", {"model": model, "batch_sizes": [2], "dataset": "textvqa-mini", "device": "cpu"}
    )
    (found,) = measure_cells(plan.cells, tmp_path)
    assert found.status == "ok", found.reason
    assert found.layers is not None
    names = [each.name for each in found.layers.parts]
    assert len(names) == len(set(names))
    counted = sum(each.flops or 0 for each in found.layers.parts)
    assert counted == found.flops_per_batch
    assert all(len(each.in_pass_s) == len(found.layers.forward_s) for each in found.layers.parts)
    assert all(each.energy for each in found.layers.parts if each.replay_s)
    assert found.wer is None
    assert found.provenance.conditions is not None

"""Answer changes, roofline and support, on planted records whose numbers are known."""

from __future__ import annotations

import pytest
from factory import but, cell, record
from optimized import planted, timed

from vlmnb import paths
from vlmnb.analysis import agreement, rates
from vlmnb.book.content import Content
from vlmnb.book.pages import support
from vlmnb.meters.readings import ProbeLogits
from vlmnb.records.parts import Ceilings, Timing
from vlmnb.records.record import Record
from vlmnb.spec import optimizations, planning
from vlmnb.spec.cell import Cell
from vlmnb.spec.sweep_file import load_sweep
from vlmnb.views import answer_tables, axis_table, findings, footnotes, roofline
from vlmnb.views.table import Table
from vlmnb.views.templates import say


def changes_table(cells: list[Cell], records: list[Record], others: list[Record]) -> Table | None:
    changes = agreement.changes(cells, records, others)
    return answer_tables.changes_table(changes, cells, records)


def test_only_changes_beyond_the_originals_own_noise_are_flagged() -> None:
    base, noise = planted("fp32"), planted("fp32", wrong=2, cell={"batch_size": 1})
    records = [base, planted("sdpa"), planted("bf16", wrong=3), planted("bnb-4bit", wrong=20)]
    cells = [record.cell for record in records]
    made = changes_table(cells, records, [*records, noise])
    assert [row[0].text for row in made.rows] == ["sdpa", "bf16", "bnb-4bit ⚑"]
    assert [row[-1].text for row in made.rows] == ["no, p = 1.000", "no, p = 0.500", "yes, p < 0.001"]
    assert "2 of the original's own answers differ" in made.caption
    assert made.rows[2][4].text == "0 / 20"
    assert (made.rows[2][5].text, made.rows[1][5].text) == ("< 0.001", "0.250"), "two-sided"
    assert made.rows[0][1].text.startswith("100.0 %")


def test_without_a_run_at_another_batch_size_the_noise_is_said_to_be_unknown() -> None:
    records = [planted("fp32"), planted("sdpa"), planted("bnb-4bit", wrong=20)]
    made = changes_table([record.cell for record in records], records, records)
    assert [row[-1].text for row in made.rows] == ["no", "not known"]
    assert "not known" in made.caption


def test_the_logit_difference_is_the_largest_and_only_between_the_same_vocabulary() -> None:
    base = planted("fp32", probe=ProbeLogits(vocabulary=3, values=(1.0, 2.0, 3.0)))
    near = planted("bf16", probe=ProbeLogits(vocabulary=3, values=(1.0, 2.25, 3.0)))
    other = planted("bf16", probe=ProbeLogits(vocabulary=4, values=(1.0, 2.25, 3.0)))
    assert agreement.logit_difference(base, near) == 0.25
    assert agreement.logit_difference(base, other) is None
    assert agreement.logit_difference(base, planted("bf16")) is None


def test_a_logit_difference_of_rounding_has_no_digits() -> None:
    def probed(name: str, value: float) -> Record:
        return planted(name, probe=ProbeLogits(vocabulary=2, values=(1.0, value)))

    records = [probed("fp32", 2.0), probed("sdpa", 2.00001), probed("bf16", 2.0625)]
    made = changes_table([record.cell for record in records], records, records)
    assert [row[3].text for row in made.rows] == ["< 0.001", "0.0625"]
    assert made.rows[0][3].title.startswith("1e-05")


def test_logits_of_a_decoding_step_are_compared_after_the_same_token() -> None:
    def probed(token: int, *step: float) -> Record:
        probe = ProbeLogits(vocabulary=3, values=(1.0, 2.0, 3.0), token=token, step_values=step)
        return planted("compile", probe=probe)

    original = probed(2, 5.0, 6.0, 7.0)
    assert agreement.logit_difference(original, probed(2, 5.0, 6.5, 7.0)) == 0.5
    assert agreement.logit_difference(original, probed(1, 9.0, 9.0, 9.0)) == 0, "after another word"


def test_random_weights_have_no_drift_of_answers() -> None:
    probe = ProbeLogits(vocabulary=2, values=(0.0, 1.0))
    records = [planted(name, cell={"weights": "random"}, probe=probe) for name in ("fp32", "sdpa")]
    made = changes_table([record.cell for record in records], records, records)
    assert [field.text for field in made.rows[0]] == ["sdpa", "-", "-", "0", "-", "-", "-"]


def test_rates_are_shares_of_the_measured_ceilings() -> None:
    own = rates.rates(timed("fp32", 2.0))
    values = (own.prefill, own.mfu, own.decode, own.mbu)
    assert ([each.value for each in values], own.step_bytes) == ([5000, 0.5, 6000, 0.25], 1200)


def test_guessed_tokens_read_the_weights_once_per_pass() -> None:
    record = timed("prompt_lookup", 1.0, passes=5)
    assert rates.rates(record).decode.value == 6000
    assert record.tpot_s.median == 0.1, "ten tokens after the first, in five passes"


def test_the_roofline_table_names_kernel_and_compilation_and_leaves_out_what_failed() -> None:
    missing = {"status": "unsupported", "reason": "no kernel", "answers": ()}
    failed = planted("bnb-4bit", cell={"length": "fixed"}, **missing)
    records = [timed("fp32", 2.0), timed("compile", 1.0), failed]
    cells = [record.cell for record in records]
    made = roofline.table(cells, records)
    assert [row[2].text for row in made.rows] == ["50.0 %", "50.0 %", "-"]
    assert [row[3].text for row in made.rows] == ["10", "10", "-"]
    assert [row[6].text for row in made.rows] == ["25.0 %", "50.0 %", "-"]
    assert roofline.memory_table(cells, records).rows[1][5].text == "2 graphs, 1 break"
    assert "no kernel" in made.rows[2][1].title
    tops = roofline.peaks_table(cells, records)
    assert "planted" in tops.rows[0][1].title
    assert "compile at batch 4, 9 s (graphs compiled since" in footnotes.compiled(records)
    assert footnotes.compiled(records[:1]) == ""
    assert [bar.label for bar in roofline.bars(cells, records)] == ["fp32", "compile"]
    assert roofline.bars(cells[2:], records) == []


def test_a_bar_beyond_a_ceiling_that_is_none_leaves_the_others_room() -> None:
    slow = Ceilings(flops_per_s=300, bytes_per_s=24_000, method="a slow product")
    records = [timed("fp32", 2.0), but(timed("fp16", 2.0, dtype="fp16"), ceilings=slow)]
    figure = roofline.figure(roofline.bars([record.cell for record in records], records))
    (place,) = figure.axes
    assert place.get_xlim() == (0, roofline.WIDEST)
    assert [text.get_text() for text in place.texts] == ["1670 %"]


def test_the_support_matrix_tells_what_ran_and_why_not() -> None:
    reason = "bnb-4bit cannot be had here: <b>no</b> kernel"
    records = [
        planted("fp32"),
        planted("bnb-4bit", status="unsupported", reason=reason, answers=()),
        planted("fp32", cell={"model": "fuyu-tiny"}),
        planted("sdpa", status="unsupported", reason="batch", answers=(), cell={"batch_size": 16}),
        planted("sdpa"),
        planted("fp16", status="not_applicable", reason="of an image size", answers=()),
        planted("fp32", cell={"device": "cuda"}, status="failed", reason="no driver", answers=()),
    ]
    page = support.page(Content(tuple(records)))
    cpu, cuda = page.split("## box, on the CPU")[1].split("## box, on the GPU")
    assert cpu.count("ok, batch 4") == 3, "fp32 of both, and sdpa"
    assert "unsupported (2), batch 4" in cpu
    assert "2. bnb-4bit cannot be had here" in cpu
    assert "unsupported (1), batch 16" in cpu, "sdpa at another batch size"
    assert "<b>no</b>" not in page
    assert "<code>fp16" not in cpu
    assert "1. no driver" in cuda
    assert cpu.index("fp32") < cpu.index("sdpa") < cpu.index("bnb-4bit")
    assert 'title="not tried">-<' in cpu
    untried = cpu.split("neither alone nor combined")[1]
    assert "- LLaVA tiny: all others of the list below" in untried
    assert "- Fuyu tiny: all others of the list below" in untried, "it lacks sdpa besides"
    names = [
        name for name in optimizations.settings() if name not in ("fp32", "eager", "static_cache", "sdpa")
    ]
    most = support.page(Content((*records, *(planted(name) for name in names))))
    assert "- LLaVA tiny: `static_cache`\n" in most
    assert "Nothing has been tried" in support.page(Content())


def test_the_support_page_names_what_the_full_sweep_tries() -> None:
    page = support.page(Content())
    told = page.split("quickstart.yaml` tries")[1].split("combined")[0]
    runs = planning.runs(load_sweep(paths.root() / "sweeps" / "full.yaml"))
    for run in runs:
        if run.axis == "optimization":
            cells = planning.plan(run.axis, run.parameters | {"device": "cpu"}).cells
            tried = {size: {c.optimization for c in cells if c.batch_size == size} for size in (16, 1)}
            assert set(told.split(" at batch 16")[0].split("`")[1::2]) == tried[16]
            assert tried[1] == {"fp32", "prompt_lookup", "assisted", "early_exit"}


def lasting(latency_s: float, size: int = 4) -> Timing:
    """Eight batches of so many seconds."""
    return record(cell(batch_size=size), latencies=(latency_s,) * 8).timing


def test_settings_at_batch_1_are_held_against_the_original_at_batch_1() -> None:
    lone = {"batch_size": 1}
    one = planted("fp32", cell=lone, timing=lasting(2.0, size=1), wrong=1)
    guessed = planted("prompt_lookup", cell=lone, timing=lasting(1.0, size=1), wrong=1)
    many = planted("fp32", timing=lasting(4.0))
    records = [many, planted("sdpa", timing=lasting(4.0)), one, guessed]
    cells = [record.cell for record in records]
    first, second = optimizations.groups(cells)
    table = axis_table.axis_table("optimization", second, records)
    assert "at batch 1 on" in table.caption
    assert [row[2].text for row in table.rows] == ["100.0", "50.0"]
    drifted = changes_table(second, records, records)
    assert "(fp32, batch 1)" in drifted.caption
    assert "at another batch size, 1 of the original's own answers differ" in drifted.caption
    assert drifted.rows[0][1].text == "100.0 %"
    assert "(fp32, batch 4)" in str(changes_table(first, records, records))
    said = findings.text("optimization", cells, records)
    assert "- sdpa: a batch" in said
    assert "- prompt_lookup at batch 1: a batch" in said
    assert said.count("a batch") == 2


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("assisted",), "`assisted` takes at most 1 question at a time."),
        (("assisted", "early_exit"), "`assisted` and `early_exit` take at most 1 question at a time."),
    ],
)
def test_settings_that_take_fewer_questions_are_listed_as_a_sentence(
    names: tuple[str, ...], said: str
) -> None:
    cells = [cell(optimization=name, batch_size=1) for name in ("fp32", *names)]
    assert say("answers", "other_batch_size", cells=cells).startswith(said)

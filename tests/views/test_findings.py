"""Sentences computed from records: changes from end to end, peaks and dips, and what may be chance."""

from __future__ import annotations

from typing import Any

import pytest
from background import MARKED, disturbed, surrounded
from factory import STEADY, absent, answers, but, cell, changed, record, timed
from reported import shown

from vlmnb.analysis import series as analysis_series
from vlmnb.records.record import Record
from vlmnb.spec.cell import Cell
from vlmnb.views import (
    across,
    axis_figure,
    axis_table,
    detail_table,
    findings,
    footnotes,
    marks,
    templates,
)

SIZES = ("image_size", (32, 64, 96, 128))
BATCHES = ("batch_size", (1, 2, 4))
SETTINGS: tuple[str, Any] = ("optimization", ("fp32", "sdpa"))
SPREAD = (0.2, 0.4, 0.25, 0.5, 0.3, 0.22, 0.35, 0.45)


def times(*factors: float, of: tuple[float, ...] = STEADY) -> list[tuple[float, ...]]:
    return [tuple(factor * s for s in of) for factor in factors]


def series(
    axis: str,
    values: tuple[Any, ...],
    latencies: list[tuple[float, ...]],
    wrong: tuple[int, ...] = (),
    count: int = 40,
) -> tuple[list[Cell], list[Record]]:
    cells = [cell(**{axis: value}) for value in values[: len(latencies)]]
    bad = wrong or (5,) * len(cells)
    found = [
        record(of, latencies=taken, answers=answers(count, errors))
        for of, taken, errors in zip(cells, latencies, bad, strict=True)
    ]
    return cells, found


@pytest.mark.parametrize(
    ("axis", "latencies", "wrong", "said", "unsaid"),
    [
        # a peak and a dip between the ends
        (SIZES, times(1, 2, 0.5, 1.1), (), "per batch is highest at image size 64 (1.01 s)", "64 (0"),
        (SIZES, times(1, 2, 0.5, 1.1), (), "per batch is lowest at image size 96 (0.253 s)", "96 (1"),
        # what lies between the ends, within the noise, or rests on few batches
        (SIZES, times(1, 1.3, 1.6, 2), (), "", "Between them"),
        (SIZES, times(1, 1.1, 0.9, 1), (), "", "Between them"),
        (SIZES, times(1, 2), (), "", "Between them"),
        (SIZES, [(0.2,) * 3, (0.9,) * 3, (0.2,) * 3], (), "", "Between them"),
        # word errors count by the sign test
        (SIZES, times(1, 1, 1, 1), (20, 10, 15, 20), "WER is lowest at image size 64 (0.250)", "highest"),
        (SIZES, times(1, 1, 1, 1), (20, 17, 18, 20), "", "Between them"),
        # the batch that costs least per sample
        (BATCHES, times(1, 1.2, 16), (), "per image is lowest at batch size 2 (0.303 s)", "per batch is"),
        # few batches are no difference, nor are intervals that overlap
        (BATCHES, [(0.2, 0.21), (0.9, 0.91)], (), "too few batches", "so an image"),
        (BATCHES, [(0.2,) * 8, (0.9,) * 8], (), "takes 4.50 times as long", "too few"),
        (BATCHES, [(0.2, 0.3) * 4, (0.25, 0.35) * 4], (), "longer, which may be noise (", "no measurable"),
        # equal medians are no equal times where the interval is wide
        (BATCHES, [(0.2, 0.3) * 4, (0.15, 0.35) * 4], (), "by the medians, but noise may hide", "within"),
        # few answers that changed may be chance: five are at 6 %
        (SETTINGS, times(1, 1), (0, 5), "WER goes from 0.000 to 0.125 (not significantly", "stays 0"),
        (SETTINGS, times(1, 1), (0, 6), "WER goes from 0.000 to 0.150;", "0.150 (not"),
    ],
)  # fmt: skip
def test_a_finding_says_what_the_numbers_support(
    axis: Any, latencies: Any, wrong: Any, said: str, unsaid: str
) -> None:
    told = findings.text(axis[0], *series(*axis, latencies, wrong))
    assert said in told
    assert unsaid not in told


@pytest.mark.parametrize(
    ("factor", "said"),
    [
        (1.2, "takes 20 % longer"),
        (1.03, "no measurable change: equal within 9 % (ratio 1.03, 0.98 to 1.08)"),
        (1.07, "takes 7 % longer"),
    ],
)
def test_windows_of_the_same_questions_are_compared_batch_by_batch(factor: float, said: str) -> None:
    """The spread of the questions would hide the change if they were not paired."""
    assert said in findings.text("optimization", *series(*SETTINGS, times(1, factor, of=SPREAD)), 0.05)


def test_table_and_sentence_have_one_ratio_and_one_interval() -> None:
    spread = (0.20, 0.21, 0.22, 0.23, 0.24, 0.25, 0.26)
    turned = (0.40, 0.42, 0.44, 0.345, 0.36, 0.375, 0.52)
    pair = series(*SETTINGS, [spread, turned])
    field = axis_table.axis_table("optimization", *pair).rows[1][2]
    assert (field.text, field.span) == ("173.9", "[144.9, 208.7]"), "the ratio of the medians beside it"
    assert "batch by batch" in field.title
    told = findings.text("optimization", *pair)
    assert "74 % longer (45 to 109 %)" in told


@pytest.mark.parametrize(
    "taken", [times(1, 0.5, 2), [(0.4,) * 2, (0.2,) * 2, (0.8,) * 2]], ids=["many", "few"]
)
@pytest.mark.parametrize("silent", [0, 1, 2])
def test_answers_that_say_nothing_are_never_called_fast(taken: Any, silent: int) -> None:
    cells, found = series(*BATCHES, taken)
    told = tuple(answer.model_copy(update={"answer": ""}) for answer in found[silent].answers)
    found[silent] = found[silent].model_copy(update={"answers": told})
    for said in (findings.text("batch_size", cells, found), findings.caption("batch_size", cells, found)):
        assert "lowest" not in said
        assert ("(∅)" not in said) == (silent == 1)
        at = cells[silent].batch_size
        assert (
            silent == 1
            or f"with batch size {at}, {found[silent].degenerate}" in said
            or marks.DEGENERATE.strip() in said
        )


def test_a_caption_speaks_of_every_data_set() -> None:
    names = ("coco-mini", "easy-vqa", "scienceqa-mini", "textvqa-mini")
    cells = [cell(image_size=size, dataset=name) for size in (32, 64) for name in names]
    taken = times(1.0, 1.0, 1.0, 1.0, 2.0, 0.5, 1.02, 1.15)
    found = [record(of, latencies=each) for of, each in zip(cells, taken, strict=True)]
    caption = findings.caption("image_size", [*cells, cell(image_size=96)], found)
    assert caption.startswith("From image size 32 to 64")
    assert "on COCO mini a batch takes 2.00 times" in caption
    assert "on TextVQA mini it takes 15 % longer, which may be noise" in caption
    assert "Not drawn: 1 cell" in caption
    assert len(templates.brief(caption)[0].split()) <= 40
    assert len(templates.brief(findings.caption("image_size", cells[::4], found[::4]))[0].split()) <= 40


def test_an_image_is_called_faster_only_if_its_own_interval_says_so() -> None:
    told = findings.text("batch_size", *series(*BATCHES, times(1, 1.9, 3.8)), 0.1)
    assert "a batch takes 3.80 times as long" in told
    assert "so an image shows no measurable change: equal within 16 %" in told, (
        "0.95, by a noise floor of 10 %"
    )
    told = findings.text("batch_size", *series(*BATCHES, times(1, 1.9, 3.8)), 0.5)
    assert "so an image takes 5 % less time, which may be noise (0.63 to 1.42 times)" in told


def test_few_batches_under_load_carry_the_mark_in_table_and_sentence() -> None:
    cells = [cell(optimization=name) for name in ("fp32", "sdpa")]
    pair = [disturbed(record(of, latencies=(0.5, 0.4))) for of in cells]
    row = axis_table.axis_table("optimization", cells, pair).rows[1]
    assert row[2].text.endswith(MARKED)
    said = findings.text("optimization", cells, pair)
    assert "too few batches" in said
    assert MARKED in said
    assert MARKED in across.table("optimization", _across(pair), "").rows[1][-1].text
    assert MARKED in templates.say("first", "ms", record=pair[0])
    quiet = [record(of, latencies=(0.5, 0.4)) for of in cells]
    assert MARKED not in findings.text("optimization", cells, quiet)
    assert MARKED not in templates.say("first", "ms", record=quiet[0])


def test_models_whose_change_may_be_noise_share_a_clause() -> None:
    cells = [cell(optimization=name) for name in ("fp32", "sdpa")]
    found = {
        name: [record(of, latencies=taken) for of, taken in zip(cells, times(1, factor), strict=True)]
        for name, factor in (("a", 1.3), ("b", 0.8), ("c", 4.0), ("d", 0.4))
    }
    titles = {name: name.upper() for name in found}
    said = across.sentences("optimization", across.rows("optimization", found, titles, titles, 0.5))
    assert said.startswith(
        "- **sdpa**: C takes 4.00 times as long (2.67 to 6.00 times); D takes 60 % less time (40 to 73 %);"
    )
    assert said.endswith("within the noise: A (1.30 times) and B (0.80 times).")
    both = {name: found[name] for name in "ab"}
    said = across.sentences("optimization", across.rows("optimization", both, titles, titles, 0.5))
    assert said == "- **sdpa**, within the noise: A (1.30 times) and B (0.80 times)."


def _across(records: list[Record]) -> list[across.Row]:
    name = {"llava-tiny": ""}
    return across.rows("optimization", {"llava-tiny": records}, name, name, 0.0)


def test_a_cell_without_a_full_batch_was_measured_and_has_no_time() -> None:
    of = cell(batch_size=512)
    short = changed(timed(of=of), "timing", batch_samples=(4,) * len(STEADY))
    assert short.short
    said = findings.text("batch_size", [short.cell], [short])
    assert "No time could be measured: fewer samples than one batch" in said
    failed = absent(of, "out_of_memory", "no room")
    assert "No cell of this page" in findings.text("batch_size", [of], [failed])


@pytest.mark.parametrize(
    ("batches", "said"), [((1,), "none"), ((2, 2), "50 %"), ((2, 12), "50 to 95 %"), ((12, 12), "")]
)
def test_captions_state_the_confidence_that_the_intervals_have(batches: tuple[int, ...], said: str) -> None:
    cells = [cell(batch_size=at + 1) for at in range(len(batches))]
    made = [timed(STEADY[:n], of=of) for n, of in zip(batches, cells, strict=True)]
    cells = [each.cell for each in made]
    captions = (
        findings.caption("batch_size", cells, made),
        axis_table.axis_table("batch_size", cells, made).caption,
        axis_figure.points("batch_size", cells, made).caption,
        detail_table.detail_table("batch_size", cells, made).caption,
    )
    for caption in captions:
        assert "95 % intervals" in caption
        assert f"(times: {said}" in caption if said else "(times" not in caption


def test_energy_is_said_to_follow_the_time_of_quiet_windows_alone() -> None:
    assert "follows the time" in footnotes.notes([surrounded(0.02)])
    for passes in ((True, True), (True, False)):
        said = footnotes.notes([surrounded(0.02), surrounded(0.5, passes)])
        assert "modelled" in said
        assert "follows the time" not in said
    quiet = surrounded(0.02)
    said = footnotes.notes([changed(quiet, "timing", turns="0123456789abcdef")])
    assert "own window" in said
    assert "follows the time" not in said


def test_cells_without_a_score_were_measured() -> None:
    assert "could be measured" in templates.say("answers", "by_batch", found=[])
    assert "could be measured" not in templates.say("answers", "by_batch", found=[], measured=True)
    assert "could be measured" in templates.say("findings", "nothing", reported=False)


def test_optimizations_within_the_noise_that_answer_alike_share_a_sentence() -> None:
    names = ("fp32", "sdpa", "bf16", "bnb-4bit", "bnb-8bit")
    cells, found = series("optimization", names, times(1, 1.1, 0.95, 1.1, 3), (0, 0, 0, 7, 0))
    lines = findings.text("optimization", cells, found, 0.5).splitlines()
    assert [line.partition(":")[0].count("times") for line in lines] == [2, 0, 0]
    assert [name in lines[0] for name in names[1:]] == [True, True, False, False]
    assert "may be noise; WER stays 0.000; 40 of 40 answers are the same" in lines[0]
    assert "bnb-8bit: a batch takes 3.00 times as long" in lines[2]


def test_optimizations_that_are_equal_share_no_sentence_with_those_within_the_noise() -> None:
    names = ("fp32", "sdpa", "bf16", "bnb-4bit", "bnb-8bit")
    cells, found = series("optimization", names, times(1, 1.01, 1.01, 1.2, 1.2), (0, 0, 0, 0, 0))
    equal, noise = findings.text("optimization", cells, found, 0.2).splitlines()
    assert ("sdpa" in equal, "bf16" in equal, "bnb" in equal) == (True, True, False)
    assert "equal within 2" in equal
    assert "may be noise" in noise


def test_answers_that_only_the_log_of_a_report_has_are_in_its_sentences() -> None:
    plan, found = shown("qwen2.5-vl-3b", "optimization")
    compiled, flash = findings.text("optimization", plan.cells, found).splitlines()
    assert "WER stays 31.9" in compiled
    assert "the answers changed" in flash
    assert "31.9 to 56.9" in flash
    plan, found = shown("qwen2.5-vl-3b", "batch_size")
    (ends,) = findings.text("batch_size", plan.cells, found).splitlines()
    assert "28.2 to 11.1" in ends


@pytest.mark.parametrize(
    ("other", "steps", "said"),
    [
        ({"seq_len": 10}, 11, (2, 11)), ({"seq_len": 10}, 1, (2, 1)), ({"seq_len": 10}, 2, None),
        ({"batch_size": 4}, 11, None), ({"optimization": "prompt_lookup"}, 11, None),
    ],
)  # fmt: skip
def test_a_time_that_answers_of_other_lengths_change_as_well_is_told_with_their_steps(
    other: dict[str, Any], steps: int, said: tuple[int, int] | None
) -> None:
    first = timed(STEADY, of=cell(seq_len=200))
    own = timed(tuple(2 * s for s in STEADY), of=cell(**{"seq_len": 200, **other}))
    change = analysis_series.change(first, changed(own, "timing", decode_steps=(steps,) * len(STEADY)), 0.1)
    assert change.steps == said
    rows = [across.Row("A", change.low, None), across.Row("A", change.high, change)]
    told = f"but answers take {steps} decoding step{'s' * (steps > 1)} instead of 2"
    axis = "optimization" if "optimization" in other else "seq_len"
    assert (told in across.sentences(axis, rows)) == bool(said)
    text = findings.text(axis, [first.cell, own.cell], [change.low, change.high])
    assert ("but answers take" in text) == bool(said)


@pytest.mark.parametrize(("better", "overlap"), [(0, True), (20, False)])
def test_a_score_of_captions_says_whether_its_intervals_overlap(better: int, overlap: bool) -> None:
    cells = [cell(image_size=size, dataset="coco-mini") for size in (32, 64)]
    said = ["a red circle left of a blue square", "a green star above a small box", "two bars on a chart"]

    def told(right: int) -> tuple[Any, ...]:
        asked = enumerate(answers(30, 0))
        words = [(a, said[i % 3], said[i % 3] if i < right else "no idea at all") for i, a in asked]
        return tuple(but(a, references=(truth,) * 2, answer=text) for a, truth, text in words)

    each = zip(cells, (told(9), told(10 + better)), strict=True)
    found = [record(of, latencies=STEADY, answers=own) for of, own in each]
    text = findings.text("image_size", cells, found)
    assert "CIDEr from" in text
    assert ("(intervals overlap)" in text) is overlap

"""Sentences computed from records: peaks and dips between the ends, and two ways to take a ratio."""

from __future__ import annotations

import pytest
from factory import STEADY, answers, cell, record

from vlmnb.records.record import Record
from vlmnb.views import axis_table, findings

AXIS = "image_size"
SIZES = (32, 64, 96, 128)


def series(*factors: float, wrong: tuple[int, ...] = (5, 5, 5, 5)) -> tuple[list, list[Record]]:
    cells = [cell(image_size=size) for size in SIZES[: len(factors)]]
    found = [
        record(of, latencies=tuple(factor * s for s in STEADY), answers=answers(40, bad))
        for of, factor, bad in zip(cells, factors, wrong, strict=False)
    ]
    return cells, found


def test_a_peak_and_a_dip_between_the_ends_are_told() -> None:
    told = findings.text(AXIS, *series(1.0, 2.0, 0.5, 1.1))
    assert "latency per batch is highest at image size 64 (1.01 s)" in told
    assert "latency per batch is lowest at image size 96 (0.253 s)" in told


@pytest.mark.parametrize("factors", [(1.0, 1.3, 1.6, 2.0), (1.0, 1.1, 0.9, 1.0), (1.0, 2.0)])
def test_what_lies_between_the_ends_or_within_the_noise_is_not(factors: tuple[float, ...]) -> None:
    assert "Between them" not in findings.text(AXIS, *series(*factors))


def test_few_batches_tell_of_no_peak() -> None:
    cells = [cell(image_size=size) for size in SIZES[:3]]
    found = [
        record(of, latencies=times)
        for of, times in zip(cells, [(0.2,) * 3, (0.9,) * 3, (0.2,) * 3], strict=True)
    ]
    assert "Between them" not in findings.text(AXIS, cells, found)


def test_word_errors_in_between_count_by_the_sign_test() -> None:
    assert "WER is lowest at image size 64 (0.250)" in findings.text(
        AXIS, *series(1.0, 1.0, 1.0, 1.0, wrong=(20, 10, 15, 20))
    )
    assert "Between them" not in findings.text(AXIS, *series(1.0, 1.0, 1.0, 1.0, wrong=(20, 17, 18, 20)))


def test_the_batch_that_costs_least_per_sample_is_told() -> None:
    cells = [cell(batch_size=size) for size in (1, 4, 16)]
    found = [
        record(of, latencies=tuple(factor * s for s in STEADY))
        for of, factor in zip(cells, (1.0, 1.2, 16.0), strict=True)
    ]
    told = findings.text("batch_size", cells, found)
    assert "latency per sample is lowest at batch size 4 (0.152 s)" in told
    assert "latency per batch is" not in told, "it lies between the ends"


def test_a_ratio_batch_by_batch_says_so_and_gives_that_of_the_medians_where_it_is_another() -> None:
    cells = [cell(optimization="fp32"), cell(optimization="sdpa")]
    spread = (0.20, 0.21, 0.22, 0.23, 0.24, 0.25, 0.26)
    turned = (0.40, 0.42, 0.44, 0.345, 0.36, 0.375, 0.52)
    pair = [record(cells[0], latencies=spread), record(cells[1], latencies=turned)]
    assert axis_table.axis_table("optimization", cells, pair).rows[1][2].text == "173.9"
    told = findings.text("optimization", cells, pair)
    assert "latency per batch grows to 2.00 times the value batch by batch (interval 1.50 to 2.40; " in told
    assert "1.74 by the medians)" in told
    alike = [record(cells[0], latencies=spread), record(cells[1], latencies=tuple(2 * s for s in spread))]
    assert "grows to 2.00 times the value batch by batch (interval 1.67 to 2.40);" in findings.text(
        "optimization", cells, alike
    )


def test_a_caption_speaks_of_every_data_set_in_at_most_60_words() -> None:
    names = ("coco-mini", "easy-vqa", "scienceqa-mini", "textvqa-mini")
    cells = [cell(image_size=size, dataset=name) for size in (32, 64) for name in names]
    factors = (1.0, 1.0, 1.0, 1.0, 2.0, 0.5, 1.02, 1.15)
    found = [
        record(of, latencies=tuple(factor * s for s in STEADY))
        for of, factor in zip(cells, factors, strict=True)
    ]
    caption = findings.caption(AXIS, cells, found)
    assert caption.startswith("From image size 32 to 64")
    assert "COCO mini 2.00 times" in caption
    assert "TextVQA mini 1.15 times" in caption
    assert len(caption.split()) <= 60

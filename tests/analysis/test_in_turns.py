"""Cells that took turns are compared by pairs, without the noise floor of windows apart."""

from __future__ import annotations

import random
from itertools import combinations
from pathlib import Path

import pytest
from factory import answers, but, cell, record

from vlmnb.analysis import matching, repeatability, series
from vlmnb.audit import registry
from vlmnb.records import turns
from vlmnb.records.record import Record
from vlmnb.records.turns import Turns
from vlmnb.spec.cell import Cell
from vlmnb.views import findings, repeat_table

FLOOR = 0.46
"""Such a floor was measured on a rented machine whose speed changes for seconds at a time."""


def speeds(count: int, seed: int = 0) -> list[float]:
    """The slowness of a machine, moment by moment: it stays, with a jump of 40 % now and then."""
    chance, made, now = random.Random(seed), list[float](), 1.0
    for _ in range(count):
        now = chance.choice((1.0, 1.4)) if chance.random() < 0.2 else now
        made.append(now * (1 + 0.02 * chance.random()))
    return made


def taken(*of: tuple[Cell, float, int], rounds: int = 2, name: str = "t") -> tuple[list[Record], Turns]:
    """Records of 24 questions with windows of one speed, and their turns at the machine's speeds.

    Each cell comes with the seconds of a batch and with its number of batches.
    """
    order = sorted(
        ((number + 0.5) / batches, place)
        for place, (_, _, batches) in enumerate(of)
        for number in range(batches)
    )
    spent: dict[int, list[float]] = {}
    for now, (_, place) in zip(speeds(rounds * len(order)), order * rounds, strict=True):
        spent.setdefault(place, []).append(of[place][1] * now)
    records, timings = [], {}
    for place, (one, seconds, batches) in enumerate(of):
        made = record(one, latencies=(seconds,) * batches, key=f"{place:016x}", answers=answers(24, 0))
        assert made.timing
        timings[made.key] = but(
            made.timing, latencies_s=tuple(spent[place]), passes=rounds, turns=name,
            batch_samples=(one.batch_size,) * batches * rounds, pass_loads=(0.0,) * rounds,
            contaminated=(False,) * rounds, loop_s=1.001 * sum(spent[place]),
        )  # fmt: skip
        records.append(made)
    return records, Turns(name=name, started_at="2026-01-01T00:00:00+00:00", timings=timings)


def of_size(batch: int, **changes: object) -> Cell:
    return cell(batch_size=batch, samples=24, **changes)


@pytest.mark.parametrize(("slower", "answer"), [(1.0, "within"), (1.15, "yes"), (0.85, "yes")])
def test_turns_show_15_percent_where_windows_cannot(slower: float, answer: str) -> None:
    records, made = taken((of_size(2), 0.5, 12), (of_size(2, seq_len=50), 0.5 * slower, 12))
    apart = series.latency_difference(*records, FLOOR)
    assert apart
    assert apart.differ == "within"
    found = series.latency_difference(*turns.shown(records, [made]), FLOOR)
    assert found
    assert found.paired
    assert found.differ == answer
    assert found.low <= slower <= found.high
    assert found.high / found.low < 1.1


def test_six_batches_show_10_percent_with_bursts() -> None:
    chance = random.Random(0)
    answers_ = []
    for slower in [1.0] * 40 + [1.1] * 40:
        records, made = taken((of_size(4), 0.5, 6), (of_size(4, seq_len=50), 0.5 * slower, 6), rounds=4)
        timings = {
            key: but(
                timing,
                latencies_s=tuple(s * chance.choice([1, 1.03, 1.06, 1.3]) for s in timing.latencies_s),
            )
            for key, timing in made.timings.items()
        }  # fmt: skip
        found = series.latency_difference(*turns.shown(records, [but(made, timings=timings)]), FLOOR)
        assert found
        answers_.append(found.differ == "yes")
    assert sum(answers_[:40]) <= 4
    assert sum(answers_[40:]) >= 24


def test_a_page_needs_the_noise_floor_only_for_what_took_no_turns() -> None:
    records, known = taken((of_size(1), 0.1, 24), (of_size(4), 0.3, 6))
    cells = [one.cell for one in records]
    assert findings.needs_noise_floor("batch_size", cells, records)
    assert not findings.needs_noise_floor("batch_size", cells, turns.shown(records, [known]))
    assert not findings.needs_noise_floor("batch_size", cells[:1], records[:1])
    of_three, known_of_three = taken((of_size(1), 0.1, 24), (of_size(2), 0.2, 12), (of_size(4), 0.3, 6))
    for lowest, needed in ((0.97, False), (0.8, True)):
        joules = [
            but(one.energy[0], energy_j=24 * j) for one, j in zip(of_three, (2, lowest, 1), strict=True)
        ]
        read = [but(one, energy=(j,)) for one, j in zip(of_three, joules, strict=True)]
        shown = turns.shown(read, [known_of_three])
        cells = [one.cell for one in read]
        assert findings.needs_noise_floor("batch_size", cells, shown) == needed
        assert ("lowest" in findings.text("batch_size", cells, shown, 0.0)) == needed
    here = repeatability.noise_floor(records, [("test-machine", "cpu")])
    both = [repeat_table.noise_floor(floor, turns.shown(records, [known])) for floor in (here, None)]
    assert all("of 20 pairs that are equal, one" in said for said in both), "confidence of 95 %"
    assert all("timed in turns" in said for said in both)
    assert ["20 %" in said for said in both] == [True, False]


def test_rounds_under_load_do_not_count() -> None:
    records, made = taken((of_size(2), 0.5, 12), (of_size(2, seq_len=50), 0.5, 12), rounds=3)
    timings = {
        key: but(
            timing,
            latencies_s=tuple(s * (9 if i // 12 == place else 1) for i, s in enumerate(timing.latencies_s)),
            contaminated=(False, True, False), pass_loads=(0.0, 0.5, 0.0),
        )
        for place, (key, timing) in zip((1, 3), made.timings.items(), strict=True)
    }  # fmt: skip
    found = series.latency_difference(*turns.shown(records, [but(made, timings=timings)]), FLOOR)
    assert found
    assert (found.n, found.differ) == (24, "within")


def test_batches_of_other_sizes_are_compared_by_the_same_stretch_of_time() -> None:
    records, made = taken((of_size(1), 0.1, 24), (of_size(4), 0.36, 6))
    found = series.latency_difference(*turns.shown(records, [made]), FLOOR, per_sample=True)
    assert found
    assert found.n == 12
    assert found.differ == "yes"
    assert found.low < 0.92
    assert found.high > 0.88
    assert found.high / found.low < 1.5


def test_answers_to_other_questions_are_not_paired() -> None:
    (one, other), made = taken((of_size(2), 0.5, 12), (of_size(2, seq_len=50), 0.5, 12))
    other = but(other, answers=tuple(but(a, sample_id=f"other {a.sample_id}") for a in other.answers))
    found = series.latency_difference(*turns.shown([one, other], [made]), FLOOR)
    assert found
    assert not found.paired
    assert found.high >= found.ratio * (1 + FLOOR)
    assert not matching.in_turns(*turns.shown([one, other], [made]))


def test_a_record_shows_the_turns_that_it_shares_with_most_of_a_page(tmp_path: Path) -> None:
    records, of_all = taken(*((of_size(2, seq_len=n), 0.5, 12) for n in (200, 100, 50)), name="all")
    of_two = Turns(
        name="two", started_at="2027-01-01T00:00:00+00:00",
        timings={key: but(timing, turns="two") for key, timing in list(of_all.timings.items())[:2]},
    )  # fmt: skip
    for made in (of_all, of_two):
        turns.write(made, tmp_path, "here", "llava-tiny")
    (tmp_path / "here/llava-tiny/turns/broken.json").write_text("{")
    known = turns.read(tmp_path, "llava-tiny")
    assert known == [of_all, of_two] == turns.read(tmp_path)
    names = [
        [r.timing.turns for r in turns.shown(part, known) if r.timing] for part in (records, records[:2])
    ]
    assert names == [["all"] * 3, ["two"] * 2]
    assert turns.shown(records[:1], known) == records[:1], "nothing is compared with it"


def test_repeats_show_how_windows_differ_and_apart_from_it_how_turns_do() -> None:
    records, made = taken(*((of_size(2, repeat=n), 0.5, 12) for n in (1, 2, 3, 4)))
    assert turns.shown(records, [made]) == records
    found = repeatability.in_turns(records, [made])
    assert found
    assert (found.pairs, found.different) == (6, 0)
    assert found.most < 0.15
    each = [
        series.latency_difference(*pair, 0.0)
        for pair in combinations(turns.shown(records, [made], repeats=True), 2)
    ]
    assert found.within == max(one.most() or 0.0 for one in each if one), "no pair hides a larger difference"
    assert repeatability.in_turns(records, []) is None


def test_the_audit_compares_turns_where_two_records_have_them() -> None:
    cells = (of_size(2), 0.5, 12), (of_size(2, optimization="sdpa"), 0.5 * 1.15, 12)
    records, made = taken(*cells)
    rule = "optimization-is-faster"

    def slower(known: list[Turns], of: list[Record] = records) -> int:
        return sum(one.rule == rule for one in registry.run(of, "measured", known=known))

    assert slower([]) == 0, "less than the noise floor that is assumed"
    assert slower([made]) == 1
    far = [records[0], but(records[1], timing=but(records[1].timing, latencies_s=(2.0,) * 12))]
    assert slower([], far) == 1
    equal = taken(*((one, 0.5, n) for one, _, n in cells), name="later")[1]
    assert slower([equal], far) == 0
    assert slower([made, but(equal, started_at="2027-01-01T00:00:00+00:00")]) == 0, "as pages show"


def test_the_audit_checks_the_times_of_turns_as_well() -> None:
    records, made = taken((of_size(2), 0.5, 12), (of_size(2, seq_len=50), 0.5, 12))
    key, timing = next(iter(made.timings.items()))
    wrong = but(made, timings=made.timings | {key: but(timing, latencies_s=timing.latencies_s[1:])})
    rule = "every-batch-is-counted"
    for known, count in ((made, 0), (wrong, 1)):
        found = registry.run(records, "measured", known=[known])
        assert sum(one.rule == rule for one in found) == count

"""What the comparison of models says of a machine with its noise floor."""

from __future__ import annotations

import bookmaking
import factory
import pytest
from factory import but

from vlmnb import models
from vlmnb.analysis import base_configuration, repeatability
from vlmnb.analysis.repeatability import NoiseFloor
from vlmnb.book.content import Content
from vlmnb.book.pages import comparison, first, status
from vlmnb.views import comparison_tables, pareto_figure, templates


@pytest.mark.parametrize(("spread", "differing"), [(0.01, 3), (0.1, 1), (0.4, 0)])
def test_every_pair_of_models_is_judged_by_the_floor_of_the_machine(spread: float, differing: int) -> None:
    """Batches take 0.4, 0.5 and 0.7 s."""
    own = bookmaking.of_models(*bookmaking.MODELS)
    base = next(one for one in own if one.cell.batch_size == 16 and one.latency)
    repeats = [
        but(base, key=f"{n:016x}", cell=but(base.cell, repeat=n, samples=96), timing=but(
            base.timing, latencies_s=tuple(s * (1 + spread) ** n for s in base.timing.latencies_s)))
        for n in (1, 2, 3)
    ]  # fmt: skip
    shown = comparison.page(Content((*own, *repeats)))
    (setup,) = (each for each in base_configuration.base_results(own))
    floor = repeatability.noise_floor([*own, *repeats], [(setup.hardware, setup.device)])
    assert floor.measured
    made = comparison_tables.pairs_table(bookmaking.results(*own), floor.value)
    outcomes = [row[4].text for row in made.rows if row[0].text.startswith("TextVQA")]
    assert outcomes.count("differs") == differing
    assert len(outcomes) == 3
    assert set(outcomes) <= {"differs", "may be noise"}
    notice = pareto_figure.notice([*own, *repeats], setup, bookmaking.results(*own))
    assert f"{templates.percent(floor.value)} %" in notice
    assert notice in shown
    assert notice in first.page(Content((*own, *repeats)))[0]


def test_the_comparison_begins_with_who_is_fastest_and_who_errs_least() -> None:
    """Batches take 0.4, 0.5 and 0.7 s."""
    shown = comparison.page(Content(tuple(bookmaking.of_models(*bookmaking.MODELS))))
    answer = shown.split("\n\n")[1]
    fastest, slowest = (models.registry()[bookmaking.MODELS[at]].title for at in (0, 1))
    assert f"{fastest} has the shortest time" in answer
    assert f"with {slowest}, which has the longest" in answer
    assert "75 % longer" in answer


def test_the_status_begins_with_how_many_cells_have_numbers() -> None:
    ok, absent = factory.record(), factory.absent(factory.cell(optimization="sdpa"), "failed", "why")
    assert "**1 of 2 cells** has numbers" in status.page(Content((ok, absent)))


@pytest.mark.parametrize(("floor", "as_fast"), [(0.1, []), (0.3, [2]), (0.9, [2, 1])])
def test_the_fastest_model_has_no_lead_over_those_within_the_noise_floor(
    floor: float, as_fast: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches take 0.4, 0.7 and 0.5 s."""
    own = bookmaking.of_models(*bookmaking.MODELS)
    ((setup, results),) = base_configuration.base_results(own).items()
    known = NoiseFloor(value=floor, measured=True)
    monkeypatch.setattr(pareto_figure, "_noise_floor", lambda *_: known)
    said = pareto_figure.lead(own, setup, results, small=True).partition(" may be noise")[0]
    named = said.partition("its lead over ")[2]
    titles = [models.registry()[bookmaking.MODELS[at]].title for at in as_fast]
    assert [title in named for title in titles] == [True] * len(titles)
    assert (named.count(" and "), "by the numbers alone" in said) == (len(titles) == 2, bool(titles))

"""What figures share: colors that are seen, points at their places, true whiskers, names of what is drawn."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import reported
from background import disturbed
from factory import STEADY, absent, but, cell, record
from matplotlib import colors
from optimized import timed
from preparing import prepared
from reusing import reused
from savings import original

from vlmnb.analysis import rates
from vlmnb.analysis.rates import Rate
from vlmnb.views import (
    across,
    axis_figure,
    cost_figure,
    figure_style,
    preprocessing_page,
    reuse_page,
    roofline,
    token_figure,
)
from vlmnb.views.marks import ALONE, DISTURBED, Mark
from vlmnb.views.table import missing
from vlmnb.views.templates import say

KEPT = {way: [token_figure.Point(way, n, original()) for n in (16, 32)] for way in ("random", "grid", "pool")}
LINES = {
    way: [*line, token_figure.Point(token_figure.ORIGINAL, 64, original())] for way, line in KEPT.items()
}


def luminance(color: str) -> float:
    parts = [x / 12.92 if x <= 0.03928 else ((x + 0.055) / 1.055) ** 2.4 for x in colors.to_rgb(color)]
    return sum(a * b for a, b in zip((0.2126, 0.7152, 0.0722), parts, strict=True))


@pytest.mark.parametrize("color", [*figure_style.COLORS, figure_style.INK])
@pytest.mark.parametrize("ground", ["#FFFFFF", "#121212"])
def test_a_color_is_seen_on_a_light_and_on_a_dark_page(color: str, ground: str) -> None:
    low, high = sorted((luminance(color), luminance(ground)))
    assert (high + 0.05) / (low + 0.05) >= 3


@pytest.mark.parametrize(
    "figure",
    [
        token_figure.figure(LINES),
        reuse_page.figure([reused()]),
        preprocessing_page.figure([prepared(1, 0.8, 0.2), prepared(4, 3.2, 0.3)]),
        roofline.figure([roofline.Bar("a", record(), Rate(value=0.2), Rate(value=0.1), Mark(), Mark())]),
    ],
    ids=["image tokens", "reuse", "preprocessing", "roofline"],
)
def test_a_figure_has_the_colors_of_the_book_and_a_look_for_each_line(figure: Any) -> None:
    known = {color.lower() for color in (*figure_style.COLORS, figure_style.INK)}
    for panel in figure.axes:
        drawn = [line for line in panel.lines if line.get_marker() not in ("None", "", "_", "|")]
        looks = [(colors.to_hex(line.get_color()), line.get_marker()) for line in drawn]
        bars = {colors.to_hex(bar.get_facecolor()) for bar in panel.patches}
        assert {color for color, _ in looks} | bars <= known
        assert len(looks) == len(set(looks)), "two lines are told apart by more than a shade"


def test_points_stand_at_the_number_of_image_tokens_that_is_kept() -> None:
    for panel in token_figure.figure(LINES).axes:
        at = itertools.chain.from_iterable(line.get_xdata() for line in panel.lines)
        assert set(map(float, at)) == {16, 32, 64}


def caps(panel: Any) -> list[float]:
    """Return the heights at which whiskers end."""
    ends = (line.get_ydata() for line in panel.lines if line.get_marker() == "_")
    return [end for end in map(float, itertools.chain.from_iterable(ends)) if math.isfinite(end)]


def test_a_number_without_an_interval_has_no_whiskers_and_one_with_an_interval_has() -> None:
    _, found = reported.shown("llava-1.5-7b", "optimization")
    assert [caps(panel) for panel in axis_figure.plot("optimization", found).axes] == [[], [], []]
    spread = tuple(1 + 0.01 * i for i in range(8))
    pair = [record(latencies=spread), record(cell(optimization="sdpa"), latencies=spread)]
    latency = axis_figure.plot("optimization", pair).axes[0]
    intervals = [one.latency for one in pair if one.latency]
    ends = sorted(end for x in intervals for end in (x.low, x.high))
    assert sorted(caps(latency)) == pytest.approx(ends)


def test_the_alt_text_of_a_figure_names_the_panels_that_it_has() -> None:
    _, found = reported.shown("llava-1.5-7b", "optimization")
    said = axis_figure.alt("optimization", axis_figure.plot("optimization", found))
    assert said == "Latency, energy and FLOPs per batch by optimization."
    one = axis_figure.plot("optimization", [timed("fp32", 1.40), timed("sdpa", 1.43)])
    assert axis_figure.alt("optimization", one) == "Latency by optimization."


@pytest.mark.parametrize("sign", ["", DISTURBED, ALONE, f"{DISTURBED}{ALONE}"])
def test_a_figure_explains_the_marks_that_it_has_and_no_other(sign: str) -> None:
    bar = roofline.Bar("a", record(), Rate(value=0.2), Rate(value=0.1), Mark(sign), Mark())
    found = rates.bottleneck([], [], 0.0)
    said = say("roofline", "figure", found=found, label=str, n=[6], signs=roofline.signs([bar]), cut=0)
    assert {mark for mark in "†◇" if mark in said} == set(sign.replace(" ", ""))


def test_shares_in_sentences_keep_their_zeros() -> None:
    share = Rate(value=0.0607, ends=(0.0497, 0.0746))
    assert say("roofline", "share", rate=share) == "6.1 % [5.0, 7.5]"


def test_a_dash_does_not_say_twice_what_its_status_says() -> None:
    blank = absent(cell(), "not_enough_tokens", "not enough tokens")
    assert missing(blank).title == "not enough tokens"
    assert missing(absent(cell(), "failed", "no disk")).title == "failed: no disk"


def test_an_axis_of_joules_says_where_they_are_modelled() -> None:
    titles = {"llava-tiny": "LLaVA tiny"}
    for method, marked in (("model", True), ("rapl", False)):
        own = [record(cell(batch_size=size), latencies=STEADY) for size in (1, 4)]
        own = [but(one, energy=(but(one.energy[0], method=method),)) for one in own]
        assert {one.energy_method for one in own} == {method}
        over, _ = across.figure("batch_size", {"llava-tiny": own}, titles)
        assert over
        drawn = over, cost_figure.figure({"llava-tiny": own}, titles)
        assert ["modelled)" in one.svg() for one in drawn] == [marked] * 2


def test_what_a_busy_machine_measured_is_marked_in_every_figure_that_shows_it() -> None:
    several = [record(cell(batch_size=size), latencies=STEADY) for size in (1, 4)]
    asked, ready = [reused(pictures=6)], [prepared(1, 0.8, 0.2), prepared(4, 3.2, 0.3)]
    for busy in (False, True):
        sizes, pictures, batches = (
            [disturbed(r) if busy else r for r in own] for own in (several, asked, ready)
        )
        signs = [
            text.get_text()
            for drawn in (reuse_page.figure(pictures), preprocessing_page.figure(batches))
            for text in drawn.axes[0].texts
        ]
        assert (len(signs), set(signs)) == ((2 + 6, {"†"}) if busy else (0, set()))
        tokens = {way: [p._replace(record=disturbed(p.record) if busy else p.record) for p in line]
                  for way, line in LINES.items()}  # fmt: skip
        panels = token_figure.figure(tokens).axes
        assert [{text.get_text() for text in panel.texts} for panel in panels] == [
            set(),
            {"†"} if busy else set(),
        ]
        assert ("†" in token_figure.caption(tokens)) is busy
        over, _ = across.figure("batch_size", {"llava-tiny": sizes}, {"llava-tiny": "LLaVA tiny"})
        assert over
        captions = reuse_page.caption(pictures), preprocessing_page.caption(batches)
        assert ["†" in text for text in (over.svg(), *captions)] == [busy] * 3

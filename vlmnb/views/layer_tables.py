"""What the page by layers shows: shares by component, every part, and its place under the roofline."""

from __future__ import annotations

from collections.abc import Sequence

from vlmnb.meters.readings import headline, headline_source
from vlmnb.records import background_load
from vlmnb.records.layer_profile import Ceilings, LayerPart, LayerProfile
from vlmnb.records.record import Record
from vlmnb.stats import comparison, formatting, intervals
from vlmnb.views import axis_table
from vlmnb.views.axis_table import MODELLED, Field, Table, absent

CLOSES = 0.05
"""The parts are said to add up to the whole when they miss it by no more than this share."""

ABOVE = 1.1
"""A rate above the ceiling by more than a tenth is no noise of either."""

TITLES = {
    "vision": "vision tower",
    "projector": "projector",
    "attention": "decoder, attention",
    "mlp": "decoder, MLP",
    "other": "decoder, norms and the like",
    "head": "head",
}
"""Components in the order in which they run."""


def whole_s(profile: LayerProfile) -> intervals.Summary:
    """Median seconds of a forward pass without hooks."""
    return intervals.median_interval(profile.forward_s)


def summed_s(profile: LayerProfile, of: Sequence[LayerPart]) -> intervals.Summary:
    """Median over passes of the sum of parts."""
    return intervals.median_interval(_sums(of))


def _sums(of: Sequence[LayerPart]) -> list[float]:
    """Seconds of parts together, pass by pass."""
    return [sum(times) for times in zip(*(part.in_pass_s for part in of), strict=True)]


def remainder(profile: LayerProfile) -> float:
    """Share of the whole that no part explains; negative where hooks made the parts longer than it."""
    return 1 - summed_s(profile, profile.parts).median / whole_s(profile).median


def share(profile: LayerProfile, of: Sequence[LayerPart]) -> tuple[float, float, float]:
    """Share of parts in the whole, median over median, and the ends of its 95 % interval.

    The interval is that of the ratio of both medians; where a rest is not positive in every pass, and so has
    no ratio, that of the rest alone.
    """
    taken, whole = summed_s(profile, of), whole_s(profile)
    if min(summed := _sums(of)) > 0:
        found = comparison.compare(profile.forward_s, summed, paired=False)
        return taken.median / whole.median, found.low, found.high
    return taken.median / whole.median, taken.low / whole.median, taken.high / whole.median


def component_table(records: Sequence[Record]) -> Table:
    """One row per component and batch size: time, share, FLOPs, parameters, energy, rates."""
    rows: list[tuple[Field, ...]] = []
    for record in records:
        size = Field(str(record.cell.batch_size))
        if record.layers is None:
            rows.append((size, Field("-", words=True), *(absent(record) for _ in range(8))))
            continue
        for name, of in components(record.layers).items():
            rows.append((size, Field(TITLES[name], words=True), *_figures(record, of)))
        rows += [(size, *row) for row in _totals(record, record.layers)]
    heads = ("Batch size", "Component", "Time, s", "% of whole", "FLOPs", "Parameters", "Energy, J",
             "FLOP/s", "% of ceiling", "B/s, % of ceiling")  # fmt: skip
    return _captioned(f"One forward pass over a batch of prompts: {CAPTION}", heads, rows)


CAPTION = (
    "median time within the pass and its share of passes without hooks, with 95 % intervals (medians of "
    "parts need not add up to the median of their sum). FLOPs and parameters are counted. Energy and rates "
    "are of a call of the part alone, one mean over many calls, and so without intervals; ceilings are what "
    "the device reached at most when it was measured"
)
NO_CEILING = (
    "‡: more than that, so that it is no ceiling (the machine was slower then, or the part reads from a "
    "cache), and the share says nothing"
)
"""Added where it occurs."""


def _captioned(caption: str, heads: tuple[str, ...], rows: Sequence[tuple[Field, ...]]) -> Table:
    """A table whose caption explains the mark of a share above its ceiling where there is one."""
    beyond = any(field.text.endswith(axis_table.BEYOND) for row in rows for field in row)
    return Table(f"{caption}. {NO_CEILING}" if beyond else caption, heads, tuple(rows))


def part_table(record: Record) -> Table:
    """One row per part, in the order in which they run."""
    heads = ("Part", "Time in pass, s", "% of whole", "FLOPs", "Parameters", "Energy, J", "FLOP/s",
             "% of ceiling", "B/s, % of ceiling")  # fmt: skip
    caption = f"Every part at batch size {record.cell.batch_size}: {CAPTION}"
    if record.layers is None:
        return Table(caption, heads, ((Field("-", words=True), *(absent(record) for _ in heads[1:])),))
    rows = [(Field(part.name, words=True), *_figures(record, [part])) for part in record.layers.parts]
    return _captioned(caption, heads, rows)


def components(profile: LayerProfile) -> dict[str, list[LayerPart]]:
    """The parts of each component that a profile has, in the order of ``TITLES``."""
    found = {name: [part for part in profile.parts if part.component == name] for name in TITLES}
    return {name: of for name, of in found.items() if of}


def text(records: Sequence[Record]) -> str:
    """Markdown list: where the time goes, and whether the parts add up."""
    lines = []
    for record in records:
        if record.layers is None:
            continue
        profile = record.layers
        left, low, high = _left(profile)
        shares = {TITLES[name]: share(profile, of) for name, of in components(profile).items()}
        first, second = sorted(shares, key=lambda title: -shares[title][0])[:2]
        span = f"{100 * left:+.1f} % is left, interval {100 * low:+.1f} to {100 * high:+.1f} %"
        within = f"within {100 * CLOSES:.0f} %"
        if max(abs(low), abs(high)) <= CLOSES:
            verdict = f"the parts add up to the whole {within} ({span})"
        elif low > CLOSES or high < -CLOSES:
            verdict = (
                f"the parts do not add up to the whole {within}: {span}, which is work outside every part, "
                "the cost of the hooks, or noise of the machine"
            )
        else:
            verdict = f"whether the parts add up to the whole {within} cannot be told: {span}"
        hooks = comparison.compare(profile.forward_s, profile.hooked_s, paired=False)
        ends = f"{100 * (hooks.low - 1):+.1f} to {100 * (hooks.high - 1):+.1f} %"
        lines.append(
            f"- Batch size {record.cell.batch_size}: {first} takes {_percent(shares[first])} of the pass "
            f"and {second} {_percent(shares[second])}; {verdict}. "
            f"Hooks changed the pass by {100 * (hooks.ratio - 1):+.1f} %, interval {ends}."
            f"{_disturbed(record)}{_above(profile)}"
        )
    return "\n".join(lines) or "- No cell of this page could be measured on this machine."


def _percent(ends: tuple[float, float, float]) -> str:
    """A share with its interval, for a sentence."""
    share, low, high = map(formatting.percent, ends)
    return f"{share} % ({low} to {high})"


def _left(profile: LayerProfile) -> tuple[float, float, float]:
    """What no part explains, as a share of the whole, with the ends of its interval."""
    explained, low, high = share(profile, profile.parts)
    return 1 - explained, 1 - high, 1 - low


def _disturbed(record: Record) -> str:
    conditions = record.provenance.conditions
    if conditions is None or not conditions.contaminated:
        return ""
    return (
        f" Meanwhile others used {100 * conditions.other_load:.0f} % of the machine's cores: measure again "
        "on an idle one before times or rates are quoted."
    )


def _above(profile: LayerProfile) -> str:
    """A sentence on parts that seem faster than anything is."""
    rates = [part.flops / part.replay_s for part in profile.parts if part.flops and part.replay_s]
    above = sum(rate > ABOVE * profile.ceilings.flops_per_s for rate in rates)
    if not above:
        return ""
    return (
        f" {above} of {len(rates)} parts were faster than the ceiling (‡), which cannot be: the machine was "
        "slower while that was measured, and shares of it say nothing here."
    )


def _totals(record: Record, profile: LayerProfile) -> list[tuple[Field, ...]]:
    """What no part explains, and the whole."""
    key, whole = record.key, whole_s(profile)
    left, low, high = _left(profile)
    title = f"whole less the sum of all parts, medians of {whole.n} passes each, 95 % interval"
    alone = [Field("-", "no part of its own")] * 6
    shown = axis_table.percent_span(left, low, high)
    numbers = [whole.median * part for part in (left, low, high)]
    rest_s = [formatting.significant(number, numbers[1], numbers[2]) for number in numbers]
    span = f"[{rest_s[1]}, {rest_s[2]}]"
    rest = (
        Field(rest_s[0], title, key, span=span),
        Field(shown[0], title, key, span=shown[1]),
        *alone,
    )
    count = record.flops_per_batch
    flops = (
        Field(formatting.format_si(count), axis_table.COUNTED, key)
        if count
        else Field("-", "not counted", key)
    )
    every = (
        axis_table.seconds(whole, key, "passes without hooks"),
        Field("100", "the whole itself"),
        flops,
        Field("-", "embeddings and norms belong to no part", key),
        *[Field("-", "a pass is timed, and only parts are called again alone", key)] * 4,
    )
    return [(Field("not explained by parts", words=True), *rest), (Field("whole pass", words=True), *every)]


def _figures(record: Record, of: Sequence[LayerPart]) -> list[Field]:
    profile = record.layers
    assert profile is not None
    key = record.key
    shown = axis_table.percent_span(*share(profile, of))
    title = "median over that of passes without hooks, 95 % interval of the ratio"
    made = [
        axis_table.seconds(summed_s(profile, of), key, "passes"),
        Field(shown[0], title, key, span=shown[1]),
    ]
    count, parameters = (sum(numbers) for numbers in ([p.flops or 0 for p in of], [p.parameters for p in of]))
    counted = f"2 per multiply-add; {axis_table.COUNTED}"
    made.append(Field(formatting.format_si(count), counted, key) if count else Field("-", NOT_COUNTED, key))
    made.append(
        Field(formatting.format_si(parameters), axis_table.COUNTED, key)
        if parameters
        else Field("-", "embeddings and norms belong to no part", key)
    )
    replayed = [part for part in of if part.replay_s]
    if not replayed:
        return [*made, *(Field("-", "cannot be called alone", key) for _ in range(4))]
    replay_s = sum(part.replay_s or 0.0 for part in replayed)
    moved = sum(part.weight_bytes + part.activation_bytes for part in replayed)
    rate, top = count / replay_s, profile.ceilings
    how = f"called alone in {replay_s:.3g} s; {ONE_MEAN}"
    bound = f"of {formatting.format_si(top.flops_per_s, 'FLOP/s', 3)} ({top.method}); {ONE_MEAN}"
    traffic = f"weights, inputs and outputs once each, of {formatting.format_si(top.bytes_per_s, 'B/s', 3)}"
    traffic += f"; {ONE_MEAN}"
    return [
        *made,
        _energy(record, replayed),
        Field(formatting.format_si(rate, digits=3), how, key) if count else Field("-", NOT_COUNTED, key),
        _of_ceiling(rate / top.flops_per_s, bound, key, top) if count else Field("-", NOT_COUNTED, key),
        _of_ceiling(moved / replay_s / top.bytes_per_s, traffic, key, top),
    ]  # fmt: skip


def _of_ceiling(share: float, title: str, key: str, top: Ceilings) -> Field:
    """A share of a ceiling in percent, marked where it cannot be one, or others disturbed the ceiling."""
    mark = background_load.MARK * top.contaminated
    why = "; other processes used the machine in every try of the ceiling" * top.contaminated
    return Field(f"{100 * share:.1f}{axis_table.beyond(share)}{mark}", f"{title}{why}", key)


ONE_MEAN = "one mean over many calls, without an interval"
NOT_COUNTED = "norms and the like, whose FLOPs are not counted"


def _energy(record: Record, replayed: Sequence[LayerPart]) -> Field:
    readings = [(headline(part.energy, record.cell.device), part.replays) for part in replayed]
    if not readings or any(reading is None for reading, _ in readings):
        source = headline_source(record.cell.device)
        why = {no.reason for part in replayed for no in part.energy_refused if no.source == source}
        return Field("-", "; ".join(sorted(why)) or "no reading", record.key)
    joules = sum(reading.energy_j / replays for reading, replays in readings if reading)
    methods = {reading.method for reading, _ in readings if reading}
    mark = MODELLED if methods == {"model"} else ""
    shared = max(part.energy_parts for part in replayed)
    how = f"{', '.join(sorted(methods))}, per call of the part alone; {axis_table.ONE_READING}"
    how += f", the mean of {shared} equal parts replayed in one window" if shared > 1 else ""
    return Field(f"{mark}{joules:.3g}", how, record.key)

"""Check cells of preprocessing: steps within their rounds, and from when the model waits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from vlmnb.analysis import preparation
from vlmnb.audit.rule import Draft, found, grouped, record_rule, rule
from vlmnb.records.parts import STEPS
from vlmnb.records.record import Record

CLOCK = 0.02
"""Share by which steps may exceed their round: two clocks are read one after the other."""


@record_rule
def steps_fit_their_rounds(record: Record) -> Iterator[Draft]:
    """The steps of preprocessing take no longer than their round allows its threads; all are there."""
    for way in record.preprocessing.ways if record.preprocessing else ():
        if bool(way.reason) == bool(way.round_s):
            yield found("no numbers", way=way)
            continue
        lengths = {len(way.steps.get(step, ())) for step in STEPS} if way.round_s else {0}
        if lengths != {len(way.round_s)}:
            yield found("other rounds", way=way)
            continue
        for at, round_s in enumerate(way.round_s):
            taken = sum(way.steps[step][at] for step in STEPS)
            if not 0 <= taken <= way.threads * round_s * (1 + CLOCK):
                yield found("too long", way=way, taken=taken, round_s=round_s)
                return


@rule("measured")
def the_model_waits_where_preparing_takes_longer(records: Sequence[Record]) -> Iterator[Draft]:
    """Where pages say that the model waits, preparing a batch takes longer than its work, by the medians."""
    of = [record for record in records if record.preprocessing]
    for group in grouped(of, lambda record: record.cell.model_copy(update={"batch_size": 1, "samples": 1})):
        longer: dict[tuple[str, int], dict[int, bool]] = {}
        for record in group:
            profile = record.preprocessing
            for way in profile.ways if profile else ():
                if profile and way.round_s:
                    slower = median(way.round_s) / profile.batches > median(profile.model_s)
                    longer.setdefault((way.backend, way.threads), {})[record.cell.batch_size] = slower
        for (backend, threads), sizes in longer.items():
            own = next((at for at in sorted(sizes) if all(sizes[b] for b in sizes if b >= at)), None)
            shown = preparation.waits_from(group, backend, threads, 0.0)
            if shown and (own is None or own > shown):
                yield found("", group, backend=backend, threads=threads, shown=shown, own=own or "never")

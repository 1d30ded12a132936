"""The rules on preprocessing find what is planted."""

from __future__ import annotations

import pytest
from factory import but, changed
from preparing import prepared

from vlmnb.analysis import preparation
from vlmnb.audit import registry


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"reason": "not here"}, "neither times nor a reason"),
        ({"steps": {}}, "not those of its rounds"),
        ({"round_s": (0.1,) * 6}, "take longer than"),
    ],
)
def test_steps_that_do_not_fit_their_rounds_are_found(changes: dict[str, object], said: str) -> None:
    found = prepared(1, 0.8, 0.2)
    assert found.preprocessing
    assert not registry.run([found], "measured")
    first, *others = found.preprocessing.ways
    planted = changed(found, "preprocessing", ways=(but(first, **changes), *others))
    (one,) = registry.run([planted], "measured")
    assert one.rule == "steps-fit-their-rounds"
    assert said in one.meaning


def test_a_wrong_batch_size_of_waiting_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparation, "waits_from", lambda records, backend, threads, floor: 1)
    found = registry.run([prepared(1, 0.8, 0.2), prepared(4, 3.2, 0.3)], "measured")
    assert {one.rule for one in found} == {"the-model-waits-where-preparing-takes-longer"}
    assert found[0].figures["From the seconds"] == "4"

"""The page on preprocessing and its share in the tables of latency."""

from __future__ import annotations

from background import disturbed
from factory import changed, record
from preparing import prepared

from vlmnb.analysis import preparation
from vlmnb.audit import registry
from vlmnb.records.record import Record
from vlmnb.views import fields, preprocessing_page
from vlmnb.views.marks import MODELLED


def records() -> list[Record]:
    """Batch sizes 1 and 4; preparing a batch takes 0.1 s and 0.4 s, the model 0.2 s and 0.3 s."""
    return [prepared(1, 0.8, 0.2), prepared(4, 3.2, 0.3)]


def test_the_model_waits_from_the_size_where_preparing_takes_longer() -> None:
    found = records()
    assert preparation.waits_from(found, "pil", 1, 0.1) == 4
    assert preparation.waits_from(found, "pil", 2, 0.1) is None
    assert not registry.run(found, "measured")
    row = preprocessing_page.table(found, 0.1).rows[3]
    shown = dict(zip(preprocessing_page.HEADS, (field.text for field in row), strict=True))
    assert (shown["Preprocessing, s per batch"], shown["% of both"]) == ("0.4000", "57.1")
    assert shown["Model waits"] == "yes"
    assert shown["Energy, J per sample"] == f"{MODELLED}0.250"
    assert shown["Copy, ms"] == "100"
    said = preprocessing_page.text(found, 0.1)
    assert "waits from batch size 4" in said
    assert "*copy*" in said
    assert "no such module" in said
    assert len(preprocessing_page.points(found).rows) == 6
    assert preprocessing_page.figure(found).axes


def test_nothing_is_concluded_within_the_noise_floor_or_from_a_busy_machine() -> None:
    found = records()
    assert preparation.waits_from(found, "pil", 1, 0.5) is None
    assert preprocessing_page.table(found, 0.5).rows[3][6].text == "too close"
    assert "may or may not wait at batch size 4" in preprocessing_page.text(found, 0.5)
    busy = [disturbed(one) for one in found]
    said = preprocessing_page.text([found[0], busy[1]], 0.1)
    assert "waits from" not in said
    assert "from batch size 4" in said
    rows = [*preprocessing_page.table(busy, 0.1).rows, *preprocessing_page.points(busy).rows]
    numbers = [field.text for row in rows for field in row if field.title and field.text != "-"]
    assert [text for text in numbers if "†" not in text and text[0].isdigit() and "." in text] == []
    said = preprocessing_page.text(busy, 0.1)
    assert len(said.splitlines()) == 1
    assert "†" in said
    assert "%" not in said


def test_a_size_where_it_waits_does_not_count_below_one_where_it_does_not() -> None:
    assert preparation.waits_from([prepared(1, 8.0, 0.2), prepared(4, 0.8, 0.3)], "pil", 1, 0.1) is None


def test_tables_of_latency_show_preprocessing_and_its_share() -> None:
    found = record()
    assert found.preprocess_s
    assert found.preprocess_s.median == 0.01
    assert fields.preprocessing(found).text.endswith("(2 %)")
    assert fields.preprocessing(changed(found, "timing", preprocess_s=())).text == "-"

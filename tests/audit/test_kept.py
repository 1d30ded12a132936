"""Findings about single records are made once, and anew when anything they depend on changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from auditing import gpu
from factory import cell, record, timed

from vlmnb.audit import registry
from vlmnb.audit.kept import Kept
from vlmnb.audit.rule import Draft, Finding, Rule, found, record_rule
from vlmnb.book import kept
from vlmnb.records.record import Record

TEXTS = {"seen": {"level": "note", "meaning": "Seen."}, "seen-too": {"level": "note", "meaning": "Seen."}}

asked: list[str] = []


@record_rule
def seen(of: Record) -> Iterator[Draft]:
    """Every record is seen."""
    asked.append(of.key)
    yield found()


@record_rule
def seen_too(of: Record) -> Iterator[Draft]:
    """Every record is seen once more."""
    asked.append(of.key)
    yield found()


ONE, OTHER = timed(key="1" * 16), timed(key="2" * 16)


def run(earlier: Kept, *records: Record, rules: tuple[Rule, ...] = (seen,)) -> tuple[list[Finding], Kept]:
    """Return what is found with what an earlier run found, and what this one keeps."""
    asked.clear()
    now = Kept(earlier.found)
    return registry.run(records, "measured", rules, kept=now), now


def test_only_what_changed_is_checked_again() -> None:
    both, kept_now = run(Kept(), ONE, OTHER)
    assert asked == [ONE.key, OTHER.key]
    assert run(kept_now, ONE, OTHER)[0] == both
    assert asked == []
    changed = OTHER.model_copy(update={"notes": ("a note",)})
    found_now, fewer = run(kept_now, changed)
    assert (asked, len(found_now), len(fewer.found)) == ([OTHER.key], 1, 1), "what is gone is forgotten"
    run(kept_now, ONE, rules=(seen, seen_too))
    assert asked == [ONE.key, ONE.key], "of other rules nothing is known"


def test_of_a_model_whose_files_may_change_unseen_nothing_is_kept() -> None:
    own = record(cell(model="/home/someone/model"))
    _, kept_now = run(Kept(), own)
    run(kept_now, own)
    assert asked == [own.key]


def test_all_rules_find_the_same_with_what_is_kept() -> None:
    records = [ONE, gpu(flops=None), timed(answers=())]
    earlier = Kept()
    first = registry.run(records, "measured", kept=earlier)
    assert first
    assert registry.run(records, "measured", kept=Kept(earlier.found)) == first


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a data set and a model, and a folder of packages."""
    for name in ("data/one/test.parquet", "models/one/config.json", "packages/one-1.0.dist-info/METADATA"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("{}")
    monkeypatch.setenv("VLMNB_ROOT", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    return tmp_path


def kept_in(folder: Path) -> bool:
    """Whether findings and a text of an earlier build hold."""
    asked.clear()
    with kept.lasting(folder) as earlier:
        registry.run([ONE], "measured", (seen,), kept=earlier.findings)
        assert earlier.text("a text", lambda: asked.append("a text") or "made") == "made"
    assert len(asked) in (0, 2)
    return not asked


def test_a_build_keeps_findings_for_the_next_one(root: Path) -> None:
    assert [kept_in(root / "_build") for _ in range(2)] == [False, True]
    (root / "_build" / kept.LASTING).write_text('{"by": 1}')
    assert [kept_in(root / "_build") for _ in range(2)] == [False, True]


@pytest.mark.parametrize("what", ["code", "texts", "data", "model", "package", "python"])
def test_whatever_findings_depend_on_makes_them_anew(
    root: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    package = root / "vlmnb"
    (package / "book").mkdir(parents=True)
    code = {"code": package / "rule.py", "texts": package / "rule.yaml"}
    for file in code.values():
        file.write_text("one: 1")
    monkeypatch.setattr(kept, "__file__", str(package / "book" / "kept.py"))
    assert [kept_in(root) for _ in range(2)] == [False, True]
    changed = code | {"data": root / "data/one/test.parquet", "model": root / "models/one/config.json"}
    if what == "package":
        (root / "packages/one-1.0.dist-info").rename(root / "packages/one-1.1.dist-info")
    elif what == "python":
        monkeypatch.setattr("sys.version", "4.0")
    else:
        changed[what].write_text("other: 2")
    assert [kept_in(root) for _ in range(2)] == [False, True]

"""The audit as a command and as pages of the book."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import loaded
import pytest
from factory import timed
from printing import printed

from vlmnb import cli, paths
from vlmnb.audit import registry
from vlmnb.book.pages import audit as audit_page
from vlmnb.cli import audit_command
from vlmnb.errors import UserError
from vlmnb.records import record_file, report_transcripts
from vlmnb.records.record import Record

Audit = Callable[..., tuple[int, Any]]


@pytest.fixture
def audit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Audit:
    """Runs the command over the records of a folder; gives the exit code and what it prints."""

    def run(source: str = "", *, as_json: bool = True) -> tuple[int, Any]:
        code = audit_command.run(tmp_path, source, as_json=as_json)
        text = capsys.readouterr().out
        return code, json.loads(text) if as_json else text

    return run


def swapped(key: str) -> Record:
    """Make a record whose phases do not add up."""
    return timed(vision_s=(0.2,) * 12, key=key, flops=None)


def test_the_exit_code_tells_whether_there_is_an_error(audit: Audit, tmp_path: Path) -> None:
    record_file.write(timed(key="2" * 16, flops=None), tmp_path)
    code, text = audit(as_json=False)
    assert (code, "0 errors" in text) == (0, True)
    record_file.write(swapped("1" * 16), tmp_path)
    code, document = audit("measured")
    (found,) = [one for one in document["findings"] if one["rule"] == "phases-add-up"]
    assert (code, found["level"], found["records"][0]["key"]) == (1, "error", "1" * 16)
    assert document["records"] == {"measured": 2}


def test_the_last_lines_say_whose_the_errors_are(audit: Audit, tmp_path: Path) -> None:
    report_transcripts.write(tmp_path)
    record_file.write(timed(key="2" * 16, flops=None), tmp_path)
    code, document = audit()
    errors = document["errors"]
    assert (code, errors["measured"], errors["reports"] > 0) == (1, 0, True)
    code, text = audit(as_json=False)
    counts, advice = text.splitlines()[-2:]
    assert counts == (
        f"0 errors in measured records (source measured), {errors['reports']} errors in the earlier reports' "
        "own figures (source reports): exit code 1."
    )
    assert (code, advice.endswith("vlmnb audit --source measured")) == (1, True)
    code, text = audit("measured", as_json=False)
    assert (code, text.splitlines()[-1].endswith("(source measured): exit code 0.")) == (0, True)


@pytest.mark.parametrize(
    ("source", "said"), [("measurd", "measured"), ("reports", "no record of source reports")]
)
def test_a_mistaken_option_is_told(audit: Audit, tmp_path: Path, source: str, said: str) -> None:
    record_file.write(timed(key="1" * 16), tmp_path)
    with pytest.raises(UserError, match=said):
        audit(source)


def test_files_that_are_no_records_are_errors(audit: Audit, tmp_path: Path) -> None:
    edits = {
        "0": lambda text: text,
        "1": lambda text: text[:100],
        "2": lambda text: text.replace("0.5", "0.4"),
        "3": lambda text: text.replace('"schema_version": 1', '"schema_version": 2'),
    }
    for digit, spoil in edits.items():
        file = record_file.write(timed(key=digit * 16, flops=None), tmp_path)
        file.write_text(spoil(file.read_text()))
    code, document = audit()
    assert (document["records"], document["errors"]) == ({"measured": 1}, {"measured": 3})
    found = [one for one in document["findings"] if one["rule"] == "every-file-is-a-record"]
    spoiled = sorted(where["key"] for one in found for where in one["records"])
    assert (code, len(document["left_out"]), spoiled) == (1, 3, [digit * 16 for digit in "123"])
    code, text = audit("measured", as_json=False)
    said = ("3 errors in measured records (source measured): exit code 1.", "was edited by hand",
            "update the project", ".damaged")  # fmt: skip
    assert (code, [part for part in said if part not in " ".join(text.split())]) == (1, [])
    next(tmp_path.rglob("0000*.json")).unlink()
    assert audit(as_json=False)[0] == 1, "also where nothing else is there"


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="measure something first"):
        audit_command.run(tmp_path / "none", "", as_json=False)


def test_the_command_is_there(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    results = str(paths.root() / "results")
    monkeypatch.setattr("sys.argv", ["vlmnb", "audit", "--source", "reports", "--results", results])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 1
    assert "source-of-one-model" in capsys.readouterr().out


def test_the_command_imports_nothing_heavy(project: Path) -> None:
    given = ("audit", "--json", "--source", "reports")
    assert loaded.by_command(*given, cwd=project, exit_codes=(0, 1)) == set()


def test_the_page_shows_findings_with_their_records_and_every_rule() -> None:
    text = audit_page.page([swapped("1" * 16)], "measured")
    rules = [f"<code>{rule.name}</code>" for rule in registry.RULES if rule.source == "measured"]
    parts = "1 error", f"downloads/records/test-machine/llava-tiny/{'1' * 16}.json", *rules
    assert [part for part in parts if part not in text] == []


def test_the_page_stays_readable_where_a_rule_finds_something_in_every_record() -> None:
    many = [swapped(f"{at:016x}") for at in range(20 + 5)]
    text = audit_page.page(many, "measured")
    assert "5 more findings" in text
    (folded,) = re.findall(r"<details><summary>25 findings: LLaVA tiny 25</summary>(.*)</details>", text)
    assert folded.count('<li id="finding-') == 20
    assert text.count("Delete it and measure the cell again") == 1
    few = audit_page.page(many[:3], "measured")
    assert ("<details>" in few, few.count("Delete it and measure the cell again")) == (False, 3)


def test_the_command_gives_one_line_each_to_many_findings_of_one_kind(audit: Audit, tmp_path: Path) -> None:
    for at in range(6):
        record_file.write(swapped(f"{at:016x}"), tmp_path)
    text = audit(as_json=False)[1]
    assert "phases-add-up, 6 times" in text
    assert text.count("Delete it and measure") == 1
    assert text.count("- llava-tiny: ") == 6


@pytest.mark.parametrize("source", ["measured", "reports"])
def test_pages_without_records_say_so(source: Any) -> None:
    text = audit_page.page([], source)
    assert "There are no such records here." in text
    assert "## The rules" in text


def test_rules_are_spelled_in_whole_words() -> None:
    power = printed(batch_size=16, energy_j_per_sample="50", latency_s="1.624")
    text = audit_page.page([power, printed("qwen2.5-vl-3b", flops="96.3 T", batch_size=16)], "reports")
    assert "Rule: Power within a GPU&#39;s limit" in text
    assert "Rule: FLOPs of the geometry" in text

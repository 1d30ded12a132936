"""The audit as a command and as pages of the book."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

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

Stored = Callable[..., Path]


@pytest.fixture
def stored(tmp_path: Path) -> Stored:
    """Writes records and gives their folder."""

    def store(*found: Record) -> Path:
        for one in found:
            record_file.write(one, tmp_path)
        return tmp_path

    return store


def test_the_exit_code_tells_whether_there_is_an_error(
    stored: Stored, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = timed(vision_s=(0.2,) * 12, key="1" * 16, flops=None)
    folder = stored(timed(key="2" * 16, flops=None))
    assert audit_command.run(folder, "", as_json=False) == 0
    assert "0 errors" in capsys.readouterr().out
    assert audit_command.run(stored(bad), "measured", as_json=True) == 1
    told = json.loads(capsys.readouterr().out)
    (found,) = [one for one in told["findings"] if one["rule"] == "phases-add-up"]
    assert (found["level"], found["records"][0]["key"]) == ("error", "1" * 16)
    assert told["records"] == {"measured": 2}


def test_the_last_lines_say_whose_the_errors_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report_transcripts.write(tmp_path)
    record_file.write(timed(key="2" * 16, flops=None), tmp_path)
    assert audit_command.run(tmp_path, "", as_json=False) == 1
    told = capsys.readouterr().out.splitlines()[-2:]
    assert re.fullmatch(
        r"0 errors in measured records \(source measured\), "
        r"[1-9]\d* errors in the earlier reports' own figures \(source reports\): exit code 1\.", told[0]
    )  # fmt: skip
    assert told[1].endswith("vlmnb audit --source measured")
    assert audit_command.run(tmp_path, "measured", as_json=False) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("(source measured): exit code 0.")
    assert audit_command.run(tmp_path, "", as_json=True) == 1
    assert json.loads(capsys.readouterr().out)["errors"]["measured"] == 0


@pytest.mark.parametrize(
    ("source", "said"), [("measurd", "measured"), ("reports", "no record of source reports")]
)
def test_a_mistaken_option_is_told(stored: Stored, source: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        audit_command.run(stored(timed(key="1" * 16)), source, as_json=False)


def test_files_that_are_no_records_are_errors(stored: Stored, capsys: pytest.CaptureFixture[str]) -> None:
    folder = stored(*(timed(key=f"{number}" * 16, flops=None) for number in range(4)))
    edit = [
        lambda text: text,
        lambda text: text[:100],
        lambda text: text.replace("0.5", "0.4"),
        lambda text: text.replace('"schema_version": 1', '"schema_version": 2'),
    ]
    files = sorted(folder.rglob("[!.]*.json"))
    for file, spoil in zip(files, edit, strict=True):
        file.write_text(spoil(file.read_text()))
    assert audit_command.run(folder, "", as_json=True) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["records"], told["errors"], len(told["left_out"])) == ({"measured": 1}, {"measured": 3}, 3)
    found = [one for one in told["findings"] if one["rule"] == "every-file-is-a-record"]
    assert sorted(where["key"] for one in found for where in one["records"]) == [
        file.stem for file in files[1:]
    ]
    assert audit_command.run(folder, "measured", as_json=False) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "3 errors in measured records (source measured): exit code 1." in said
    assert "was edited by hand" in said
    assert "update the project" in said
    assert ".damaged" in said
    files[0].unlink()
    assert audit_command.run(folder, "", as_json=False) == 1, "also where nothing else is there"


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="measure something first"):
        audit_command.run(tmp_path / "none", "", as_json=False)


def test_the_command_is_there(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(
        "sys.argv", ["vlmnb", "audit", "--source", "reports", "--results", str(paths.root() / "results")]
    )
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 1
    assert "source-of-one-model" in capsys.readouterr().out


def test_the_command_imports_nothing_heavy(project: Path) -> None:
    assert loaded.by_command("audit", "--json", cwd=project, exit_codes=(0, 1)) == set()


def test_the_page_shows_findings_with_their_records_and_every_rule() -> None:
    bad = timed(vision_s=(0.2,) * 12, key="1" * 16, flops=None)
    text = audit_page.page([bad], "measured")
    assert "1 error" in text
    assert f"downloads/records/test-machine/llava-tiny/{bad.key}.json" in text
    told = [rule.name for rule in registry.RULES if rule.source == "measured"]
    assert [name for name in told if f"<code>{name}</code>" not in text] == []


def test_the_page_stays_readable_where_a_rule_finds_something_in_every_record() -> None:
    many = [timed(vision_s=(0.2,) * 12, key=f"{at:016x}", flops=None) for at in range(audit_page.MOST + 5)]
    text = audit_page.page(many, "measured")
    assert "5 more findings" in text


def test_pages_without_records_say_so() -> None:
    for text in (audit_page.page([], source) for source in ("measured", "reports")):
        assert "There are no such records here." in text
        assert "## The rules" in text


def test_headings_of_the_page_spell_whole_words() -> None:
    rows = [
        printed(batch_size=16, energy_j_per_sample="50", latency_s="1.624"),
        printed("qwen2.5-vl-3b", flops="96.3 T", batch_size=16),
    ]
    text = audit_page.page(rows, "reports")
    assert "### Power within a GPU's limit" in text
    assert "### FLOPs of the geometry" in text

"""All rules together: which there are, and what they find in good records and in those of the repository."""

from __future__ import annotations

from pathlib import Path

import pytest
from auditing import by_formula, gpu, layered
from factory import STEADY, timed

from vlmnb import paths
from vlmnb.audit import measured, registry
from vlmnb.audit.rule import Finding, Rule, texts
from vlmnb.flops.flop_count import FlopCount
from vlmnb.records import record_file, report_transcripts

MADE_UP = '''
from vlmnb.audit.rule import found, record_rule

@record_rule
def keys_are_odd(record):
    """A key ends in an odd digit."""
    if int(record.key, 16) % 2 == 0:
        yield found(why=None)

TEXTS = {
    "keys-are-odd": {
        "level": "note",
        "figures": {"Key": "{record.key}", "Why": "{why}"},
        "meaning": ("An even key.", "Because of {why}."),
        "unknown": "",
    }
}
'''


def test_a_rule_is_one_new_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "made_up.py").write_text(MADE_UP)
    monkeypatch.setattr(measured, "__path__", [*measured.__path__, str(tmp_path)])
    (new,) = set(registry.find()) - set(registry.RULES)
    assert (new.name, new.source, new.says) == ("keys-are-odd", "measured", "A key ends in an odd digit.")
    odd, even = timed(key="1" * 16), timed(key="2" * 16)
    (found,) = registry.run([odd, even], "measured", (new,))
    assert (found.rule, found.level, found.meaning) == (new.name, "note", "An even key.")
    assert found.figures == {"Key": even.key}
    assert [where.key for where in found.records] == [even.key]


@pytest.mark.parametrize("rule", registry.RULES, ids=lambda rule: f"{rule.source}-{rule.name}")
def test_every_rule_has_a_test_that_plants_its_error(rule: Rule) -> None:
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob(f"test_{rule.source}_*.py"))
    assert f'"{rule.name}"' in tests


def test_every_text_is_of_a_rule() -> None:
    modules = {rule.check.__module__ for rule in registry.RULES}
    files = {path.stem for path in Path(measured.__file__).parents[1].rglob("*.yaml")}
    assert files == {module.rpartition(".")[2] for module in modules}
    for module in modules:
        named = {rule.name for rule in registry.RULES if rule.check.__module__ == module}
        assert {name.split(",")[0] for name in texts(module)} == named


def test_every_rule_says_what_must_hold() -> None:
    assert len({(rule.name, rule.source) for rule in registry.RULES}) == len(registry.RULES)
    assert all(rule.says.endswith(".") for rule in registry.RULES)


def test_good_records_give_no_finding() -> None:
    counts = FlopCount(fvcore=None, torch=by_formula()[0].total)
    own = timed(tuple(s + 1e-6 for s in STEADY), flops=counts)
    assert registry.run([own, gpu(flops=counts), layered()], "measured") == []


def test_the_records_of_the_full_size_models_have_no_error() -> None:
    found, _ = record_file.read_all(paths.root() / "results")
    random = [one for one in found if one.source == "measured" and one.cell.weights == "random"]
    assert random
    assert [one for one in registry.run(random, "measured") if one.level == "error"] == []


@pytest.fixture(scope="module")
def transcribed() -> list[Finding]:
    """Return the findings over the records of the reports."""
    return registry.run(report_transcripts.records(report_transcripts.load(paths.transcripts())), "reports")


@pytest.mark.parametrize(
    ("rule", "figure"),
    [
        ("percent-of-its-base", "101.4 %"),
        ("source-of-one-model", "132.39 TFLOPS"),
        ("power-follows-the-work", "0.07 %"),
        ("flops-of-the-batch-named", "300 = 18 x 16 + 12"),
        ("answers-do-not-depend-on-setting", "56.94"),
        ("digits-rounded", "29 of 49 figures"),
        ("figures-stand-in-their-log", "null"),
        ("batch-that-the-log-states", "batch size 1"),
        ("answers-do-not-change-with-an-unused-limit", "8.181 (3518/430)"),
        ("batches-are-counted-alike", "12.9 T / 806.5 G = 15.995"),
        ("batch-row-in-line", "0.263 s, 7.72 J, 235 W"),
        ("image-tokens-cost-alike", "0.251 s, 156 image tokens"),
        *(("wer-is-a-fraction-of-words", words) for words in ("300", "3177", "430")),
    ],
)
def test_what_is_known_of_the_reports_is_found(transcribed: list[Finding], rule: str, figure: str) -> None:
    assert any(figure in one.figures.values() for one in transcribed if one.rule == rule)


def test_every_wer_of_the_reports_is_a_whole_number_of_errors(transcribed: list[Finding]) -> None:
    found = [one for one in transcribed if one.rule == "wer-is-a-fraction-of-words"]
    assert {one.level for one in found} == {"note"}
    assert all(one.figures["All figures"] == one.figures["On the grid"] for one in found)


def test_every_finding_names_records_figures_and_what_is_unknown(transcribed: list[Finding]) -> None:
    assert [one.rule for one in transcribed if not (one.records and one.figures and one.unknown)] == []
    assert not [text for one in transcribed for text in one.figures.values() if "{" in text]

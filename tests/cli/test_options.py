"""Commands and the folders, sweep files and options that a user gives them."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import fakes
import pytest
from rich.console import Console
from stored import job_of, measured, sweep_file

from vlmnb import cli, paths
from vlmnb.device import slots
from vlmnb.records import record_file
from vlmnb.spec.cell import line as line_of
from vlmnb.sweep import inventory, options, progress

Called = Callable[..., tuple[int, str, str]]


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: not the project's, with a sweep file of two cells in it."""
    sweep_file(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def vlmnb(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Called:
    """Calls the command line: exit code, stdout, stderr."""

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["vlmnb", *words])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        told = capsys.readouterr()
        return int(stop.value.code or 0), told.out, told.err

    return call


def measure(results: Path, spec: str = "s.yaml") -> None:
    """Put every cell of the sweep on record, and how far a sweep came."""
    for state in job_of(results, Path()).cells:
        record_file.write(measured(state.cell), results)
    with progress.Progress([], [], Console(file=io.StringIO()), results=results, spec=spec):
        pass


@pytest.mark.parametrize("command", [["fit", "fuyu-8b"], ["models", "llava-tiny"], ["status"]])
def test_a_package_without_a_checkout_names_what_is_missing(command: list[str], elsewhere: Path) -> None:
    # A process of its own: this one may have read the checkout's files already.
    done = fakes.vlmnb(elsewhere, *command, VLMNB_ROOT=str(elsewhere))
    assert done.returncode in (2, 3)
    assert done.stderr.count("\n") == 1
    assert done.stderr.endswith(f"{elsewhere} is not a checkout of the project: set VLMNB_ROOT to one\n")


@pytest.mark.parametrize("option", ["--results", "--runs"])
def test_a_book_of_a_folder_that_is_not_there_is_refused(option: str, elsewhere: Path, vlmnb: Called) -> None:
    code, _, said = vlmnb("book", option, "nope", "--output", "made")
    assert (code, said) == (2, f"vlmnb: {option}: there is no folder {elsewhere / 'nope'}\n")
    assert not (elsewhere / "nope").exists()
    assert not (elsewhere / "made").exists()


def test_a_given_folder_is_relative_to_the_working_folder(elsewhere: Path, vlmnb: Called) -> None:
    measure(elsewhere / "mine")
    assert "2 of 2   cells recorded" in vlmnb("sweep", "s.yaml", "--dry-run", "--results", "mine")[1]
    said = vlmnb("status", "s.yaml", "--results", f"../{elsewhere.name}/mine")[1]
    assert "2 recorded, 0 to measure" in said
    assert vlmnb("export", "--results", "mine", "-o", "all.csv")[0] == 0
    assert (elsewhere / "all.csv").exists()
    assert f"no folder {elsewhere / 'results'}" in vlmnb("audit", "--results", "results")[2]
    (elsewhere / "mine").rename(elsewhere / "results")
    assert "0 of 2   cells recorded" in vlmnb("sweep", "s.yaml", "--dry-run")[1], "the project's by default"


@pytest.mark.parametrize("how", [["--dry-run"], []])
@pytest.mark.parametrize(
    ("changes", "named"), [({"model_type": "git"}, "type 'git'"), ({}, "no model.safetensors")]
)
def test_a_model_that_is_refused_stops_a_sweep_before_anything_is_measured(
    changes: dict[str, str], named: str, how: list[str], elsewhere: Path, vlmnb: Called
) -> None:
    without = shutil.ignore_patterns("*.safetensors")
    folder = shutil.copytree(paths.bundled_model("smolvlm-tiny"), elsewhere / "smol", ignore=without)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    spec = json.loads((elsewhere / "s.yaml").read_text())
    (elsewhere / "s.yaml").write_text(json.dumps(spec | {"models": ["llava-tiny", str(folder)]}))
    code, out, said = vlmnb("sweep", "s.yaml", *how, "--results", "mine", "--runs", "pages")
    assert (code, out, len(said.splitlines())) == (2, "", 1)
    assert named in said
    assert not (elsewhere / "mine").exists()
    spec["parameters"] |= {"weights": "random"}
    (elsewhere / "s.yaml").write_text(json.dumps(spec | {"models": [str(folder)]}))
    code = vlmnb("sweep", "s.yaml", "--dry-run", "--results", "mine")[0]
    assert code == (2 if changes else 0), "random weights need no file of weights"


def test_the_command_that_continues_a_sweep_works_from_any_folder(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = options.Asked(spec=Path("s.yaml"), results=elsewhere / "mine", runs=Path("runs"))
    assert own.command == f"vlmnb sweep {elsewhere / 's.yaml'} --results {elsewhere / 'mine'}"
    monkeypatch.chdir(paths.root() / "sweeps")
    asked = options.Asked(spec=Path("full.yaml"), results=Path("results"), runs=Path("runs"))
    assert asked.command == "vlmnb sweep sweeps/full.yaml"
    monkeypatch.chdir(elsewhere)
    (elsewhere / "sweeps").mkdir()
    (elsewhere / "s.yaml").rename(elsewhere / "sweeps" / "full.yaml")
    full = paths.root() / "sweeps" / "full.yaml"
    assert options.named(full) == str(full), "here the short name is another file's"


def test_an_error_names_the_folders_searched_for_a_sweep_file(elsewhere: Path, vlmnb: Called) -> None:
    code, _, said = vlmnb("sweep", "nosuch.yaml", "--dry-run")
    assert (code, said.count("\n")) == (2, 1)
    assert {"nosuch.yaml", f"{elsewhere},", f"{paths.root()};"} <= set(said.split())
    assert vlmnb("status", "sweeps/quikstart.yaml")[2].count("did you mean 'sweeps/quickstart.yaml'?") == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--hardware foo", "--on ray"),
        ("--on ray --slurm", "give one of them"),
        ("--slurm --json", "without --json"),
        ("--slurm --dry-run", "without --dry-run"),
        ("--threads 100000", "at most"),
        ("--on ray --threads 100000", "at most"),
        ("--threads -1", "--threads takes"),
        ("--cell-limit 0", "above 0"),
        ("--run-limit nan", "above 0"),
        ("--on ssh", "local or ray"),
    ],
)
def test_contradicting_options_are_refused_in_one_line(
    elsewhere: Path, vlmnb: Called, options: str, said: str
) -> None:
    code, out, error = vlmnb("sweep", "s.yaml", "--results", "mine", *options.split())
    assert (code, out, error.count("\n")) == (2, "", 1)
    assert said in error
    assert [path.name for path in elsewhere.iterdir()] == ["s.yaml"]


def test_a_script_for_a_cluster_does_nothing_if_nothing_is_missing(elsewhere: Path, vlmnb: Called) -> None:
    options = ("sweep", "s.yaml", "--slurm", "--results", "mine", "--runs", "pages")
    code, script, _ = vlmnb(*options, "--threads", "1024")
    assert (code, "--cpus-per-task=1024" in script) == (0, True), "more threads than this machine has"
    del os.environ[slots.THREADS]
    measure(elsewhere / "mine")
    job = job_of(elsewhere / "mine", elsewhere)
    paths.write_atomic(paths.executed(elsewhere / "pages", job.run.model, job.run.axis), "{}")
    inventory.mark_page(job, elsewhere / "pages")
    code, script, said = vlmnb(*options)
    assert (code, script.splitlines()[0], "nothing is missing" in said) == (0, "#!/bin/bash", True)
    assert [line for line in script.splitlines() if not line.startswith("#")] == []


def test_status_without_a_sweep_file_shows_all_sweeps_here(elsewhere: Path, vlmnb: Called) -> None:
    said = vlmnb("status", "--results", "mine")[1].splitlines()[0]
    assert "none is on record here" in said
    assert said.endswith("sweeps/quickstart.yaml")
    assert json.loads(vlmnb("status", "--results", "mine", "--json")[1])["spec"] == "sweeps/quickstart.yaml"
    code, said, _ = vlmnb("status", "s.yaml", "--results", "mine")
    assert (code, said.partition("\n\n")[0]) == (0, f"There is no folder {elsewhere / 'mine'} yet.")
    assert not (elsewhere / "mine").exists()
    measure(elsewhere / "mine", str(elsewhere / "s.yaml"))
    assert vlmnb("status", "--results", "mine")[1].splitlines()[0].endswith(str(elsewhere / "s.yaml"))
    (written,) = (elsewhere / "mine" / ".sweeps").glob("*.json")
    both = {"spec": str(elsewhere / "s.yaml"), "others": ["sweeps/cards.yaml"]}
    later = json.loads(written.read_text()) | both | {"began_at": "2099-01-01T00:00:00"}
    written.with_name("host-1.json").write_text(json.dumps(later))
    said = vlmnb("status", "--results", "mine")[1]
    assert said.splitlines()[0].endswith(f"{elsewhere / 's.yaml'}, sweeps/cards.yaml")
    assert "2 cells in all: 2 recorded" in said, "the cards have no cells"
    assert "llava-tiny/card " in said


def test_status_counts_the_records_that_no_sweep_asks_for(elsewhere: Path, vlmnb: Called) -> None:
    measure(elsewhere / "mine", str(elsewhere / "s.yaml"))
    asked = job_of(elsewhere / "mine", Path()).cells[0].cell
    for seed in (7, 8):
        by_hand = asked.model_copy(update={"seed": seed})
        record_file.write(measured(by_hand), elsewhere / "mine")
    said = vlmnb("status", "--results", "mine")[1]
    assert f"do not ask for: {asked.model} (2)." in said
    assert json.loads(vlmnb("status", "--results", "mine", "--json")[1])["others"] == {asked.model: 2}
    assert "do not ask for" not in vlmnb("sweep", "s.yaml", "--dry-run", "--results", "mine")[1]


def test_several_sweep_files_are_one_sweep_unless_they_make_the_same_page(
    elsewhere: Path, vlmnb: Called
) -> None:
    both = ("sweep", "s.yaml", "sweeps/cards.yaml", "--results", "mine")
    code, said, _ = vlmnb(*both, "--dry-run")
    assert code == 0
    assert "llava-tiny/batch_size" in said
    assert "llava-tiny/card" in said
    _, script, _ = vlmnb(*both, "--slurm")
    assert f"sweep {elsewhere / 's.yaml'} sweeps/cards.yaml " in script
    assert vlmnb("sweep", "s.yaml", "s.yaml", "--dry-run")[::2] == (
        2, "vlmnb: two of the sweep files make the page llava-tiny/batch_size: sweep one after the other\n"
    )  # fmt: skip


def test_status_matches_records_for_the_last_sweeps_threads(
    elsewhere: Path, vlmnb: Called, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (slots.THREADS, "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    other = slots.default_threads() + 1
    with monkeypatch.context() as sweeping:
        sweeping.setenv(slots.THREADS, str(other))
        measure(elsewhere / "mine")
    told = json.loads(vlmnb("status", "s.yaml", "--results", "mine", "--json")[1])
    assert (told["recorded"], told["stale"], told["missing"]) == (len(told["runs"]) * 2, 0, 0)
    os.environ.pop(slots.THREADS)
    said = vlmnb("status", "s.yaml", "--results", "mine")[1].splitlines()[0]
    assert {str(other), f"{other - 1}."} < set(said.split()), "its threads, and those of a new sweep"
    assert os.environ.pop(slots.THREADS) == str(other)
    monkeypatch.setenv(slots.THREADS, str(other + 1))
    assert json.loads(vlmnb("status", "s.yaml", "--results", "mine", "--json")[1])["stale"] > 0


def test_a_narrow_terminal_keeps_the_count(tmp_path: Path) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=60)
    every = inventory.load(paths.root() / "sweeps" / "quickstart.yaml")
    job = next(job for job in every if job.axis == "device")
    jobs = inventory.jobs([job], tmp_path, tmp_path)
    shown = progress.Progress(jobs, list(jobs[0].cells), console, results=tmp_path, spec="s", command="c")
    assert shown._live
    cell = jobs[0].cells[-1].cell
    shown.doing("cpu", job.name, line_of(cell))
    console.print(shown._live.get_renderable())
    assert f"0/{len(jobs[0].cells)}" in screen.getvalue()
    assert "llava-tiny/device: " in screen.getvalue()
    assert cell.optimization in screen.getvalue(), "and of the cell what others do not share"
    assert cell.dataset not in screen.getvalue()


def test_a_terminal_without_utf8_gets_replaced_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    monkeypatch.setattr(cli, "app", lambda: print("≈ 3 µJ", file=print("2 × 4") or sys.stderr))
    cli.main()
    for stream, shown in ((sys.stdout, b"2 ? 4"), (sys.stderr, b"? 3 ?J")):
        stream.flush()
        assert stream.buffer.getvalue().strip() == shown


@pytest.mark.parametrize(
    ("words", "begins"),
    [("all.parquet", b"PAR1"), ("all.json", b"["), ("all.JSON", b"["), ("all.csv", b"source,"),
     ("all", b"source,"), ("all.json --format croissant", b"{"), ("all.txt --format json", b"[")],
)  # fmt: skip
def test_an_export_has_the_format_of_its_ending(
    words: str, begins: bytes, elsewhere: Path, vlmnb: Called
) -> None:
    measure(elsewhere / "mine")
    file = elsewhere / words.split()[0]
    assert vlmnb("export", "--results", "mine", "-o", *words.split())[0] == 0
    assert file.read_bytes().startswith(begins)


def test_an_ending_of_another_format_is_refused_as_are_options_that_exclude_each_other(
    elsewhere: Path, vlmnb: Called
) -> None:
    measure(elsewhere / "mine")
    code, _, said = vlmnb("export", "--results", "mine", "-o", "all.parquet", "--format", "csv")
    assert (code, said.count("\n")) == (2, 1)
    assert ".csv" in said
    assert not (elsewhere / "all.parquet").exists()
    code, _, said = vlmnb("models", "fuyu-tiny", "--all")
    assert (code, said.count("\n")) == (2, 1)
    assert "--all" in said


def test_a_picture_of_more_tokens_than_the_context_is_marked(vlmnb: Called) -> None:
    said = vlmnb("models", "smolvlm-tiny")[1]
    marked = {line.split()[0] for line in said.splitlines() if line.endswith("more than the context")}
    assert marked == {"448", "896", "672"}
    assert "more than the context" not in vlmnb("models", "llava-tiny")[1]

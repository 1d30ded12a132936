"""Exact, stale and foreign records; damaged ones; clocks; locks."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from factory import but, cell, changed
from stored import job_of, measured, older, recorded, states, sweep_file

from vlmnb import paths
from vlmnb.cli import sweep_command
from vlmnb.device import slots
from vlmnb.errors import UserError
from vlmnb.files import locks
from vlmnb.models import checkpoints
from vlmnb.records import cells_to_measure, content_key, record_file
from vlmnb.records.resolved import changes_since, resolve_cell
from vlmnb.spec import axes
from vlmnb.spec.cell import line, told_apart, words
from vlmnb.spec.planning import Run
from vlmnb.sweep import inventory, options, progress, status
from vlmnb.sweep.execute import ExecutionOptions, RunResult
from vlmnb.sweep.inventory import Remeasure
from vlmnb.sweep.ray import cluster as cluster_ray
from vlmnb.sweep.ray import node as node_ray
from vlmnb.views import footnotes


@pytest.fixture(autouse=True)
def _no_device_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(slots.HELD, "cpu")


@pytest.mark.parametrize(
    ("shown", "then"), [(f'{{"{axes.NOISE_FLOOR}": true}}', "outdated"), ("{}", "current")]
)
def test_repeats_put_on_record_make_pages_again_which_show_the_noise_floor(
    tmp_path: Path, shown: str, then: str
) -> None:
    results = tmp_path / "results"
    for batch_size in (1, 2):
        record_file.write(measured(cell(batch_size=batch_size)), results)
    before = job_of(results, tmp_path)
    page = paths.executed(tmp_path / "runs", "llava-tiny", "batch_size")
    page.parent.mkdir(parents=True)
    page.write_text(shown)
    inventory.mark_page(before, tmp_path / "runs")
    assert job_of(results, tmp_path).page == "current"
    record_file.write(measured(cell(repeat=1)), results)
    assert job_of(results, tmp_path).page == then
    inventory.mark_page(job_of(results, tmp_path), tmp_path / "runs")
    assert job_of(results, tmp_path).page == "current"


def test_a_page_of_repeats_is_made_again_for_the_first_measurement_of_its_cell_alone(tmp_path: Path) -> None:
    results, given = tmp_path / "results", {"model": "llava-tiny", "device": "cpu", "length": "natural"}
    run = Run(
        model="llava-tiny", axis="repeat", parameters=given | {"datasets": ["textvqa-mini"], "repeats": [1]}
    )
    (repeat,) = run.plan.cells
    record_file.write(measured(repeat), results)
    page = paths.executed(tmp_path / "runs", "llava-tiny", "repeat")
    page.parent.mkdir(parents=True)
    page.write_text("{}")
    seen = []
    for added in (
        repeat,
        repeat.model_copy(update={"batch_size": 1, "repeat": 0}),
        repeat.model_copy(update={"repeat": 0}),
    ):
        record_file.write(measured(added), results)
        (job,) = inventory.jobs([run], results, tmp_path / "runs")
        seen.append(job.page)
        inventory.mark_page(job, tmp_path / "runs")
    assert seen == ["outdated", "current", "outdated"]


def test_a_record_of_other_code_answers_as_stale_and_is_kept(tmp_path: Path) -> None:
    path = record_file.write(older(cell()), tmp_path)
    found = recorded(cell(), tmp_path)
    assert found is not None
    assert found.key != resolve_cell(cell()).key
    assert states(tmp_path, tmp_path) == {1: "missing", 2: "stale"}
    assert "the measuring code" in footnotes.stale([found])
    assert "--stale" in footnotes.stale([found])
    other = older(cell(batch_size=4))
    assert "(all of them)" in footnotes.stale([found, other])
    assert f"(batch size {cell().batch_size})" in footnotes.stale([found, measured(cell(batch_size=4))])
    assert path.exists()


def test_an_unsupported_cell_is_measured_again_once_something_has_changed(tmp_path: Path) -> None:
    record_file.write(but(older(cell()), status="unsupported", reason="no compiler"), tmp_path)
    assert recorded(cell(), tmp_path) is None
    assert states(tmp_path, tmp_path)[2] == "missing"


def test_an_exact_record_goes_before_a_stale_one(tmp_path: Path) -> None:
    record_file.write(older(cell()), tmp_path)
    exact = measured(cell())
    record_file.write(exact, tmp_path)
    assert recorded(cell(), tmp_path) == exact
    assert states(tmp_path, tmp_path)[2] == "recorded"
    assert footnotes.stale([exact]) == ""


def test_a_record_of_other_hardware_is_neither(tmp_path: Path) -> None:
    machine = older(cell()).provenance.machine | {"fingerprint": "other"}
    record_file.write(changed(older(cell()), "provenance", machine=machine), tmp_path)
    record_file.write(but(older(cell(), "fedcba9876543210"), hardware="h200"), tmp_path)
    assert recorded(cell(), tmp_path) is None
    assert states(tmp_path, tmp_path)[2] == "missing"


@pytest.mark.parametrize("input_", ["weights", "data"])
def test_a_record_of_other_inputs_answers_another_question(tmp_path: Path, input_: str) -> None:
    record_file.write(changed(older(cell()), "provenance", **{input_: "other"}), tmp_path)
    assert recorded(cell(), tmp_path) is None
    job = job_of(tmp_path, tmp_path)
    told = status.report([job])
    assert (told["missing"], told["stale"], told["other_inputs"]) == (2, 0, 1)
    assert told["older"] == {f"of other {input_}": 1}
    assert f"1 missing cell: this machine has an older record, of other {input_}." in status.lines([job])[3]


def test_a_cell_that_could_not_run_is_missing_for_that_reason_alone(tmp_path: Path) -> None:
    record_file.write(but(older(cell()), status="unsupported", reason="no GPU"), tmp_path)
    assert status.report([job_of(tmp_path, tmp_path)])["older"] == {"unsupported then: no GPU": 1}


def test_a_record_that_only_a_setting_makes_stale_is_said_to_be_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(slots.POLICY, "PASSIVE")
    one = measured(cell())
    one = changed(
        one,
        "provenance",
        tuning=slots.tuning(),
        threads=slots.threads(),
        code=content_key.measuring_code(),
        packages=content_key.packages(),
    )
    record_file.write(one, tmp_path)
    monkeypatch.setenv(slots.POLICY, "ACTIVE")
    (why,) = status.report([job_of(tmp_path, tmp_path)])["stale_since"]
    assert why.startswith("OMP_WAIT_POLICY PASSIVE to ACTIVE (only a setting")
    assert why in "\n".join(status.lines([job_of(tmp_path, tmp_path)]))
    record_file.write(older(cell(batch_size=1)), tmp_path)
    assert any(
        "only a setting" not in one for one in status.report([job_of(tmp_path, tmp_path)])["stale_since"]
    )


def test_a_stale_cell_is_measured_where_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_file.write(older(cell()), tmp_path)
    keys = tmp_path / "again"
    keys.write_text(resolve_cell(cell()).key)
    monkeypatch.setenv(cells_to_measure.AGAIN, str(keys))
    with cells_to_measure.CellsToMeasure([cell()], tmp_path) as at:
        assert at.recorded(at.cells[0]) is None
        with at.claimed(at.cells[0]):
            at.write(measured(cell()))
        assert at.recorded(at.cells[0]) == measured(cell()), "measured again once, not twice"
    monkeypatch.delenv(cells_to_measure.AGAIN)
    monkeypatch.setenv(cells_to_measure.STALE, "1")
    assert recorded(cell(batch_size=1), tmp_path) is None


def test_what_has_changed_since_stale_records_is_looked_up_once_for_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for size in (1, 2):
        record_file.write(older(cell(batch_size=size), key=f"{size:016}"), tmp_path)
    job, looked, revision = job_of(tmp_path, tmp_path), [], checkpoints.revision
    monkeypatch.setattr(checkpoints, "revision", lambda entry: looked.append(entry) or revision(entry))
    assert status.report([job])["stale_since"] == {"the measuring code": 2}
    assert len(looked) == 1


def test_threads_are_part_of_the_key_and_named_when_they_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(slots.THREADS, "1")
    before = resolve_cell(cell()).key
    monkeypatch.setenv(slots.THREADS, "7")
    assert resolve_cell(cell()).key != before
    assert "threads 1 to 7" in changes_since(changed(measured(cell()), "provenance", threads=1))


@pytest.mark.parametrize(
    ("name", "value"),
    [("OMP_WAIT_POLICY", "PASSIVE"), ("GOMP_SPINCOUNT", "0"), ("KMP_BLOCKTIME", "infinite"),
     ("OMP_PROC_BIND", "close"), ("ATEN_CPU_CAPABILITY", "default")],
)  # fmt: skip
def test_how_threads_wait_is_part_of_the_key_and_named_when_it_changes(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    for other in slots.TUNING:
        monkeypatch.delenv(other, raising=False)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert slots.tuning() == {"GOMP_SPINCOUNT": "10000"}, "what a notebook sets, and a sweep foresees"
    before = resolve_cell(cell()).key
    one = measured(cell())
    one = changed(one, "provenance", tuning=slots.tuning(), threads=slots.threads())
    assert content_key.of_record(one) != content_key.of_record(measured(cell()))
    monkeypatch.setenv(name, value)
    assert resolve_cell(cell()).key != before
    assert f"{name} {one.provenance.tuning.get(name, 'absent')} to {value.upper()}" in changes_since(one)


def test_threads_of_a_torch_imported_too_early_wait_as_openmp_chooses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in (slots.POLICY, slots.SPINS):
        monkeypatch.setenv(name, "")
    monkeypatch.setitem(sys.modules, "torch", object())
    slots.spin_briefly()
    assert slots.tuning() == {slots.POLICY: "UNSET"}
    monkeypatch.delitem(sys.modules, "torch")
    slots.spin_briefly()
    assert slots.tuning() == {slots.SPINS: slots.BRIEF}
    assert slots.environment(slots.CPU, 2)[slots.THREADS] == "2"


@pytest.mark.parametrize("policy", ["PASSIVE", "ACTIVE"])
def test_a_policy_that_the_user_set_is_left_alone(monkeypatch: pytest.MonkeyPatch, policy: str) -> None:
    monkeypatch.setenv(slots.POLICY, policy)
    monkeypatch.delenv(slots.SPINS, raising=False)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    slots.spin_briefly()
    assert slots.SPINS not in slots.tuning()
    assert slots.tuning()[slots.POLICY] == policy
    assert slots.SPINS not in slots.environment(slots.CPU, 2)


def test_a_damaged_record_is_measured_again_and_kept_beside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = record_file.write(measured(cell()), tmp_path)
    path.write_text(path.read_text()[:100])
    assert states(tmp_path, tmp_path)[2] == "damaged"
    with cells_to_measure.CellsToMeasure([cell()], tmp_path) as at:
        assert at.recorded(at.cells[0]) is None
        at.write(measured(cell()))
    assert recorded(cell(), tmp_path) == measured(cell())
    assert path.with_suffix(".damaged").stat().st_size == 100
    assert f"is kept as {path.stem}.damaged" in capsys.readouterr().err
    assert record_file.read_all(tmp_path)[1] == []


def test_a_damaged_record_is_told_as_such_with_what_a_sweep_makes_of_it(tmp_path: Path) -> None:
    path = record_file.write(measured(cell()), tmp_path)
    path.write_text(path.read_text()[:100])
    found = inventory.look([job_of(tmp_path, tmp_path).run], tmp_path, tmp_path / "runs")
    said = status.lines(found[0], left_out=found[1])
    assert "2 cells in all: 0 recorded, 2 to measure (1 missing, 1 damaged)." in said
    (line,) = [line for line in said if str(path) in line]
    assert line.startswith(f"damaged record: {path} is no record: ")
    assert line.endswith(f"its cell is measured again, and the file is kept as {path.stem}.damaged")
    assert not [line for line in said if line.startswith("failed cell")]
    told = status.report(found[0], [], left_out=found[1])
    assert (told["damaged"], told["missing"], told["failed_cells"], told["left_out"]) == (1, 2, [], [])
    assert str(path) in told["damaged_cells"][0]


def test_a_damaged_file_beside_a_stale_record_is_told_and_kept_once_it_is_measured_again(
    tmp_path: Path,
) -> None:
    path = record_file.write(measured(cell()), tmp_path)
    path.write_text("half")
    record_file.write(older(cell()), tmp_path)
    jobs, left_out, _ = inventory.look([job_of(tmp_path, tmp_path).run], tmp_path, tmp_path / "runs")
    assert states(tmp_path, tmp_path)[2] == "stale"
    for stale, told in ((False, "left out"), (True, "damaged record")):
        said = status.lines(jobs, remeasure=Remeasure(stale=stale), left_out=left_out)
        assert {line.split(": ")[0] for line in said if str(path) in line} == {told}


def test_a_record_from_a_node_keeps_the_damaged_file_in_its_place_too(tmp_path: Path) -> None:
    path = record_file.write(measured(cell()), tmp_path / "results")
    sent = path.read_bytes()
    path.write_bytes(sent[:100])
    run = job_of(tmp_path / "results", tmp_path).run
    cluster = object.__new__(cluster_ray.Cluster)
    cluster.options = ExecutionOptions(results=tmp_path / "results", runs=tmp_path / "runs", threads=1)
    cluster.ray = SimpleNamespace(wait=lambda refs, timeout: (refs, []), get=lambda report: report)
    name = path.relative_to(tmp_path / "results").as_posix()
    report = node_ray.Report("", {name: sent}, {}, RunResult(run=run).model_dump(mode="json"))
    cluster._received(iter([report]), run, [], lambda cell: None, threading.Event())
    assert record_file.read(path) == measured(cell())
    assert paths.damaged(path).read_bytes() == sent[:100]


def test_a_link_to_nothing_in_the_place_of_a_record_is_a_damaged_one(tmp_path: Path) -> None:
    path = resolve_cell(cell(), tmp_path).path
    path.parent.mkdir(parents=True)
    path.symlink_to(tmp_path / "gone.json")
    assert states(tmp_path, tmp_path)[2] == "damaged"
    assert recorded(cell(), tmp_path) is None
    record_file.write(measured(cell()), tmp_path)
    assert states(tmp_path, tmp_path)[2] == "recorded"
    assert paths.damaged(path).is_symlink()
    assert not (tmp_path / "gone.json").exists()


@pytest.mark.parametrize("again", ["failed", "out_of_memory", "unsupported"])
def test_a_dry_run_shows_what_its_options_add(again: str, tmp_path: Path) -> None:
    record_file.write(older(cell()), tmp_path)
    record_file.write(measured(cell(batch_size=1), status=again, reason="r"), tmp_path)
    jobs = [job_of(tmp_path, tmp_path)]
    plain, said = status.lines(jobs, cells=True), []
    assert not [line for line in plain if "to measure:" in line]
    assert "2 cells in all: 2 recorded, 0 to measure." in plain
    said = status.lines(jobs, cells=True, remeasure=Remeasure(stale=True))
    assert [line for line in said if "to measure:" in line and "batch 2" in line and "(stale)" in line]
    assert "2 cells in all: 2 recorded, 1 to measure (1 stale)." in said
    said = status.lines(jobs, cells=True, remeasure=Remeasure(stale=True, retry_failed=True))
    kinds = f"1 {again.replace('_', ' ')}, 1 stale"
    assert f"2 cells in all: 2 recorded, 2 to measure ({kinds})." in said
    assert not [line for line in said if "vlmnb sweep --" in line], "asked for already"
    told = status.report(jobs, [], remeasure=Remeasure(retry_failed=True))
    assert (told["to_measure"], told["missing"]) == (1, 0)
    assert [len(run["to_measure"]) for run in told["runs"]] == [1]


def test_cells_that_differ_in_what_is_seldom_named_are_told_apart(tmp_path: Path) -> None:
    said = told_apart([cell(), cell(length="fixed"), cell(batch_size=1), cell(model="fuyu-tiny")])
    assert said[cell()].endswith(", length natural")
    assert said[cell(length="fixed")].endswith(", length fixed")
    assert "length" not in said[cell(batch_size=1)] + said[cell(model="fuyu-tiny")]
    assert line(cell()) != line(cell(length="fixed")), "so a sweep's bar names the length"
    content = {"title": "T", "models": ["llava-tiny"], "parameters": {"device": "cpu"},
               "axes": {"batch_size": {"batch_sizes": [2]}}}  # fmt: skip
    (tmp_path / "s.yaml").write_text(json.dumps(content))
    jobs = inventory.jobs(inventory.load(tmp_path / "s.yaml"), tmp_path, tmp_path)
    both = [state.cell for state in jobs[0].cells]
    assert len({words(one) for one in both}) < len(both), "the axis asks for both lengths"
    assert len(set(progress._differing_words(jobs[0]).values())) == len(both), "the bar names the length"
    lines = [line for line in status.lines(jobs, cells=True) if "to measure:" in line]
    assert len(set(lines)) == len(lines) == len(both)


def test_a_record_of_a_newer_schema_is_left_alone_until_its_cell_is_measured(tmp_path: Path) -> None:
    path = record_file.write(measured(cell()), tmp_path)
    newer = path.read_text().replace('"schema_version": 1', '"schema_version": 99')
    path.write_text(newer)
    assert recorded(cell(), tmp_path) is None
    assert "update the project" in str(record_file.read_all(tmp_path)[1][0])
    assert path.read_text() == newer
    record_file.write(measured(cell(), status="failed", reason="killed twice"), tmp_path)
    assert record_file.read(path).status == "failed"
    assert paths.damaged(path).read_text() == newer


def test_a_clock_that_went_backwards_refuses_to_replace_what_it_would_file_as_older(tmp_path: Path) -> None:
    future = changed(older(cell()), "provenance", started_at="2999-01-01T00:00:00+00:00")
    results, again = tmp_path / "results", Remeasure(stale=True)
    path = record_file.write(future, results)
    spec = sweep_file(tmp_path)
    asked = options.Asked(spec=spec, results=results, runs=tmp_path / "runs", remeasure=again)
    with pytest.raises(UserError, match="clock") as error:
        sweep_command.run(asked)
    assert str(path) in str(error.value)


def test_locks_are_let_go_when_their_process_ends(tmp_path: Path) -> None:
    mine = locks.Locks(tmp_path / "locks")
    for free in (True, False):
        child = os.fork()
        if child == 0:
            theirs = locks.Locks(tmp_path / "locks")
            right = theirs.take("other") and theirs.take("cell") is free
            os._exit(0 if right and (free or theirs.holder("cell") == os.getppid()) else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert mine.take("cell")

"""The script that takes a sweep to a machine with a GPU: a mistake is one line and changes nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
RECORD = "h200/fuyu-8b/0123456789abcdef.json"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A project with only the script, one downloaded wheel and one record in git."""
    here = tmp_path / "project"
    for name in ("scripts", "sweeps", ".wheels/1", "results/h200/fuyu-8b"):
        (here / name).mkdir(parents=True)
    shutil.copy(PROJECT / "scripts" / "gpu.sh", here / "scripts")
    (here / "sweeps" / "one.yaml").write_text("title: one\n")
    (here / ".wheels" / "1" / "kept.whl").write_text("wheel")
    (here / "results" / "h200" / "fuyu-8b" / "00000000.json").write_text("{}")
    git = ("git", "-C", str(here), "-c", "user.name=t", "-c", "user.email=t@example.org")
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "results"], check=True)
    subprocess.run([*git, "commit", "-qm", "one"], check=True)
    return here


def script(here: Path, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHON": "false", "VENV": str(here / "venv"), "OUT": str(here / "out")}
    command = [here / "scripts" / "gpu.sh", *arguments]
    return subprocess.run(command, cwd=cwd or here, env=env, capture_output=True, text=True, timeout=60)


def content(here: Path) -> dict[str, bytes]:
    files = (path for path in here.rglob("*") if path.is_file() and ".git" not in path.parts)
    return {str(path.relative_to(here)): path.read_bytes() for path in files}


def installed(here: Path, code: str) -> Path:
    """Install a fake vlmnb that logs its arguments and then runs some shell code."""
    program = here / "venv" / "bin" / "vlmnb"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\necho "$@" >> "{here}/calls"\n{code}\n')
    program.chmod(0o755)
    return here / "calls"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("wheels abc 130", "'abc' is not a Python version"),
        ("wheels 2.x", "'2.x' is not a Python version"),
        ("wheels 3.12 13.0", "'13.0' is not a CUDA version"),
        ("wheels 3.12 130 x", "got 3 arguments"),
        ("install x", "install takes no argument"),
        ("run sweeps/nope.yaml", "there is no sweep file sweeps/nope.yaml"),
        ("run sweeps/one.yaml x", "'x' is not a whole number of minutes"),
        ("run sweeps/one.yaml 0.5", "'0.5' is not a whole number of minutes"),
        ("run sweeps/one.yaml -3", "'-3' is not a whole number of minutes"),
        ("unpack", "unpack takes one file"),
        ("unpack nothing.tar.gz", "there is no file nothing.tar.gz"),
        ("unpack sweeps/one.yaml", "is not an archive"),
    ],
)
def test_a_mistake_is_one_line_and_changes_nothing(arguments: str, said: str, copy: Path) -> None:
    refused(copy, arguments.split(), said)


def refused(here: Path, arguments: list[str], said: str) -> None:
    before = content(here)
    done = script(here, *arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert said in done.stderr
    assert content(here) == before


def test_a_failed_download_keeps_the_old_wheels_and_without_any_nothing_is_installed(copy: Path) -> None:
    before = content(copy)
    assert script(copy, "wheels", "3.12", "130").returncode == 1, "pip cannot be run"
    assert content(copy) == before
    shutil.rmtree(copy / ".wheels")
    done = script(copy, "run", "sweeps/one.yaml")
    assert (done.returncode, ".wheels/" in done.stderr) == (2, True)
    assert not (copy / "venv").exists()


def test_a_mistake_in_a_sweep_is_shown_once_and_packs_nothing(copy: Path) -> None:
    calls = installed(copy, "echo 'vlmnb: wrong' >&2; exit 2")
    done = script(copy, "run", "sweeps/one.yaml", "1")
    assert (done.returncode, done.stderr) == (2, "vlmnb: wrong\n")
    assert calls.read_text().count("one.yaml") == 1
    assert not (copy / "out").exists()


def test_new_records_are_packed_and_unpacked_from_any_folder(copy: Path, tmp_path: Path) -> None:
    installed(
        copy, f"echo '{{}}' > results/{RECORD}; touch results/.index.sqlite results/h200/fuyu-8b/.x.tmp"
    )
    done = script(copy, "run", "sweeps/one.yaml", "1")
    assert done.returncode == 0, done.stderr
    assert "1 records" in done.stdout
    with tarfile.open(copy / "out" / "records.tar.gz") as packed:
        assert packed.getnames() == [RECORD], "what git has is not brought back"
    (copy / "results" / RECORD).unlink()
    shutil.move(copy / "out" / "records.tar.gz", tmp_path)
    done = script(copy, "unpack", "records.tar.gz", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "unpacked into results/: 1 records\n")
    assert (copy / "results" / RECORD).exists()


def test_a_sweep_that_lost_cells_goes_on_as_long_as_records_are_added(copy: Path) -> None:
    add = f"echo '{{}}' > {Path('results') / RECORD}"
    calls = installed(copy, f"[ $1 = status ] || {{ {add}; exit 1; }}")
    assert script(copy, "run", "sweeps/one.yaml", "1").returncode == 0
    assert calls.read_text().count("sweep ") == 2, "the second added nothing"


def test_the_packages_of_an_interpreter_that_is_in_an_environment_are_found(
    copy: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path / 'machine' / 'bin'}:{os.environ['PATH']}")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "machine"], check=True)
    (packages,) = (tmp_path / "machine" / "lib").glob("python*/site-packages")
    # Environments that this interpreter makes get no pip, which takes seconds to unpack.
    without_pip = "import venv; venv.EnvBuilder._setup_pip = lambda *given: None\n"
    (packages / "without_pip.pth").write_text(without_pip)
    done = script(copy, "install")
    assert (done.returncode, "has no torch" in done.stderr) == (2, True)
    (packages / "torch.py").touch()
    done = script(copy, "install")
    assert "no torch" not in done.stderr, "what it installs then is no wheel"


@pytest.mark.parametrize("name", ["notes.txt", "../outside/fuyu-8b/0123456789abcdef.json"])
def test_an_archive_of_anything_else_is_refused(name: str, copy: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "other.tar.gz", "w:gz") as packed:
        packed.add(copy / "sweeps" / "one.yaml", arcname=RECORD)
        packed.add(copy / "sweeps" / "one.yaml", arcname=name)
    refused(copy, ["unpack", str(tmp_path / "other.tar.gz")], name)

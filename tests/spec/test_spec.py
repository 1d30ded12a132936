from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from vlmnb import paths
from vlmnb.errors import UserError
from vlmnb.spec import axes, planning
from vlmnb.spec.sweep_file import load_sweep
from vlmnb.sweep import inventory

GOOD = "title: T\nmodels: [llava-tiny]\naxes:\n  batch_size: {}\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "sweep.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("sweep", "wanted"),
    [
        (
            "quickstart",
            {"repeat", "device", "batch_size", "image_size", "seq_len", "optimization", "visual_tokens"},
        ),
        ("full", set(axes.AXES) - {"repeat"}),  # repeats are of a machine, not of a model: sweeps/repeat.yaml
    ],
)
def test_the_sweeps_of_the_bundled_models_cover_each_of_them(sweep: str, wanted: set[str]) -> None:
    spec = load_sweep(paths.root() / "sweeps" / f"{sweep}.yaml")
    runs = planning.runs(spec)
    assert {run.axis for run in runs} == wanted
    assert len(runs) == len(spec.models) * len(wanted) == len({run.name for run in runs})


def test_a_folder_of_a_checkpoint_is_a_model(tmp_path: Path) -> None:
    names = "[./models/llava-tiny, Owner/Some-Model]"
    text = GOOD.replace("[llava-tiny]", names) + "overrides: {./models/llava-tiny: {samples: 3}}\n"
    found = load_sweep(write(tmp_path, text))
    folder = str(Path.cwd() / "models" / "llava-tiny")
    assert (found.models, list(found.overrides)) == ((folder, "Owner/Some-Model"), [folder])


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (GOOD.replace("models", "modles"), 2, "did you mean 'models'"),
        (GOOD.replace("[llava-tiny]", "[]"), 2, "models: is empty"),
        (GOOD.replace("[llava-tiny]", "[llava-tiny, llava-tiny]"), 2, "twice"),
        (GOOD.replace("[llava-tiny]", "[llava-tiny"), 3, "no valid YAML"),
        ("? [a, b]\n: 1\n", 1, "no valid YAML"),
        (GOOD + "overrides: {fuyu-tiny: {samples: 3}}\n", 5, "overrides names 'fuyu-tiny'"),
        (GOOD.replace("batch_size", "batchsize"), 4, "did you mean 'batch_size'"),
        (GOOD.replace("{}", "{batch_sizs: [1]}"), 4, "did you mean 'batch_sizes'"),
        (GOOD + "parameters: {sampels: 3}\n", 5, "did you mean 'samples'"),
        (GOOD + "parameters: {weights: trained}\n", 5, "weights"),
        (GOOD.replace("[llava-tiny]", "\n  - llava-tiny\n  - lava-tiny"), 4, "did you mean 'llava-tiny'"),
        (GOOD.replace("[llava-tiny]", "llava-tiny"), 2, "takes a list"),
        (GOOD.replace("{}", "{batch_sizes: []}"), 4, "batch_sizes is empty"),
        (GOOD.replace("{}", "{batch_sizes: [1, 1]}"), 4, "lists the same value twice"),
        (GOOD.replace("{}", f"{{batch_sizes: {list(range(1, 5000))}}}"), 4, "batch_sizes lists 4999 values"),
        (GOOD.replace("{}", "\n    batch_sizes: [0]"), 5, "greater than or equal to 1"),
        (GOOD.replace("{}", "{results: elsewhere}"), 4, "unknown parameter 'results'"),
        (GOOD + "parameters:\n  samples: 4\n  dataset: coko-mini\n", 7, "did you mean 'coco-mini'"),
        (GOOD + "overrides:\n  llava-tiny: {samples: many}\n", 6, "samples takes int"),
        (GOOD + "extra: !!python/object:os.system x\n", 5, "is not allowed here"),
        (GOOD + "extra: !secret x\n", 5, "is not allowed here"),
        (GOOD.replace("title: T", "title: 2026-01-01"), 1, "write dates in quotes"),
        (GOOD + "title: again\n", 5, "twice"),
        (GOOD + "parameters: {question_counts: [1]}\n", 5, "unknown parameter 'question_counts'"),
        (GOOD + "overrides:\n  llava-tiny: {seq_lens: [9]}\n", 6, "unknown parameter 'seq_lens'"),
        (GOOD.replace("[llava-tiny]", "[Mine]"), 2, "./PATH"),
        (GOOD.replace("[llava-tiny]", "[./a, ./b/../a]"), 2, "twice"),
        (GOOD.replace("[llava-tiny]", "[./a]") + "overrides: {./b: {samples: 3}}\n", 5, "/b'"),
    ],
)
def test_a_mistake_is_told_with_its_file_and_line_and_stands_once(
    tmp_path: Path, text: str, line: int, said: str
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UserError) as error:
        inventory.load(path)
    message = str(error.value)
    assert message.startswith(f"{path}, line {line}: ")
    assert message.count(str(path)) == 1
    assert said in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"title: \xff\xfe\n", "line 1: this is no UTF-8"),
        (b"title: a\x00b\n", "does not allow"),
        (b"", "found nothing"),
        (b"- just\n- a list\n", "expected keys"),
        (b"title: T\nparameters:\n  samples: " + b"9" * 6000, "digits"),
    ],
)
def test_a_file_that_is_no_sweep_is_refused_quickly(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=said):
        inventory.load(path)


def test_a_missing_file_is_named_once_and_a_pipe_is_no_sweep_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(UserError) as error:
        inventory.load(tmp_path / "missing.yaml")
    assert str(error.value).count("missing.yaml") == 1
    with pytest.raises(UserError, match=r"pipe\.yaml is no file that can be read again"):
        inventory.load(tmp_path / "pipe.yaml")


scalars = st.none() | st.booleans() | st.integers(-2, 400) | st.floats() | st.text(max_size=8)
names = st.sampled_from([*axes.AXES, "samples", "batch_sizes", "models", "llava-tiny", "dataset", "device"])
values = st.recursive(
    scalars | names,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(names | st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
sweeps = st.fixed_dictionaries(
    {
        "title": st.just("T") | values,
        "models": st.lists(st.sampled_from(["llava-tiny", "fuyu-tiny"]), max_size=2) | values,
        "axes": st.dictionaries(names, st.dictionaries(names, values, max_size=2) | st.none(), max_size=2),
    },
    optional={"parameters": st.dictionaries(names, values, max_size=2) | values, "overrides": values},
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=sweeps)
@example(content={"title": "T", "models": ["llava-tiny"], "axes": {"card": None}})
def test_any_sweep_gives_runs_or_one_line(tmp_path: Path, content: dict[str, object]) -> None:
    path = write(tmp_path, yaml.safe_dump(content))
    runs, message = (), ""
    try:
        runs = inventory.load(path)
    except UserError as error:
        message = str(error)
    assert list(tmp_path.iterdir()) == [path]
    if message:
        assert message.startswith(str(path))
        assert "\n" not in message
        return
    assert {run.model for run in runs} == set(content["models"])
    assert len({run.name for run in runs}) == len(runs) == len(content["models"]) * len(content["axes"])
    plans = [planning.plan(run.axis, run.parameters) for run in runs]
    assert all(plan.cells or plan.axis.own for plan in plans), "a card alone has no cells of its own"


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=80) | st.text("[]{}:,&*!|>-?# \n'\"ab1", max_size=60))
def test_any_text_is_a_sweep_or_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(text, encoding="utf-8", newline="")
    with pytest.raises(UserError) as error:
        inventory.load(path)
    assert "\n" not in str(error.value)

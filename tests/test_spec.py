from __future__ import annotations

from pathlib import Path

import pytest

from vlmnb import axes, paths
from vlmnb.errors import UserError
from vlmnb.spec import load_sweep

GOOD = "title: T\nmodels: [llava-tiny]\naxes:\n  batch_size: {}\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "sweep.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD.replace("models", "modles"), "did you mean 'models'"),
        (GOOD.replace("[llava-tiny]", "[]"), "models"),
        (GOOD.replace("[llava-tiny]", "[llava-tiny, llava-tiny]"), "twice"),
        (GOOD + "models: [fuyu-tiny]\n", "stands twice"),
        (GOOD.replace("[llava-tiny]", "[llava-tiny"), "no valid YAML"),
        ("- just\n- a list\n", "expected keys"),
        (GOOD + "overrides: {fuyu-tiny: {samples: 3}}\n", "overrides names 'fuyu-tiny'"),
        ("? [a, b]\n: 1\n", "no valid YAML"),
    ],
)
def test_a_mistake_in_a_sweep_file_is_one_line_that_names_it(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UserError) as error:
        load_sweep(write(tmp_path, text))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD.replace("llava-tiny", "lava-tiny"), "did you mean 'llava-tiny'"),
        (GOOD.replace("batch_size", "batchsize"), "did you mean 'batch_size'"),
        (GOOD.replace("{}", "{batch_sizs: [1]}"), "did you mean 'batch_sizes'"),
        (GOOD.replace("{}", "{batch_sizes: [0]}"), "batch_size"),
        (GOOD.replace("{}", "{dataset: coko-mini}"), "did you mean 'coco-mini'"),
        (GOOD + "parameters: {sampels: 3}\n", "did you mean 'samples'"),
        (GOOD + "parameters: {samples: many}\n", "samples takes int"),
        (GOOD + "parameters: {weights: trained}\n", "weights"),
    ],
)
def test_a_mistake_in_what_a_sweep_asks_for_names_the_nearest(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UserError) as error:
        axes.runs(load_sweep(write(tmp_path, text)))
    assert said in str(error.value)


def test_the_quickstart_covers_every_model_and_axis() -> None:
    sweep = load_sweep(paths.root() / "sweeps" / "quickstart.yaml")
    runs = axes.runs(sweep)
    assert {run.axis for run in runs} == set(axes.AXES)
    assert len(runs) == 3 * len(axes.AXES) == len({run.name for run in runs})


def test_atomic_writing_leaves_the_old_file_when_it_fails(tmp_path: Path) -> None:
    path = tmp_path / "file"
    paths.write_atomic(path, "old")

    def fail_half_way() -> None:
        with paths.temporary_beside(path) as scratch:
            scratch.write_text("half")
            raise RuntimeError("full")

    with pytest.raises(RuntimeError, match="full"):
        fail_half_way()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]

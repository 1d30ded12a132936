"""Names of reductions of image tokens: what they mean, and what is refused before any model loads."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlmnb.errors import UserError
from vlmnb.spec import optimizations, planning
from vlmnb.spec.optimizations import visual_tokens


@given(st.integers(1, 30), st.integers(1, 30), st.data())
def test_evenly_spaced_places_are_as_many_as_asked_for(rows: int, columns: int, data: Any) -> None:
    number = data.draw(st.integers(1, rows * columns))
    places = visual_tokens.evenly_spaced(rows, columns, number)
    assert len(set(places)) == number
    assert places == sorted(places)
    assert 0 <= places[0] <= places[-1] < rows * columns


@pytest.mark.parametrize(
    ("name", "grid", "kept"),
    [
        ("visual_tokens-192-grid", (24, 24), 192),
        ("visual_tokens-50%-random", (8, 8), 32),
        ("visual_tokens-11%-diverse", (4, 4), 2),
        ("visual_tokens-1%-attention", (4, 4), 1),
        ("visual_tokens-pool2x2", (24, 24), 144),
        ("visual_tokens-pool2x2", (5, 5), 9),
        ("visual_tokens-pool4x4", (8, 8), 4),
    ],
)
def test_a_name_says_how_many_tokens_are_kept(name: str, grid: tuple[int, int], kept: int) -> None:
    found = optimizations.parse(f"{name}+bf16", "fp32")
    assert (found.name, found.of("visual_tokens")) == (f"bf16+{name}", name)
    assert found.reduction
    assert found.reduction.kept(*grid) == kept


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("visual_tokens-9-gird", "did you mean 'grid'"),
        ("visual_tokens-101%-grid", "up to 100 %"),
        ("visual_tokens-0-grid", "give a number"),
        ("visual_tokens-grid", "give a number"),
        ("visual_tokens-16-pool2x2", "write visual_tokens-pool2x2"),
        ("visual_tokens-9-grid+visual_tokens-pool2x2", "two reductions of image tokens"),
        ("visual_tokens-9-attention+sdpa", "excludes sdpa.*keep one"),
    ],
)
def test_a_name_that_means_nothing_is_refused_in_one_line(name: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as error:
        optimizations.parse(name, "fp32")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("model", "name", "said"),
    [
        ("llava-tiny", "visual_tokens-65-random", "asks for 65 image tokens.*has 64"),
        ("llava-1.5-7b", "visual_tokens-577-grid", "has 576"),
        ("qwen2.5-vl-tiny", "visual_tokens-pool5x5", "has 4 x 4"),
        ("fuyu-tiny", "visual_tokens-65-grid", "has 64"),
    ],
)
@pytest.mark.parametrize("axis", ["optimization", "visual_tokens"])
def test_more_tokens_than_the_picture_has_are_refused_before_a_model_loads(
    axis: str, model: str, name: str, said: str
) -> None:
    with pytest.raises(UserError, match=said):
        planning.plan(axis, {"model": model, "device": "cpu", "optimizations": ["fp32", name]})


@pytest.mark.parametrize("name", ["visual_tokens-50%-grid", "llama.cpp-Q8_0"])
@pytest.mark.parametrize("axis", ["layers", "reuse"])
def test_a_notebook_of_whole_pictures_and_of_torch_says_so(axis: str, name: str) -> None:
    with pytest.raises(UserError, match=name):
        planning.plan(axis, {"model": "llava-tiny", "optimization": name})


@pytest.mark.parametrize("model", ["llava-tiny", "qwen2.5-vl-3b", "fuyu-8b"])
def test_the_axis_begins_with_the_original(model: str) -> None:
    cells = planning.plan("visual_tokens", {"model": model, "device": "cpu", "length": "natural"}).cells
    assert cells[0].optimization in ("fp32", "bf16")
    assert all(optimizations.of(cell).reduction for cell in cells[1:])


@pytest.mark.parametrize("axis", ["visual_tokens", "optimization"])
def test_rows_compared_by_their_time_need_a_full_batch(axis: str) -> None:
    asked = {"model": "llava-tiny", "device": "cpu", "samples": 4}
    with pytest.raises(UserError, match="samples is 4 and a batch has 16"):
        planning.plan(axis, asked | {"batch_size": 16})
    assert planning.plan(axis, asked | {"batch_size": 4}).cells
    short = asked | {"batch_size": 16}
    assert planning.plan("image_size", short).cells, "which has scores"
    with pytest.raises(UserError, match="no batch is full"):
        planning.plan("image_size", short | {"weights": "random"})

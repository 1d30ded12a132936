from __future__ import annotations

import ast
from typing import Any

import nbformat
import pytest

from vlmnb import experiment, paths
from vlmnb.errors import UserError
from vlmnb.spec import axes, optimizations, planning

DEFAULTS: dict[str, Any] = {"model": "qwen2.5-vl-tiny"}


def test_the_base_configuration_is_one_cell_in_several_tables() -> None:
    batch = planning.plan("batch_size", DEFAULTS).cells
    image = planning.plan("image_size", DEFAULTS).cells
    length = planning.plan("seq_len", DEFAULTS).cells
    optimization = planning.plan("optimization", DEFAULTS).cells
    device = planning.plan("device", DEFAULTS | {"devices": ["cpu"]}).cells
    assert set(device) <= set(batch)
    assert set(batch) & set(image) & set(length)
    assert set(optimization) & set(image) & set(length)


@pytest.mark.parametrize(
    ("axis", "given", "said"),
    [
        ("batch_size", {"batchsizes": [1]}, "did you mean 'batch_sizes'"),
        ("batch_size", {"batch_size": 3}, "no parameter 'batch_size'"),
        ("batch_size", {"samples": "32x"}, "samples takes int, got '32x'"),
        ("batch_size", {"samples": True}, "samples takes int"),
        ("batch_size", {"batch_sizes": "one"}, "batch_sizes takes a list of int"),
        ("batch_size", {"batch_sizes": [1, "2"]}, "batch_sizes takes a list of int"),
        ("batch_size", {"batch_sizes": "4"}, "batch_sizes takes a list of int"),
        ("batch_size", {"batch_sizes": "['4', 8]"}, "batch_sizes takes a list of int"),
        ("batch_size", {"device": "gpu"}, "device"),
        ("batch_size", {"optimization": "fp23"}, "did you mean 'fp32'"),
        ("batch_size", {"optimization": "fp32+bf16"}, "names two"),
        ("batch_size", {"model": "fuyu-tyni"}, "did you mean 'fuyu-tiny'"),
        ("batch_size", {"dataset": "text-vqa"}, "unknown data set"),
        ("batch_size", {"length": "short"}, "length"),
        # Under the name by which it was given, not that of the cell's field.
        ("batch_size", {"batch_sizes": [0]}, "notebook batch_size: batch_sizes: "),
        ("layers", {"batch_sizes": [4, -1]}, "notebook layers: batch_sizes: "),
        ("image_size", {"image_sizes": [0]}, "notebook image_size: image_sizes: "),
        ("repeat", {"repeats": [-1]}, "repeats lists -1"),
        ("repeat", {"repeats": [1, 0]}, "repeats lists 0"),
        ("batch_size", {"samples": -3}, "notebook batch_size: samples: "),
    ],
)
def test_a_wrong_parameter_is_an_error_that_names_it(axis: str, given: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as error:
        planning.plan(axis, DEFAULTS | given)
    assert said in str(error.value)


def test_parameters_from_python_are_checked_like_those_of_papermill() -> None:
    with pytest.raises(UserError, match="no parameter 'modell'; did you mean 'model'"):
        experiment.begin("batch_size", {"modell": "llava-tiny"})
    a_notebook = {"__name__": "__main__", "_ih": [""], "plan": None, "model": "llava-tiny"}
    assert experiment.begin("batch_size", a_notebook).model == "llava-tiny"


def test_an_empty_list_given_to_papermill_is_no_default() -> None:
    own = 'model = "llava-tiny"\nseq_lens = []\nresults = ""'
    namespace = {
        "__name__": "__main__",
        "model": "llava-tiny",
        "seq_lens": [],
        "results": "",
        "_ih": ["", own],
    }
    assert experiment.begin("seq_len", namespace).cells
    for value in ([], "[]"):
        history = ["", own, f"# Parameters\nseq_lens = {value!r}\n"]
        with pytest.raises(UserError, match="seq_lens is empty"):
            experiment.begin("seq_len", namespace | {"seq_lens": value, "_ih": history})
    history = ["", own, '# Parameters\nmodel = ""\n']
    with pytest.raises(UserError, match="model is empty"):
        experiment.begin("seq_len", namespace | {"model": "", "_ih": history})


def test_a_list_names_a_value_once() -> None:
    for axis, name in (("repeat", "repeats"), ("batch_size", "batch_sizes")):
        with pytest.raises(UserError, match=f"{name} lists the same value twice"):
            planning.plan(axis, {"model": "llava-tiny", name: [1, 1]})


def test_a_list_may_come_as_the_text_that_papermill_passes() -> None:
    plan = planning.plan("batch_size", DEFAULTS | {"batch_sizes": "[2, 3]"})
    assert [cell.batch_size for cell in plan.of_length("natural")] == [2, 3]


LISTS = [(axis.name, name) for axis in axes.AXES.values()
         for name, kind in axis.parameters.items() if isinstance(kind, tuple)]  # fmt: skip


@pytest.mark.parametrize(("axis", "name"), LISTS)
def test_one_value_stands_for_a_list_of_it(axis: str, name: str) -> None:
    values = {"datasets": "textvqa-mini", "devices": "cpu", "optimizations": "bf16", "precisions": "bf16",
              "reuses": "prefix"}  # fmt: skip
    one = values.get(name, 56)
    assert planning.plan(axis, {name: one}) == planning.plan(axis, {name: [one]})
    for wrong in (1.5, True, {"a": 1}):
        with pytest.raises(UserError, match=f"{name} takes a list of "):
            planning.plan(axis, {name: wrong})


def test_settings_that_mean_the_same_are_one_cell() -> None:
    names = ["fp32", "eager", "fp32+eager", "sdpa", "fp32+sdpa", "sdpa+fp32"]
    plan = planning.plan("optimization", DEFAULTS | {"optimizations": names, "device": "cpu"})
    assert [cell.optimization for cell in plan.of_length("natural")] == ["fp32", "sdpa"]
    assert optimizations.parse("compile+bf16+sdpa", "fp32").name == "bf16+sdpa+compile"


def test_a_cell_says_its_own_precision() -> None:
    plan = planning.plan("optimization", DEFAULTS | {"optimizations": ["bf16", "compile"], "device": "cpu"})
    assert [cell.dtype for cell in plan.of_length("natural")] == ["bf16", "fp32"]


def test_answers_of_fixed_length_are_separate_cells_with_few_samples() -> None:
    plan = planning.plan("batch_size", DEFAULTS | {"batch_sizes": [1, 4], "samples": 20})
    assert [(cell.batch_size, cell.samples) for cell in plan.of_length("natural")] == [(1, 20), (4, 20)]
    assert [(cell.batch_size, cell.samples) for cell in plan.of_length("fixed")] == [(1, 8), (4, 20)]
    assert len(planning.plan("batch_size", DEFAULTS | {"length": "natural"}).of_length("fixed")) == 0


@pytest.mark.parametrize("axis", sorted(axes.AXES))
def test_every_notebook_is_clean_and_takes_the_parameters_of_its_axis(axis: str) -> None:
    notebook = nbformat.read(paths.notebook(axis), as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(".." not in cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert len(notebook.cells) <= 13
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    (parameters,) = [cell for cell in code if "parameters" in cell.metadata.get("tags", [])]
    found = {}
    for line in parameters.source.splitlines():
        assert "  # " in line, f"{line} has no comment that explains it"
        (node,) = ast.parse(line).body
        assert isinstance(node, ast.AnnAssign)
        assert isinstance(node.target, ast.Name)
        found[node.target.id] = (ast.unparse(node.annotation), ast.literal_eval(node.value))
    wanted = {
        name: f"list[{kind[1].__name__}]" if isinstance(kind, tuple) else kind.__name__
        for name, kind in axes.AXES[axis].parameters.items()
    }
    assert {name: annotation for name, (annotation, _) in found.items()} == wanted
    defaults = {name: value for name, (_, value) in found.items()}
    assert planning.plan(axis, defaults).cells == planning.plan(axis, {"model": defaults["model"]}).cells

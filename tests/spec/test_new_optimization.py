"""A new optimization is one module of ``vlmnb/spec/optimizations``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from factory import cell, record

from vlmnb.book.content import Content
from vlmnb.book.pages import support
from vlmnb.errors import UserError
from vlmnb.measure import loading
from vlmnb.records.resolved import resolve_cell
from vlmnb.spec import optimizations, planning

MODULE = """
from vlmnb.spec.optimizations.setting import Setting

def prepare(model, device):
    model.sparse_on = device

SETTINGS = (Setting(name="sparse", kind="quantization", description="made up", package="nosuchpackage",
                    dtypes=("bf16",), largest_batch=2, prepare=prepare, arguments=lambda model: {"a": 1}),)
"""


def _forget() -> None:
    for found in (optimizations._modules, optimizations.settings, optimizations.parse):
        found.cache_clear()


@pytest.fixture
def _sparse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "sparse.py").write_text(MODULE)
    monkeypatch.setattr(optimizations, "__path__", [*optimizations.__path__, str(tmp_path)])
    _forget()
    yield
    sys.modules.pop("vlmnb.spec.optimizations.sparse", None)
    _forget()


@pytest.mark.usefixtures("_sparse")
def test_one_module_adds_an_optimization() -> None:
    found = optimizations.parse("sdpa+sparse", "fp32")
    assert (found.name, found.of("quantization"), found.tried) == ("bf16+sparse+sdpa", "sparse", True)
    assert found.arguments(None) == {"a": 1}
    assert "bf16+sparse" in optimizations.defaults("fp32")
    assert "nosuchpackage" in optimizations.packages()
    with pytest.raises(UserError, match="nosuchpackage"):
        optimizations.require("sparse", "bf16")
    with pytest.raises(UserError, match="two quantizations"):
        optimizations.parse("sparse+bnb-4bit", "bf16")


@pytest.mark.usefixtures("_sparse")
def test_a_new_optimization_is_planned_applied_and_described() -> None:
    asked = {"model": "llava-tiny", "device": "cpu", "optimizations": ["fp32", "sparse"], "length": "natural"}
    plan = planning.plan("optimization", asked)
    assert [(c.optimization, c.batch_size) for c in plan.cells] == [
        ("fp32", 16),
        ("fp32", 2),
        ("bf16+sparse", 2),
    ]
    model = SimpleNamespace(set_attn_implementation=str)
    resolved = resolve_cell(plan.cells[-1])
    for setting in loading.configuration(resolved).optimization.settings:
        loading.apply(setting, model, "cpu")
    assert model.sparse_on == "cpu"
    content = Content((record(cell()),))
    assert "made up" in support.page(content)

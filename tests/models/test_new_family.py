"""A new family is one file: measured, counted, sized and shown, with no other line of the project changed."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vlmnb import cli, experiment, models
from vlmnb.book.content import Content
from vlmnb.book.pages import model as chapter
from vlmnb.fit import answer, page, shape
from vlmnb.flops import estimate
from vlmnb.models import families
from vlmnb.records.record import Record
from vlmnb.spec.planning import Plan

NAME = "paligemma-mini"


@pytest.fixture(scope="module", autouse=True)
def added(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Put one file where families are looked for; afterwards nothing of it is left."""
    folder = tmp_path_factory.mktemp("families")
    shutil.copy(Path(__file__).parent / "new_family" / "paligemma.py", folder)
    caches = (models.by_family, models.registry)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(families, "__path__", [*families.__path__, str(folder)])
        for cached in caches:
            cached.cache_clear()
        yield
    sys.modules.pop("vlmnb.models.families.paligemma", None)
    for cached in caches:
        cached.cache_clear()


@pytest.fixture(scope="module")
def plan(added: None, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """The batch-size notebook for the new model with two cells."""
    return experiment.begin(
        "batch_size",
        {
            "model": NAME, "weights": "random", "dataset": "textvqa-mini", "samples": 4,
            "batch_sizes": [1, 2], "seq_len": 60, "max_new_tokens": 3,
            "results": str(tmp_path_factory.mktemp("results")),
        },
    )  # fmt: skip


@pytest.fixture(scope="module")
def measured(plan: Plan) -> list[Record]:
    return experiment.records(plan)


def test_the_registry_has_its_model_after_those_of_the_reports() -> None:
    assert models.family_of(models.get(NAME)).name == "paligemma"
    assert list(models.registry())[3] == NAME
    assert models.default().name == "llava-tiny"


def test_formula_and_meta_count_agree_in_every_part() -> None:
    found = estimate.estimate(NAME, 40, None, 2)
    assert found.image_tokens == 16
    assert found.prefill.formula == found.prefill.counted
    assert found.decode.formula == found.decode.counted
    assert found.unused == 0


def test_its_weights_by_formula_are_those_of_the_model_object() -> None:
    import torch

    from vlmnb.models import geometry

    with torch.device("meta"):
        model = models.family_of(models.get(NAME)).model_class()(geometry.config(models.get(NAME)))
    ours = sorted(tensor.shape for tensor in shape.of(NAME).tensors)
    assert ours == sorted(tuple(parameter.shape) for parameter in model.parameters())


def test_fit_answers_for_it_and_its_card_has_every_part() -> None:
    found = json.loads(CliRunner().invoke(cli.app, ["fit", NAME, "--vram", "1", "--json"]).output)
    assert found["own"]["runs"]
    assert found["card"]["image_tokens"] == {"32": 16}
    fit = answer.of(NAME, "Q4_K_M", answer.load_of(NAME))
    assert "PaliGemma" in fit.card.title
    assert all((page.facts(fit), page.memory_table(fit), page.gpu_table(fit), page.layers_table(fit)))
    assert "PaliGemmaForConditionalGeneration" in page.usage(fit)


@pytest.mark.slow
def test_its_cells_are_measured_and_all_counts_agree(measured: list[Record]) -> None:
    assert [(found.status, found.reason) for found in measured] == [("ok", "")] * len(measured)
    for found in measured:
        assert found.provenance.processor == "stand-in"
        assert {one.image_tokens for one in found.answers} == {16}
        assert found.flops is not None
        assert found.flops.note == ""
        assert found.flops.formula == pytest.approx(found.flops.torch, rel=0.01)
        assert found.flops.fvcore == pytest.approx(found.flops.used, rel=0.01)


@pytest.mark.slow
def test_its_notebook_and_its_page_show_them(
    plan: Plan, measured: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    monkeypatch.setattr(
        "vlmnb.views.show.display", lambda *parts: shown.extend(str(one.data) for one in parts)
    )
    experiment.show_table(plan, measured)
    assert measured[0].key in "".join(shown)
    content = Content(tuple(measured))
    assert content.models == (NAME,)
    text = chapter.page(content, NAME)
    assert "PaliGemma mini" in text
    assert models.get(NAME).summary in text

"""``vlmnb flops``: formula, meta count and a count of the real model agree; the reports' figure is met."""

from __future__ import annotations

import functools
import json
from typing import Any

import bundled
import pytest
from typer.testing import CliRunner

from vlmnb import cli, models
from vlmnb.cli import flops_command
from vlmnb.errors import UserError
from vlmnb.flops import estimate, formula, meta
from vlmnb.models import geometry

FULL = ("llava-1.5-7b", "qwen2.5-vl-3b", "fuyu-8b")
LLAVA = models.by_family()["llava"]
REPORTED = 11.03e12
"""Row "GPU" of the device table of the report on LLaVA-1.5 7B."""


def run(*arguments: str) -> Any:
    return CliRunner().invoke(cli.app, ["flops", *arguments])


def test_the_reports_figure_is_met_within_one_percent_by_formula() -> None:
    parts = formula.prefill(LLAVA, geometry.config(models.get("llava-1.5-7b")), 336, 576 + 200)
    assert parts.total == pytest.approx(REPORTED, rel=0.01)
    # By hand: 32 layers of 4096, MLP 11008, vocabulary 32064; a tower of 24 layers of 1024 over 577 tokens.
    layer = 4 * 4096**2 + 3 * 4096 * 11008
    tower = 577 * 24 * (4 * 1024**2 + 2 * 1024 * 4096) + 576 * 3 * 14**2 * 1024
    assert parts.projections + parts.mlp == 2 * 776 * 32 * layer
    assert parts.head == 2 * 776 * 4096 * 32064
    assert parts.scores == 2 * 32 * 2 * 776**2 * 4096
    assert parts.vision == 2 * tower
    assert parts.vision_scores == 2 * 24 * 2 * 577**2 * 1024
    assert parts.projector == 2 * 576 * (1024 * 4096 + 4096**2)


def test_the_layer_that_llava_runs_and_does_not_use() -> None:
    config = geometry.config(models.get("llava-1.5-7b"))
    layer = 577 * (4 * 1024**2 + 2 * 1024 * 4096) + 2 * 577**2 * 1024
    assert LLAVA.image_flops(config, 336).unused == 2 * layer
    config.vision_feature_layer = -1
    assert LLAVA.image_flops(config, 336).unused == 0
    fuyu = models.by_family()["fuyu"]
    assert fuyu.image_flops(geometry.config(models.get("fuyu-8b")), 336).unused == 0


@pytest.mark.parametrize("side", [28, 112, 140, 224, 308, 448])
def test_qwens_windows_are_cut_as_the_model_cuts_them(side: int) -> None:
    import torch
    from transformers.vision_utils import get_vision_window_index

    config = geometry.config(models.get("qwen2.5-vl-3b"))
    vision, grid = config.vision_config, side // 14
    bounds = get_vision_window_index(torch.tensor([[1, grid, grid]]), 2, 112, 14)[1]
    pairs = int((bounds.diff() ** 2).sum())
    expected = 2 * 2 * 1280 * (28 * pairs + 4 * grid**4)
    assert models.by_family()["qwen2_5_vl"].image_flops(config, side).vision_scores == expected
    assert vision.depth == 32


@pytest.mark.parametrize("name", bundled.WITH_FAMILY)
@pytest.mark.parametrize("batch_size", [1, 3])
def test_formula_and_meta_count_agree_in_every_part(name: str, batch_size: int) -> None:
    found = estimate.estimate(name, 40, 64, batch_size)
    assert found.prefill.formula == found.prefill.counted
    assert found.decode.formula == found.decode.counted
    assert found.decode.counted.vision == found.decode.counted.projector == 0


def test_code_that_reads_pixels_is_counted_too_or_left_out_in_a_plain_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = estimate.estimate("smolvlm-tiny", 40, 64, 2)
    assert found.prefill.counted == found.prefill.formula
    assert found.prefill.formula.vision > 0

    def fails(*_: object) -> None:
        raise NotImplementedError("long\nwords of torch")

    monkeypatch.setattr(meta, "_features", fails)
    out = run("smolvlm-tiny").output
    (line,) = [line for line in out.splitlines() if "Not counted" in line]
    assert "NotImplementedError" in line
    assert "words of torch" not in out
    assert " 871.6 M        -  " in out


@pytest.mark.parametrize(
    ("part", "named"), [("projections", "projections (decoded"), ("scores", "language model, its attention")]
)
def test_the_part_in_which_formula_and_counting_differ_most_is_named(
    part: str, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = estimate.estimate("llava-tiny", 40, 64, 1)
    assert found.decode.counted
    more = {part: getattr(found.decode.counted, part) * 2}
    decode = found.decode.model_copy(update={"counted": found.decode.counted.model_copy(update=more)})
    flops_command.show(found.model_copy(update={"decode": decode}))
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "differ by" in line]
    assert "50.00%" in line
    assert named in line


@pytest.mark.slow
@pytest.mark.parametrize("name", FULL)
def test_they_agree_at_full_size(name: str) -> None:
    found = estimate.estimate(name, 200, None if name.startswith("llava") else 420, 1)
    assert found.prefill.largest_difference < 0.01
    assert found.decode.largest_difference < 0.01
    assert found.last_position < found.prefill.counted.total
    if name == "llava-1.5-7b":
        assert found.prefill.counted.total == pytest.approx(REPORTED, rel=0.01)


def test_the_table_and_the_document_say_the_same() -> None:
    shown = run("llava-tiny", "--text-tokens", "40", "--batch-size", "2")
    assert shown.exit_code == 0
    assert "2 x (64 image + 40 text tokens)" in shown.output
    assert "multiply-add is 2 FLOPs" in shown.output
    document = json.loads(run("llava-tiny", "--text-tokens", "40", "--batch-size", "2", "--json").output)
    counted = document["prefill"]["counted"]
    assert f"{counted['total'] / 1e6:.1f} M" in shown.output
    areas = ("vision", "projector", "language_model", "head", "attention_scores")
    assert sum(counted[area] for area in areas) == counted["total"]
    assert document["decode"]["formula"]["total"] * 5 < document["prefill"]["formula"]["total"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("llava-1.5-7b", 200, 448, 1), r"llava-1.5-7b .* 448 pixels; .* is 336"),
        (("qwen2.5-vl-3b", 200, 230, 1), r"230 pixels; the nearest .* is 224"),
        (("llava-1.5-7b", 3521, None, 1), r"holds 4096 tokens; .* are 4097; use at most 3520"),
        (("fuyu-8b", 200, 6000, 1), r"use a smaller image"),
        (("llava-1.5", 200, None, 1), r"unknown model 'llava-1.5'; did you mean 'llava-1.5-7b'"),
    ],
)
def test_what_a_model_cannot_take_is_one_line(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(UserError, match=message) as raised:
        estimate.estimate(*arguments)
    assert "\n" not in str(raised.value)


def test_the_base_size_of_a_model_of_one_size_is_what_cells_call_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {one.device.type for one in meta.build(models.get("llava-1.5-7b")).model.parameters()} == {"meta"}
    for name in ("build", "prefill", "decode"):  # the same work is counted once, not three times
        monkeypatch.setattr(meta, name, functools.cache(getattr(meta, name)))
    base, native = (estimate.estimate("llava-1.5-7b", 200, side, 1) for side in (224, 336))
    assert (base.prefill, base.decode, base.image_tokens) == (native.prefill, native.decode, 576)
    assert (base.image_size, base.seen_image_size) == (224, 336)
    shown = run("llava-1.5-7b", "--image-size", "224")
    assert "llava-1.5-7b, 224 pixels (the model sees 336)" in shown.output


def test_a_batch_of_any_size_is_counted_and_one_of_none_refused() -> None:
    assert run("llava-tiny", "--batch-size", "0").exit_code == 2
    huge = estimate.estimate("llava-tiny", 40, 64, 10**11)
    one = estimate.estimate("llava-tiny", 40, 64, 1)
    assert huge.prefill.counted == huge.prefill.formula == one.prefill.counted.times(10**11)
    assert huge.decode.counted == huge.decode.formula

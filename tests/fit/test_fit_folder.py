"""What is said of a model in a folder of the user's, and of the families that were tried."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from altered import Change, copied, cut, edited, removed, written
from transformers import CONFIG_MAPPING

from vlmnb import cli, models, paths
from vlmnb.cli import fit_command, models_command
from vlmnb.errors import UserError
from vlmnb.fit import answer, description, page, tried
from vlmnb.fit.tried import Tried
from vlmnb.models import named
from vlmnb.models.generic.family import Generic

Run = Callable[..., str]


@pytest.fixture
def unweighted(tmp_path: Path) -> Path:
    """A folder with all files of a bundled model but its weights."""
    without = shutil.ignore_patterns("*.safetensors")
    return shutil.copytree(paths.bundled_model("smolvlm-tiny"), tmp_path / "mine" / "smol", ignore=without)


def test_a_folder_without_weights_is_named(unweighted: Path, run: Run) -> None:
    assert f"{unweighted} has no model.safetensors" in run(str(unweighted))
    assert not description.describe("smolvlm-tiny").weights_note
    assert not description.describe("llava-1.5-7b").weights_note, "it is still to be downloaded"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (edited("config.json", quantization_config={"quant_method": "gptq"}), "quantized"),
        (edited("config.json", text_config__num_hidden_layers=7), "lacks 9 weights"),
        (edited("config.json", text_config__vocab_size=777), "has the shape"),
        (cut("model.safetensors", -10), "truncated, damaged"),
        (written("model.safetensors"), "truncated, damaged"),
        (lambda folder: None, ""),
    ],
)
def test_weights_that_measuring_refuses_are_named_without_loading_them(
    change: Change, said: str, tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copied(tmp_path)
    change(folder)
    assert ("cannot be measured" in run(str(folder))) == bool(said)
    models_command.show(str(folder), as_json=False)
    shown = capsys.readouterr().out
    assert said in shown
    assert ("cannot be measured" in shown) == ("random weights alone" in shown) == bool(said)


@pytest.mark.parametrize("model", ["llava-tiny", "qwen2.5-vl-tiny"])
@pytest.mark.parametrize(
    ("file", "said"),
    [("processor_config.json", "has no image processor: "), ("tokenizer.json", "has no tokenizer: ")],
)
def test_a_missing_processor_or_tokenizer_is_named_by_its_files(
    model: str, file: str, said: str, tmp_path: Path
) -> None:
    folder = copied(tmp_path, model)
    removed(file)(folder)
    found = description.describe(str(folder))
    assert found.image_note.startswith(f"{folder} {said}")
    if model == "llava-tiny":  # the other one's family has formulas of its own
        with pytest.raises(UserError, match=said):
            models.family_of(models.get(str(folder))).seen_side(None, 224)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (
            str(paths.bundled_model("llava-tiny")),
            "cannot take a side of 32 or 96 or 128 pixels; the nearest is 64",
        ),
        ("llava-1.5-7b", "images of 336 pixels a side and no other"),
        ("smolvlm-tiny", ""),
    ],
)
def test_a_model_of_one_size_says_so_and_not_that_the_axis_applies(
    model: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in description.describe(model).limits.get("image_size", "")
    models_command.show(model, as_json=False)
    shown = capsys.readouterr().out
    assert said in shown
    assert not (said and "changes the picture" in shown)
    assert bool(said) == ("  image_size " in shown)


@pytest.mark.parametrize(("tiles", "nearest"), [(None, 64), ([[64, 128]], 96)])
def test_a_processor_that_cuts_images_to_one_size_takes_no_other(
    tiles: list[list[int]] | None, nearest: int, tmp_path: Path
) -> None:
    folder = copied(tmp_path)
    cuts = {"image_processor__size": {"shortest_edge": 64}, "image_processor__do_center_crop": True}
    edited("processor_config.json", **cuts)(folder)
    family = models.family_of(models.get(str(folder)))
    processor = family.load_processor(folder)
    processor.image_processor.image_grid_pinpoints = tiles
    assert family.image_side(processor, 96) == nearest


def test_one_number_of_tokens_at_sizes_that_all_apply_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Generic, "image_side", lambda self, processor, size: size)
    models_command.show(str(paths.bundled_model("llava-tiny")), as_json=False)
    assert "changes the picture, not the cost" in capsys.readouterr().out


def test_weights_in_few_bits_are_those_that_fit_counts() -> None:
    found = description.describe("llava-1.5-7b")
    fit = answer.of("llava-1.5-7b", "nf4", answer.load_of("llava-1.5-7b"))
    stored = {one.quantization: one.model_bytes for one in fit.by_quantization}
    named = {"bf16 or fp16": "fp16", "8 bits": "int8", "4 bits": "nf4"}
    assert {name: found.weights_bytes[name] for name in named} == {
        name: stored[kind] for name, kind in named.items()
    }
    assert found.weights_bytes["4 bits"] > found.total / 2, "embedding and head have 16 bits"


def test_rows_of_gguf_are_left_out_where_no_converter_knows_the_class(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rows(*arguments: str) -> list[str]:
        found = re.findall(r"^ ?(fp16|int8|nf4|Q\d\w+) ", run("smolvlm-tiny", *arguments), re.MULTILINE)
        return list(dict.fromkeys(found))

    assert rows() == ["fp16", "int8", "Q8_0", "Q6_K", "Q4_K_M", "nf4"]
    monkeypatch.setattr(Generic, "gguf_obstacle", "nobody converts it")
    assert rows() == ["fp16", "int8", "nf4"]
    fit = answer.of("smolvlm-tiny", "fp16", answer.load_of("smolvlm-tiny"))
    assert "Q6_K" not in page.weights_table(fit)
    assert page.layers_table(fit) == ""
    assert "Q8_0, Q6_K, Q4_K_M: nobody converts it." in run("smolvlm-tiny")
    assert "Q6_K" in rows("--quantization", "Q6_K"), "what was asked for is shown with the reason"


def test_times_have_units_that_are_read_and_a_list_of_all_gpus_is_cut(run: Run) -> None:
    text = run("smolvlm-tiny")
    assert not re.search(r"\de-\d", text), text
    assert re.search(r"lower bound of [\d.]+ [nµm]s per batch", text)
    assert text.count("GiB") >= 1
    shown = [line for line in text.splitlines() if re.search(r" (yes|just about) +\d+ ", line)]
    assert len(shown) == fit_command.MOST
    assert "more that run it; --json" in text
    assert "more that run it; --json" not in run("llava-1.5-7b", "--max-power", "75")
    assert "more that run it; --json" not in run("llava-1.5-7b", "--gpu", "NVIDIA A2")


def test_the_help_of_fit_names_its_exit_codes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["vlmnb", "fit", "--help"])
    with pytest.raises(SystemExit):
        cli.main()
    assert {"0", "2", "3"} <= set(re.findall(r"\b(\d): ?", capsys.readouterr().out.replace("code 0:", "0:")))


REFUSED = "transformers 5.1: asks for layers (AttributeError: '{}Config' object has no attribute 'x')"
FOUND = {
    "ant": Tried(loads="ok", batch="equal", settings={"sdpa": "ok", "early_exit": REFUSED.format("Ant")}),
    "bee": Tried(loads="ok", batch="equal", settings={"sdpa": "ok", "early_exit": REFUSED.format("Bee")}),
    "cow": Tried(loads="the processor of cow models needs torchvision"),
    "dog": Tried(loads="the processor of dog models needs torchvision"),
}


def test_a_reason_that_families_share_is_told_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    marks, reasons = tried.numbered(FOUND)
    assert len(reasons) == 2
    assert marks["ant"] == marks["bee"] == {"early_exit": 1}
    assert marks["cow"] == marks["dog"] == {"not measured": 2}
    assert tried.settings(FOUND) == (["sdpa", "early_exit"], ["early_exit"])
    monkeypatch.setattr(tried, "families", lambda: FOUND)
    models_command.show_all(as_json=False)
    said = capsys.readouterr().out
    assert said.count("asks for layers") == said.count("torchvision") == 1
    assert "No family runs early_exit here." in said
    models_command.show_all(as_json=True)
    assert json.loads(capsys.readouterr().out)["ant"]["settings"]["early_exit"] == REFUSED.format("Ant")


def test_every_family_of_transformers_is_in_the_table_or_named_as_not_tried(
    capsys: pytest.CaptureFixture[str],
) -> None:
    models_command.show_all(as_json=False)
    said = capsys.readouterr().out
    assert all(re.search(rf"(^|\s){re.escape(name)}[\s,.]", said) for name in tried.every_type())
    assert tried.families()["fuyu"].works


def test_every_type_that_is_refused_is_in_the_table_with_the_reason() -> None:
    known = tried.families()
    for name, why in named.OTHERWISE.items():
        assert known[name].reason == f"it is of the type '{name}', {why}; it is not measured here"
    for name in set(tried.every_type()) - set(known):
        config = CONFIG_MAPPING[name]()
        encoded = [one.is_encoder_decoder for one in (config, config.get_text_config(decoder=True))]
        assert not any(encoded)


def test_a_reason_is_the_same_wherever_the_library_raised_it() -> None:
    said = "ValueError: " + "all layers must have full attention; " * 3 + "not {}"
    at = "transformers 5.1, __init__ in cache.py: "
    found = {
        name: Tried(loads="ok", settings={"fp8_cache": text})
        for name, text in (("ant", said.format("a")), ("bee", at + said.format("b")))
    }
    marks, reasons = tried.numbered(found)
    assert marks["ant"] == marks["bee"]
    assert reasons == [said.format("a")]

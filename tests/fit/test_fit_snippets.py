"""The usage snippets of the model cards, executed as they stand against the bundled models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vlmnb.fit import model_facts, shape, snippets

TINY = ("llava-tiny", "qwen2.5-vl-tiny", "fuyu-tiny")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (64, 64), "white")
    ImageDraw.Draw(image).ellipse((16, 16, 48, 48), fill="red")
    path = tmp_path / "picture.png"
    image.save(path)
    return path


def snippet(name: str, key: str, project: Path, picture: Path) -> snippets.Snippet:
    found = snippets.of(shape.of(name), str(project / "models" / name), str(picture))
    return next(one for one in found if one.key == key)


def run(code: str) -> str:
    names: dict[str, Any] = {}
    exec(compile(code, "snippet", "exec"), names)
    return str(names["answer"])


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("key", ["plain", "pipeline", "4-bit"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_snippet_runs_as_it_stands(name: str, key: str, project: Path, picture: Path) -> None:
    if key == "4-bit":
        pytest.importorskip("bitsandbytes", reason="the snippet needs bitsandbytes, see requirements-dev.txt")
    assert run(snippet(name, key, project, picture).code).strip()


def test_a_picture_to_ask_about_comes_with_the_project(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    pytest.importorskip("datasets")
    monkeypatch.chdir(project)
    made = tmp_path / "picture.png"
    first, *others = snippets.of(shape.of("llava-tiny"), "x", str(made))
    assert first.key == "picture"
    exec(compile(first.code, "snippet", "exec"), {})
    assert Image.open(made).size == (128, 128)
    assert all(str(made) in one.code for one in others if one.language == "python")


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_the_two_ways_without_quantization_give_one_answer(name: str, project: Path, picture: Path) -> None:
    answers = {run(snippet(name, key, project, picture).code).strip() for key in ("plain", "pipeline")}
    assert len(answers) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_flash_attention_ends_as_its_note_says_and_runs_with_another_kernel(
    name: str, project: Path, picture: Path
) -> None:
    import torch

    flash = snippet(name, "flash", project, picture)
    if not torch.cuda.is_available():
        assert "ImportError" in flash.note
        with pytest.raises(ImportError):
            run(flash.code)
    assert '"flash_attention_2"' in flash.code
    swapped = flash.code.replace('"flash_attention_2"', '"sdpa"').replace('"cuda"', '"cpu"')
    assert run(swapped) == run(snippet(name, "plain", project, picture).code)


@pytest.mark.slow
@pytest.mark.parametrize("argument", ["load_in_4bit", "use_flash_attention_2"])
def test_the_arguments_of_older_cards_are_gone(argument: str, project: Path) -> None:
    from transformers import LlavaForConditionalGeneration

    with pytest.raises((TypeError, ValueError)):
        LlavaForConditionalGeneration.from_pretrained(project / "models" / "llava-tiny", **{argument: True})


def test_ollamas_tag_is_of_the_model_and_not_of_its_successor() -> None:
    (llava,) = [one for one in snippets.of(shape.of("llava-1.5-7b"), "x") if one.key == "ollama"]
    assert llava.code == "ollama run llava:7b-v1.5-q4_K_M\n"
    assert not [one for one in snippets.of(shape.of("fuyu-8b"), "x") if one.key == "ollama"]
    assert not [one for one in snippets.of(shape.of("llava-tiny"), "x") if one.key == "ollama"]
    assert not model_facts.published()["fuyu-8b"].ollama


def test_snippets_fit_a_page_and_are_python() -> None:
    for name in ("llava-1.5-7b", "qwen2.5-vl-3b", "fuyu-8b"):
        of = shape.of(name)
        for one in snippets.of(of, of.entry.source):
            if one.language == "python":
                compile(one.code, one.key, "exec")
            assert max(len(line) for line in one.code.splitlines()) <= 100

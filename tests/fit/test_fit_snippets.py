"""The usage snippets of the model cards, executed as they stand against the bundled models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vlmnb.fit import answer, page, shape

TINY = ("llava-tiny", "qwen2.5-vl-tiny", "fuyu-tiny")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (64, 64), "white")
    ImageDraw.Draw(image).ellipse((16, 16, 48, 48), fill="red")
    path = tmp_path / "picture.png"
    image.save(path)
    return path


def code(name: str, key: str, project: Path, picture: Path) -> str:
    return page.codes(shape.of(name), str(project / "models" / name), str(picture))[key]


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
    assert run(code(name, key, project, picture)).strip()


def test_a_picture_to_ask_about_comes_with_the_project(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    pytest.importorskip("datasets")
    monkeypatch.chdir(project)
    made = tmp_path / "picture.png"
    codes = page.codes(shape.of("llava-tiny"), "x", str(made))
    exec(compile(codes["picture"], "snippet", "exec"), {})
    assert Image.open(made).size == (128, 128)
    assert all(str(made) in one for one in codes.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_the_two_ways_without_quantization_give_one_answer(name: str, project: Path, picture: Path) -> None:
    answers = {run(code(name, key, project, picture)).strip() for key in ("plain", "pipeline")}
    assert len(answers) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_flash_attention_ends_as_its_note_says_and_runs_with_another_kernel(
    name: str, project: Path, picture: Path
) -> None:
    import torch

    flash = code(name, "flash", project, picture)
    if not torch.cuda.is_available():
        assert "ImportError" in usage(name)
        with pytest.raises(ImportError):
            run(flash)
    assert '"flash_attention_2"' in flash
    swapped = flash.replace('"flash_attention_2"', '"sdpa"').replace('"cuda"', '"cpu"')
    assert run(swapped) == run(code(name, "plain", project, picture))


@pytest.mark.slow
@pytest.mark.parametrize("argument", ["load_in_4bit", "use_flash_attention_2"])
def test_the_arguments_of_older_cards_are_gone(argument: str, project: Path) -> None:
    from transformers import LlavaForConditionalGeneration

    with pytest.raises((TypeError, ValueError)):
        LlavaForConditionalGeneration.from_pretrained(project / "models" / "llava-tiny", **{argument: True})


def usage(name: str) -> str:
    return page.usage(answer.of(name, "fp16", answer.load_of(name)))


def test_ollamas_tag_is_of_the_model_and_not_of_its_successor() -> None:
    assert "```bash\nollama run llava:7b-v1.5-q4_K_M\n```" in usage("llava-1.5-7b")
    assert "ollama run" not in usage("fuyu-8b") + usage("llava-tiny")
    assert "Ollama" not in usage("llava-tiny")


def test_snippets_fit_a_page_and_are_python() -> None:
    for name in ("llava-1.5-7b", "qwen2.5-vl-3b", "fuyu-8b"):
        of = shape.of(name)
        for key, one in page.codes(of, of.entry.source).items():
            compile(one, key, "exec")
            assert max(len(line) for line in one.splitlines()) <= 100
            assert one.rstrip() in usage(name)

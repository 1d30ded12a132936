"""Names and folders of models: how they are found, filed and refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import small_families

from vlmnb import models, paths
from vlmnb.errors import UserError
from vlmnb.models import folders, geometry
from vlmnb.models.entry import named_entry
from vlmnb.spec.sweep_file import load_sweep


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("org/Some-Model", "org--Some-Model"),
        ("/org/Some-Model", "org--Some-Model--"),
        ("/data/some/my model", "data--some--my model"),
        ("/status", "status--"),
        ("fuyu-tiny", "fuyu-tiny"),
    ],
)
def test_folders_of_records_are_named_without_slashes(name: str, folder: str) -> None:
    assert paths.record(Path("r"), "cpu", name, "k") == Path("r/cpu") / folder / "k.json"


def test_repositories_and_folders_are_names_of_models() -> None:
    assert models.get("org/Some-Model").source == "org/Some-Model"
    assert models.get("./here").name == str(Path.cwd() / "here")
    assert named_entry("plain") is None
    with pytest.raises(UserError, match="llava-tiny"):
        models.get("lava-tiny")


@pytest.fixture
def below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with models in folders below it."""
    monkeypatch.chdir(tmp_path)
    for folder in ("mine", "org/mine", "llava-tiny"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "org" / "empty").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("mine", "mine"),
        ("mine/", "mine"),
        ("./mine/", "mine"),
        ("org/mine", "org/mine"),
        ("org/mine/", "org/mine"),
        ("org/../mine", "mine"),
        ("llava-tiny/", "llava-tiny"),
        ("llava-tiny", ""),
        ("org/empty", ""),
    ],
)
def test_a_folder_that_is_there_needs_no_dot(name: str, folder: str, below: Path) -> None:
    expected = str(below / folder) if folder else name  # else one of the registry, or a repository
    assert models.get(name).name == expected
    written = below / "sweep.yaml"
    written.write_text(f"title: t\nmodels: [{name}]\naxes: {{batch_size: {{}}}}\n", encoding="utf-8")
    assert load_sweep(written).models == (expected,)


@pytest.mark.parametrize("name", ["mine/config.json", "./mine/config.json", "org/mine/config.json"])
def test_a_file_of_a_model_names_its_folder(name: str, below: Path) -> None:
    with pytest.raises(UserError, match=rf"is a file.*{below / Path(name).parent}$"):
        models.get(name)


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({"model_type": "qwen2"}, "text model"),
        ({"model_type": "bert"}, "bert"),
        ({"model_type": "vlm_of_2030"}, "newer"),
        ({"model_type": "florence2"}, "through an encoder"),
        ({"model_type": "blip-2", "text_config": {"model_type": "t5"}}, "through an encoder"),
        (
            {"model_type": "llava", "text_config": {"model_type": "of_2030"}, "transformers_version": "6.1"},
            "6.1",
        ),
        ({"model_type": "gemma3", "text_config": {"hidden_size": "wide"}}, "hidden_size"),
        ({"model_type": "own_vlm", "auto_map": {"AutoModel": "own.Model"}}, "auto_map"),
        ({"no": "type"}, "config.json"),
        ([1, 2], "config.json"),
    ],
)
def test_what_answers_no_questions_on_images_is_refused(config: object, word: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(UserError, match=word) as raised:
        geometry.document(models.get(str(tmp_path)))
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 500


def test_numbers_that_json_does_not_have_are_read(tmp_path: Path) -> None:
    text = {"model_type": "llama", "rms_norm_eps": {"__float__": "Infinity"}}
    config = {"model_type": "llava", "text_config": text}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert geometry.document(models.get(str(tmp_path)))["text_config"]["rms_norm_eps"] == float("inf")


def test_random_weights_are_offered_where_there_is_a_configuration(tmp_path: Path) -> None:
    entry = models.get(str(tmp_path))
    assert "random" not in folders.ways_out(entry)
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    assert "weights: random" in folders.ways_out(entry)
    assert "weights: random" in folders.ways_out(models.get("llava-1.5-7b"))
    assert "random" not in folders.ways_out(models.get("nobody/Has-This"))


def test_a_repository_in_the_cache_is_found_by_its_branch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    from vlmnb.models import checkpoints

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    base, commit = tmp_path / "models--org--tiny", "a" * 40
    (base / "refs").mkdir(parents=True)
    (base / "refs" / "main").write_text(commit, encoding="utf-8")
    folder = small_families.build("smolvlm", base / "snapshots" / commit)
    entry = models.get("org/tiny")
    assert checkpoints.find(entry) == folder
    assert checkpoints.revision(entry) == f"org/tiny@{commit}"
    assert geometry.document(entry)["model_type"] == "smolvlm"

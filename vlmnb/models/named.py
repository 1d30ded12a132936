"""Models that no registry entry names: a Hub repository ``OWNER/NAME``, or a folder by its path."""

from __future__ import annotations

import contextlib
import functools
import json
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from vlmnb import paths
from vlmnb.errors import UserError, one_line, with_name
from vlmnb.models import folders
from vlmnb.models.entry import BUNDLED_DATA, ModelEntry, named_entry

SMALL = ("*.json", "*.jinja", "*.model", "*.txt", "README.md")
"""Files of a repository that describe a model, without its weights."""


def entry(name: str, known: Iterable[ModelEntry] = ()) -> ModelEntry | None:
    """Return the entry of a model by its repository or folder, with sizes and precision that suit its files.

    A folder or repository that one of the known entries has too takes that entry's. Nothing is downloaded:
    without its files, images have the side and the precision that entries have by default.

    Raises:
        UserError: The name is that of a file.
    """
    found = named_entry(name)
    if found is None:
        return None
    if (file := Path(found.source)).is_file():
        raise UserError(f"{name} is a file; name the folder of the model, as {file.parent}")
    if (twin := next((one for one in known if _same_files(found, one)), None)) is not None:
        return found.model_copy(update={field: getattr(twin, field) for field in SHARED})
    config, older, newer = (
        _read(folders.anywhere(found) / name)
        for name in ("config.json", "preprocessor_config.json", "processor_config.json")
    )
    side = _own_side(config, {**older, **_part(newer, "image_processor")}, found.base_image_size)
    own = {"base_image_size": side, "image_sizes": (side, side * 3 // 2, side * 2)}
    return found.model_copy(update=own | {"base_dtype": "fp32" if _in_32_bits(config) else found.base_dtype})


SHARED = ("base_image_size", "image_sizes", "seq_lens", "base_dtype", *BUNDLED_DATA, "max_new_tokens",
          "fixed_tokens")  # fmt: skip
"""What a model measured by its name takes from an entry that has the same files."""


def _same_files(of: ModelEntry, entry: ModelEntry) -> bool:
    if entry.bundled and of.source.startswith("/"):
        return paths.bundled_model(entry.name).resolve() == Path(of.source).resolve()
    return entry.source == of.source


def _own_side(config: dict[str, Any], given: dict[str, Any], usual: int) -> int:
    """Return the side in pixels that a processor's settings name: of a tile, of its images, of the tower.

    A processor that takes images of many sizes has the usual side, within its limits.
    """
    size, crop, vision = _part(given, "size"), _part(given, "crop_size"), _part(config, "vision_config")
    least, most = (size.get(edge, given.get(pixels)) for edge, pixels in LIMITS)
    fixed = [_part(given, "max_image_size").get("longest_edge"), crop.get("height"), size.get("height")]
    if most is None:
        tower = vision.get("image_size")
        fixed += [least, tower[0] if isinstance(tower, list) and tower else tower]
    if found := next((side for side in fixed if isinstance(side, int) and 0 < side <= LARGEST), 0):
        return found
    areas = "merge_size" in given or (isinstance(most, int) and most > LARGEST)
    bounds = [math.isqrt(n) if areas else n for n in (least, most) if isinstance(n, int) and n > 0]
    return max(bounds[0], min(usual, bounds[-1])) if bounds else usual


LIMITS = (("shortest_edge", "min_pixels"), ("longest_edge", "max_pixels"))
"""Names of the smallest and of the largest image: sides, or areas in pixels."""

LARGEST = 4096
"""A larger number among sizes is no side but an area."""


def _in_32_bits(config: dict[str, Any]) -> bool:
    """Return whether the weights are in 32 bits, by the newer or the older name of their precision."""
    places = (config, _part(config, "text_config"))
    given = (one.get(name) for one in places for name in ("dtype", "torch_dtype"))
    return next((one for one in given if one), "") == "float32"


def _part(of: dict[str, Any], name: str) -> dict[str, Any]:
    found = of.get(name)
    return found if isinstance(found, dict) else {}


def _read(file: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        content = json.loads(file.read_text(encoding="utf-8"))
        return content if isinstance(content, dict) else {}
    return {}


def kind(of: ModelEntry) -> str:
    """Return the ``model_type`` of a model measured by its name; empty if its files are not here."""
    return str(_read(folders.anywhere(of) / "config.json").get("model_type", ""))


@functools.cache
def described(of: ModelEntry) -> bool:
    """Download the files that describe a model, unless they are here; return whether they are here now.

    It is tried once; measuring tries again and raises what is wrong. Records are shown without the files.
    """
    try:
        return _configuration(of).exists()
    except UserError:
        return False


def _configuration(of: ModelEntry) -> Path:
    """Return where the ``config.json`` is, or should be; a repository's is downloaded."""
    file = folders.anywhere(of) / "config.json"
    if not file.exists() and not of.source.startswith("/") and folders.local(of) is None:
        missing = f"{of.name}: config.json is neither below {folders.FOLDERS} nor in the Hub's cache"
        file = folders.fetch(of, missing, SMALL) / "config.json"
    return file


def document(of: ModelEntry) -> dict[str, Any]:
    """Return the ``config.json`` of a model that is measured by its name.

    Raises:
        UserError: It is not there, cannot be read, or describes no model that answers questions on images
            in the installed transformers.
    """
    file = _configuration(of)
    try:
        content = json.loads(file.read_text(encoding="utf-8"), object_hook=_with_floats)
        _require_images(of, str(content["model_type"]), content)
    except FileNotFoundError:
        raise UserError(_no_configuration(of, file)) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{of.name}: {file} describes no model ({type(error).__name__}: {error})") from None
    return dict(content)


def _with_floats(made: dict[str, Any]) -> Any:
    """Return the number that transformers writes as an object because JSON has none for it (infinity)."""
    return float(made["__float__"]) if made.keys() == {"__float__"} else made


LACKING = re.compile(
    r"requires the (\w+) library|dependencies: (\w+)|No module named '(\w+)|pip install [`']*([\w-]+)"
)
"""How transformers, and Python, name a package that is not installed."""


def require_package(what: str, error: Exception) -> None:
    """Raise if an error of transformers says that a package is not installed, with its name.

    Raises:
        UserError: It says so.
    """
    import transformers

    found = LACKING.search(" ".join(str(error).split()))
    if found is None:
        return
    package = next(filter(None, found.groups())).lower()
    beside = ", from the index that torch is from" if package in ("torchvision", "timm") else ""
    raise UserError(
        f"{what} needs {package}, which is not installed (transformers {transformers.__version__}); "
        f"install it{beside}"
    )


@contextlib.contextmanager
def explained(what: str) -> Iterator[None]:
    """Report in a line whatever transformers raises, which can be anything, about something of a model.

    Raises:
        UserError: It raised.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        require_package(what, error)
        said = with_name(error).partition(" Should contain one of")[0]  # all types that there are
        raise UserError(f"{what} cannot be used: {one_line(said, 300)}") from None


def class_name(kind: str) -> str:
    """Return the class of transformers for a ``model_type`` that answers questions on images, or empty."""
    from transformers.models.auto import modeling_auto as auto

    found = auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES.get(kind, "")
    return str(found[0] if isinstance(found, (list, tuple)) else found)


OTHERWISE = {
    "blip": "whose generate in transformers drops a prompt's last token and writes over its first",
    "git": "which puts the picture before the prompt within the model, where none of its tokens is seen",
    "instructblipvideo": "which takes videos, not images",
    "evolla": "which takes proteins, not images",
    "pi0": "which moves a robot and writes no text",
    "diffusion_gemma": "which writes whole blocks of tokens again and again, not one token after the other",
}
"""Types that transformers lists as models of images and text, and why numbers of the kind here say nothing
of them."""


def _no_configuration(of: ModelEntry, file: Path) -> str:
    """Say that a model has no configuration, and where in it others are."""
    others = sorted(str(one.parent.relative_to(file.parent)) for one in file.parent.glob("*/**/config.json"))
    if not others and (file.parent / "params.json").exists():
        return f"{of.name}: {file} is missing, and params.json is of another layout, which is not read"
    if not others:
        return f"{of.name}: {file} is missing; name the folder that holds it"
    way_out = f"download one and name its folder, as ./{others[0]}"
    return f"{of.name} has no model of its own, but in {', '.join(others[:5])} there is a config.json; " + (
        f"name one, as {file.parent / others[0]}" if of.source.startswith("/") else way_out
    )


def _require_images(of: ModelEntry, kind: str, content: dict[str, Any]) -> None:
    import transformers
    from transformers.models.auto import configuration_auto
    from transformers.models.auto import modeling_auto as auto

    if "mm_vision_tower" in content:
        raise UserError(
            f"{of.name}: config.json is that of LLaVA's own code (mm_vision_tower), which transformers does "
            "not read; use a converted checkpoint, such as those of llava-hf"
        )
    release = f"transformers {transformers.__version__}"
    if kind in OTHERWISE:
        raise UserError(f"{of.name} is of the type {kind!r}, {OTHERWISE[kind]}; it is not measured here")
    if kind in auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        by = f"(written by transformers {_written(content)}), in {release},"
        with explained(f"{of.name}: its configuration {by}"):
            config = transformers.CONFIG_MAPPING[kind].from_dict(content)
            encoded = config.is_encoder_decoder or config.get_text_config(decoder=True).is_encoder_decoder
        if encoded:
            raise UserError(
                f"{of.name} is of the type {kind!r}, which reads the question through an encoder; vlmnb "
                "measures models in which image and question come before the answer"
            )
        return
    if kind not in configuration_auto.CONFIG_MAPPING_NAMES:  # type: ignore[attr-defined]
        if "auto_map" in content:
            raise UserError(
                f"{of.name} is of the type {kind!r}, which {release} does not know, and its config.json asks "
                "for code of its own (auto_map), which is never run; name a checkpoint for transformers"
            )
        raise UserError(
            f"{of.name} is of the type {kind!r} (written by transformers {_written(content)}), which "
            f"{release} does not know; a newer release may"
        )
    what = "a text model" if kind in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES else "which writes no answers"
    raise UserError(
        f"{of.name} is of the type {kind!r}, {what}; vlmnb measures models that answer questions on images "
        f"(image-text-to-text in {release})"
    )


def _written(content: dict[str, Any]) -> str:
    return str(content.get("transformers_version", "of an unknown release"))

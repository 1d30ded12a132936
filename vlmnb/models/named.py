"""Models that no registry entry names: a Hub repository ``OWNER/NAME``, or a folder by its path."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from vlmnb.errors import UserError
from vlmnb.models import folders
from vlmnb.models.entry import ModelEntry


def kind(of: ModelEntry) -> str:
    """Return the ``model_type`` of a model measured by its name; empty if its files are not here."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return str(
            json.loads((folders.anywhere(of) / "config.json").read_text(encoding="utf-8"))["model_type"]
        )
    return ""


def document(of: ModelEntry) -> dict[str, Any]:
    """Return the ``config.json`` of a model that is measured by its name.

    Raises:
        UserError: It is not there, cannot be read, or describes no model that answers questions on images
            in the installed transformers.
    """
    file = folders.anywhere(of) / "config.json"
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        _require_images(of, str(content["model_type"]))
    except FileNotFoundError:
        raise UserError(f"{of.name}: {file} is missing; {_how(of)}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{of.name}: {file} describes no model ({type(error).__name__}: {error})") from None
    return dict(content)


def _how(of: ModelEntry) -> str:
    if of.source.startswith("/"):
        return "name the folder that holds the checkpoint's config.json"
    return f"download it with `hf download {of.source}`, or put it below {folders.FOLDERS} as {of.source}/"


def _require_images(of: ModelEntry, kind: str) -> None:
    import transformers
    from transformers.models.auto import configuration_auto
    from transformers.models.auto import modeling_auto as auto

    if kind in auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        return
    release = f"transformers {transformers.__version__}"
    if kind not in configuration_auto.CONFIG_MAPPING_NAMES:  # type: ignore[attr-defined]
        raise UserError(
            f"{of.name} is of the type {kind!r}, which {release} does not know; a newer release may"
        )
    what = "a text model" if kind in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES else "no such model"
    raise UserError(
        f"{of.name} is of the type {kind!r}, {what}; vlmnb measures models that answer questions on images "
        f"(image-text-to-text in {release})"
    )

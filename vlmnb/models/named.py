"""Models that no registry entry names: a Hub repository ``OWNER/NAME``, or a folder by its path."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from vlmnb.errors import UserError
from vlmnb.models import folders
from vlmnb.models.entry import ModelEntry

SMALL = ("*.json", "*.jinja", "*.model", "*.txt", "README.md")
"""Files of a repository that describe a model, without its weights."""


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
    if not file.exists() and not of.source.startswith("/") and folders.local(of) is None:
        missing = f"{of.name}: config.json is neither below {folders.FOLDERS} nor in the Hub's cache"
        file = folders.fetch(of, missing, SMALL) / "config.json"
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        _require_images(of, str(content["model_type"]))
    except FileNotFoundError:
        raise UserError(f"{of.name}: {file} is missing; name the folder that holds it") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{of.name}: {file} describes no model ({type(error).__name__}: {error})") from None
    return dict(content)


def class_name(kind: str) -> str:
    """Return the class of transformers for a ``model_type`` that answers questions on images, or empty."""
    from transformers.models.auto import modeling_auto as auto

    found = auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES.get(kind, "")
    return str(found[0] if isinstance(found, (list, tuple)) else found)


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

"""The page that finds GPUs for a model, a quantization, a batch size and a context."""

from __future__ import annotations

import json

from markupsafe import Markup

from vlmnb import models
from vlmnb.book import explorer
from vlmnb.book.content import Content
from vlmnb.book.pages import axis
from vlmnb.book.rendering import render
from vlmnb.fit import finder, gpus


def memory() -> str:
    """Return the table of the memory that every model of the registry takes, as HTML."""
    return finder.memory_table(models.registry())


def page(content: Content, memory: str) -> str:
    """Return the page of every model of the registry, with that table, and every GPU of the catalogue."""
    cards = [page for page in content.pages if page.axis == "card"]
    measured = axis.name("optimization") if "optimization" in axis.published(content) else ""
    return render(
        "finder.md", memory=Markup(memory), gpus=Markup(finder.gpu_table()),
        count=len(gpus.catalogue()), cards=cards, measured=measured,
        prices={name: explorer.CONTENT["prices"][name] for name in ("hire", "use")},
    )  # fmt: skip


def loads() -> str:
    """Return what every load takes and every GPU has, which no record changes, as JSON."""
    return json.dumps(finder.data(models.registry()), separators=(",", ":"))


def script(content: Content, loads: str) -> bytes:
    """Return the data as a script, because a page opened as a file may not read other files."""
    own = [record for record in content.records if record.source == "measured"]
    found = json.dumps(
        json.loads(loads) | {"measured": finder.measured(own), "cpus": finder.on_cpus(own)},
        separators=(",", ":"),
    )
    return f"window.vlmnbFinder = {found};\n".encode()

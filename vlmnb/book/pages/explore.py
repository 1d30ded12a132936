"""The page on which readers choose what to see of the records, and the data that it draws."""

from __future__ import annotations

import json

from vlmnb import models
from vlmnb.book import explorer
from vlmnb.book.content import Content
from vlmnb.book.rendering import render
from vlmnb.views.figure_style import look

SYMBOLS = {"o": "circle", "s": "square", "^": "triangle", "D": "diamond", "*": "star", "P": "cross"}
"""What Observable Plot calls matplotlib's markers, or the nearest shape that it fills."""


def page(content: Content) -> str:
    """Return the page; the browser fills it."""
    return render("explore.md", any=bool(content.records), prices=explorer.CONTENT["prices"])


def script(content: Content) -> bytes:
    """Return the data as a script, because a page opened as a file may not read other files."""
    found = explorer.data(content.records, content.turns)
    found["marks"] = {}
    for model in content.models:
        color, marker = look(model, models.registry())
        for point in found["points"]:
            if point["model"] == model:
                found["marks"][point["title"]] = [color, SYMBOLS[marker]]
    return f"window.vlmnbExplore = {json.dumps(found, separators=(',', ':'), ensure_ascii=True)};\n".encode()

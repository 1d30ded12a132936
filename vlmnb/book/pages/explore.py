"""The page on which readers choose what to see of the records, and the data that it draws."""

from __future__ import annotations

import json

from vlmnb import models, paths
from vlmnb.book import disputed, explorer
from vlmnb.book.content import Content, axis_title
from vlmnb.book.rendering import render
from vlmnb.views.figure_style import look

SYMBOLS = {"o": "circle", "s": "square", "^": "triangle", "D": "diamond", "*": "star", "P": "cross"}
"""What Observable Plot calls matplotlib's markers, or the nearest shape that it fills."""


def page(content: Content) -> str:
    """Return the page; the browser fills it."""
    known = models.registry()
    full_size = [name for name in content.models if name in known and not known[name].bundled]
    of_them = [record for record in content.records if record.cell.model in full_size]
    return render(
        "explore.md", any=bool(content.records), prices=explorer.CONTENT["prices"],
        reported=[name for name in full_size if any(r.reported and r.cell.model == name for r in of_them)],
        own=[record for record in of_them if record.source == "measured" and record.latency_s],
        disputed=any(finding.level != "note" for finding in content.disputed),
    )  # fmt: skip


def script(content: Content) -> bytes:
    """Return the data as a script, because a page opened as a file may not read other files."""
    doubts = disputed.figures(content.disputed, content.records)
    found = explorer.data(content.records, content.turns, doubts)
    found["marks"] = {}
    for model in content.models:
        color, marker = look(model, models.registry())
        for point in found["points"]:
            if point["model"] == model:
                found["marks"][point["title"]] = [color, SYMBOLS[marker]]
    return f"window.vlmnbExplore = {json.dumps(found, separators=(',', ':'), ensure_ascii=True)};\n".encode()


def links(content: Content) -> bytes:
    """Return, as a part of that script, where the records of a model are shown, and in which times.

    ``pages`` holds by key a title, an address, and the seconds per image in turns if the page shows those;
    ``about`` holds by model the address of its chapter, and 1 if the finder of GPUs knows the model.
    """
    pages: dict[str, list[tuple[str, str, float]]] = {}
    for page in content.pages:
        for record in page.records if not page.from_report else ():
            turned = bool(record.timing and record.timing.turns and record.latency_s)
            seconds = (record.latency_s or 0) / record.cell.batch_size if turned else 0
            place = axis_title(page.axis), f"../{page.path}.html", float(f"{seconds:.9g}")
            pages.setdefault(record.key, []).append(place)
    known = models.registry()
    about = {name: (f"{paths.model_folder(name)}.html", int(name in known)) for name in content.models}
    found = json.dumps({"pages": pages, "about": about}, separators=(",", ":"), ensure_ascii=True)
    return f"Object.assign(window.vlmnbExplore, {found});\n".encode()

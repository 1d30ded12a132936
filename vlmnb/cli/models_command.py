"""The output of ``vlmnb models NAME`` and ``vlmnb models --all``."""

from __future__ import annotations

import json

from vlmnb.files import templates
from vlmnb.fit import description, tried
from vlmnb.models import quiet_libraries
from vlmnb.spec import axes
from vlmnb.stats.formatting import enumerated, format_si


def show(name: str, *, as_json: bool) -> None:
    """Print what a model is."""
    quiet_libraries.hush()
    found = description.describe(name)
    if as_json:
        print(json.dumps(found.model_dump(mode="json") | {"parameters_total": found.total}, indent=1))
        return
    measuring = [axis.name for axis in axes.AXES.values() if axis.varies]
    text = templates.render("vlmnb.cli", "model.txt.j2", of=found, axes=measuring, format_si=format_si)
    print(text.strip())


def show_all(*, as_json: bool) -> None:
    """Print the families that were tried, and the names of the others."""
    quiet_libraries.hush()
    known = tried.families()
    if as_json:
        print(json.dumps({name: one.model_dump(mode="json") for name, one in known.items()}, indent=1))
        return
    marks, reasons = tried.numbered(known)
    settings, never = tried.settings(known)
    text = templates.render(
        "vlmnb.cli", "families.txt.j2", tried=known, marks=marks, reasons=reasons, settings=settings,
        never=never, enumerated=enumerated,
        sizes=list(dict.fromkeys(size for one in known.values() for size in one.image_tokens)),
        others=[name for name in tried.every_type() if name not in known],
    )  # fmt: skip
    print(text.strip())

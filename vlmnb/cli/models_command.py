"""The output of ``vlmnb models NAME``."""

from __future__ import annotations

import json

from vlmnb.files import templates
from vlmnb.models import description, quiet_libraries
from vlmnb.stats.formatting import format_si


def show(name: str, *, as_json: bool) -> None:
    """Print what a model is."""
    quiet_libraries.hush()
    found = description.describe(name)
    if as_json:
        print(json.dumps(found.model_dump(mode="json") | {"parameters_total": found.total}, indent=1))
        return
    print(templates.render("vlmnb.cli", "model.txt.j2", of=found, format_si=format_si).strip())

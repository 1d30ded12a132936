"""What the explorer brings along: libraries as published, prices with their source."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import codecarbon

from vlmnb.book import explorer


def test_the_libraries_are_the_ones_that_were_published(project: Path) -> None:
    folder = project / "book" / "_static" / "vendor"
    listed = re.findall(r"^\| (\S+\.js) .* ([0-9a-f]{64}) \|$", (folder / "README.md").read_text(), re.M)
    assert {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name, _ in listed} == dict(
        listed
    )
    assert {path.name for path in folder.glob("*.js")} == {name for name, _ in listed}


def test_every_price_begins_with_a_source_and_the_grid_with_that_of_codecarbon() -> None:
    prices = explorer.CONTENT["prices"]
    assert all(one["source"] for one in prices.values())
    file = Path(codecarbon.__file__).parent / "data" / "private_infra" / "global_energy_mix.json"
    mix = json.loads(file.read_text())["USA"]
    assert (prices["grid"]["value"], mix["year"]) == (round(mix["carbon_intensity"]), 2023)

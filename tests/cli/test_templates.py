"""Templates that papermill cannot execute: refused in a line, before anything changes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes import Checkout
from papermill.engines import papermill_engines

from vlmnb import cli, papermill_engine
from vlmnb.errors import UserError

FAULTS: dict[str, bytes | Callable[[dict[str, Any]], object]] = {
    "empty": b"",
    "JSON": b'{"cells": [',
    "should be an object": b"[]",
    "UTF-8": b"\xff\xfe",
    "metadata: Field required": lambda made: made.pop("metadata"),
    "metadata.kernelspec": lambda made: made["metadata"].pop("kernelspec"),
    "kernelspec.language": lambda made: made["metadata"]["kernelspec"].pop("language"),
    "'nosuch'; known: python3": lambda made: made["metadata"]["kernelspec"].update(name="nosuch"),
    "metadata.papermill": lambda made: made["metadata"].update(papermill=None),
    "tag 'parameters'": lambda made: made["cells"][0]["metadata"].clear(),
    "has the tag": lambda made: made["cells"].clear(),
    "cells.1.metadata": lambda made: made["cells"][1].pop("metadata"),
    "nbformat": lambda made: made.update(nbformat=3),
}


@pytest.mark.parametrize("said", FAULTS)
def test_a_template_that_cannot_be_executed_is_refused_in_a_line(
    said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checkout, fault = Checkout(tmp_path), FAULTS[said]
    template = checkout.root / "notebooks" / "batch_size.ipynb"
    if isinstance(fault, bytes):
        template.write_bytes(fault)
    else:
        made = json.loads(template.read_bytes())
        fault(made)
        template.write_text(json.dumps(made))
    monkeypatch.setenv("VLMNB_ROOT", str(tmp_path))
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(sys, "argv", ["vlmnb", "sweep", str(tmp_path / "sweeps" / "fake.yaml")])
    with pytest.raises(SystemExit, match="2"):
        cli.main()
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert str(template) in line

    assert papermill_engines.get_engine("vlmnb") is papermill_engine.Engine, "papermill loads it by itself"
    monkeypatch.setattr(sys, "argv", ["papermill", "-p", "model", "x", str(template), "out.ipynb"])
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    with pytest.raises(UserError) as by_hand:
        papermill_engine.install()
    assert line == f"vlmnb: {by_hand.value}"
    assert sorted(tmp_path.rglob("*")) == before
    if "nosuch" in said:
        monkeypatch.setattr(sys, "argv", [*sys.argv, "--kernel", "python3"])
        papermill_engine.install()

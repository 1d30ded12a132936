"""Families of transformers that were tried, built small with random weights, and what was found.

``scripts/try_families.py`` writes ``tried.yaml``.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from importlib import resources

import yaml
from pydantic import TypeAdapter

from vlmnb.types import Frozen


class Tried(Frozen):
    """What was found about one family.

    Attributes:
        loads: ``ok``, or why it cannot be measured; then nothing else is known.
        image_tokens: Tokens that stand for an image, by its width and height in pixels.
        image_tokens_predicted: Whether the processor's own prediction is right at all sizes; ``none`` if it
            makes none.
        crossing: Layers of the language model that attend to the picture themselves; then the prompt has only
            its marks.
        batch: ``equal`` if four questions in a batch have the answers and logits that each has alone.
        phases: Whether the vision phase was found and timed.
        flops: Difference of the formula from torch's count, in percent of the count.
        settings: By setting of the optimization axis: ``ok``, or the library's reason.
        date: The day, in UTC.
    """

    date: str = ""
    transformers: str = ""
    torch: str = ""
    loads: str = ""
    failed: str = ""
    processor: str = ""
    image_tokens: dict[str, int] = {}
    image_tokens_predicted: str = ""
    crossing: int = 0
    batch: str = ""
    phases: bool | None = None
    flops: float | None = None
    flops_note: str = ""
    settings: dict[str, str] = {}

    @property
    def works(self) -> bool:
        """Return whether the family was measured."""
        return self.loads == "ok"

    @property
    def reason(self) -> str:
        """Return why it was not measured; empty if it was."""
        return "" if self.works else self.loads or self.failed

    @property
    def lacking(self) -> dict[str, str]:
        """Return what does not run and why, in the words in which other families have the same reason."""
        found = {name: why for name, why in self.settings.items() if why != "ok"}
        shared = found if self.works else {"not measured": self.reason}
        for own, same in _OWN:
            shared = {name: own.sub(same, why) for name, why in shared.items()}
        return shared


_OWN = (
    (re.compile(r"'\w+Config' object"), "the configuration"),
    (re.compile(r"(tensor \w) \(\d+\)"), r"\1"),
    (re.compile(r"has 1 x \d+$"), "has one row of them"),
    (re.compile(r"processor of [\w.-]+ models"), "processor"),
    (re.compile(r"the type '[\w.-]+', (?=wh)"), "a type "),
    (re.compile(r" for the type [\w.-]+|, such as \w+$"), ""),
    (re.compile(r"\w+(\.generate)? of transformers (?=takes|hands)"), "its class of transformers "),
)
"""What a reason says of one family alone, and what stands for it where families share a reason."""


def numbered(known: Mapping[str, Tried]) -> tuple[dict[str, dict[str, int]], list[str]]:
    """Return by family what does not run with the number of the reason, from 1, and the reasons in order."""
    reasons: dict[str, tuple[int, str]] = {}

    def number(why: str) -> int:
        alike = _WHERE.sub("", why)[:ALIKE]
        return reasons.setdefault(alike, (len(reasons) + 1, why))[0]

    found = {name: {what: number(why) for what, why in one.lacking.items()} for name, one in known.items()}
    return found, [why for _, why in reasons.values()]


_WHERE = re.compile(r"\w+ [\d.]+, \w+ in \w+\.py: ")
"""Library and function that a reason may begin with, or what it has in brackets."""
ALIKE = 110
"""Characters that reasons must share to be the same one."""


def settings(known: Mapping[str, Tried]) -> tuple[list[str], list[str]]:
    """Return all settings that were tried, and those of them that ran in no family."""
    every = list(dict.fromkeys(name for one in known.values() for name in one.settings))
    return every, [name for name in every if all(one.settings.get(name) != "ok" for one in known.values())]


def warning(kind: str) -> str:
    """Say that rows of a batch differ from each alone in a type of models; empty if none was seen."""
    found = families().get(kind)
    if found is None or found.batch in ("", "equal"):
        return ""
    return (
        f"A small {kind} model was seen to differ, with transformers {found.transformers}: a question in a "
        f"batch of four has {found.batch}, compared with the same question alone. Results of other batch "
        "sizes are not those of the same model."
    )


@functools.cache
def families() -> dict[str, Tried]:
    """Return the families that were tried, by ``model_type``."""
    file = resources.files("vlmnb.fit") / "tried.yaml"
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # a second less, where PyYAML has it
    rows = yaml.load(file.read_text(encoding="utf-8"), Loader=loader)
    return TypeAdapter(dict[str, Tried]).validate_python(rows)


def every_type() -> list[str]:
    """Return every ``model_type`` of the installed transformers that answers questions on images."""
    from transformers.models.auto import modeling_auto

    return sorted(modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES)

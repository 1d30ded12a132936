"""The types of a cell that reuses pictures: several questions about each, plainly and with something kept."""

from __future__ import annotations

from vlmnb.meters.readings import EnergyReading, EnergyRefusal, MemoryUsage
from vlmnb.types import Frozen


class Asked(Frozen):
    """All questions about all pictures, asked in one way in one window, once or in several passes.

    Attributes:
        question_s: Seconds of each question, from its tensors being on the device to its last token.
        keep_s: Seconds of making what is kept, for each picture; empty where nothing is kept.
        tokens: New tokens of each question, of the first pass.
    """

    question_s: tuple[float, ...]
    keep_s: tuple[float, ...] = ()
    tokens: tuple[tuple[int, ...], ...]
    energy: tuple[EnergyReading, ...] = ()
    energy_refused: tuple[EnergyRefusal, ...] = ()
    memory: MemoryUsage | None = None


class Reused(Frozen):
    """The same questions in the same order, asked plainly and with something of each picture kept.

    Attributes:
        sample_ids: The question's sample, question by question; the questions of a picture are together.
        prompt_tokens: Length of each prompt.
        prefix_tokens: Tokens with which all prompts of a picture begin, picture by picture.
        kept_bytes: Memory of what is kept of a picture, picture by picture.
        plain: Nothing is kept: every question encodes its picture and its whole prompt.
        kept: The cell's way.
    """

    sample_ids: tuple[str, ...]
    prompt_tokens: tuple[int, ...]
    prefix_tokens: tuple[int, ...]
    kept_bytes: tuple[int, ...]
    plain: Asked
    kept: Asked

"""Questions are cut to the prompt length between characters as readers see them."""

from __future__ import annotations

import pytest
import regex

from vlmnb import models, paths
from vlmnb.measure import encoding, failures


@pytest.mark.parametrize("name", ["llava-tiny", "qwen2.5-vl-tiny", "fuyu-tiny"])
@pytest.mark.parametrize(
    "text",
    [
        "Why? " * 60,
        "\U0001f600\U0001f680" * 9,
        "👩‍👩‍👧‍👦👍🏽🏳️‍🌈" * 4,
        "🇩🇪🇫🇷" * 9,
        "e\u0301a\u0308" * 30,
        "\u1112\u1161\u11ab" * 20,
        "क्षि स्त्री " * 9,
        "<image> or |SPEAKER|? " * 9,
    ],
)
def test_a_question_is_cut_between_characters(name: str, text: str) -> None:
    processor = models.family_of(models.get(name)).load_processor(paths.bundled_model(name))
    ends = {found.end() for found in regex.finditer(r"\X", text)}
    lengths = set()
    for budget in range(20, 60, 3):
        try:
            prompt = encoding.fit(processor, text, budget)
        except failures.NotEnoughTokens:
            continue
        assert text.startswith(prompt.text)
        assert len(prompt.text) in ends
        assert prompt.text_tokens <= budget
        lengths.add(len(prompt.text))
    assert len(lengths) > 1

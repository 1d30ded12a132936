"""Prompts: marks in a question are text, the template is the checkpoint's, begin-of-text stands once."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bundled
import pytest
import tokenizers
from altered import Change, both, cell, copied, edited, removed, rewritten, written
from PIL import Image
from tokenizers import decoders, normalizers, pre_tokenizers

from vlmnb import models
from vlmnb.data.catalogue import Sample
from vlmnb.measure import encoding
from vlmnb.measure.cells import measure_cells
from vlmnb.models import folders, prompting

QUESTIONS = (
    "What does <image> mean?", "</s> and <s> and <pad><image>", "is it <0x04>", "<s>x<0x04>", "<|im_end|>\n",
    "<|vision_start|><|image_pad|><|vision_end|>", "a|SPEAKER|b|NEWLINE||ENDOFTEXT|",
)  # fmt: skip


@pytest.mark.parametrize("name", bundled.NAMES)
def test_marks_in_a_question_are_text(name: str) -> None:
    processor, family = bundled.checkpoint(name)[1], models.family_of(models.get(name))
    asked = [*QUESTIONS, "what is it?"]
    prompts = [encoding.fit(processor, text, 100) for text in asked]
    assert [prompt.text for prompt in prompts] == asked
    samples = [Sample("0", (Image.new("RGB", (64, 64)),), text, ("a",)) for text in asked]
    batch = encoding.encode(family, processor, samples, prompts, 64)
    expected = family.image_tokens(bundled.checkpoint(name)[0].config, 64)
    assert encoding.image_tokens(batch, prompts) == [expected] * len(asked)
    plain = bundled.batch(name, ["what is it?"])["input_ids"][0].tolist()
    marks = {number for number, one in processor.tokenizer.added_tokens_decoder.items() if one.special}
    for text, ids, seen in zip(asked, batch["input_ids"], batch["attention_mask"], strict=True):
        shown = ids[seen.bool()].tolist()
        assert text in processor.tokenizer.decode(shown)
        assert [one for one in shown if one in marks] == [one for one in plain if one in marks]
    assert shown == plain
    assert bundled.checkpoint(name)[0](**batch).logits.isfinite().all()


def test_a_question_is_cut_between_the_tokens_of_a_mark_as_elsewhere() -> None:
    processor = bundled.checkpoint("llava-tiny")[1]
    whole = encoding.fit(processor, "What does <image> mean, or </s>?", 100)
    for seq_len in range(8, whole.text_tokens + 1):
        prompt = encoding.fit(processor, whole.text, seq_len)
        assert whole.text.startswith(prompt.text)
        assert prompt.text_tokens <= seq_len


def fast(pre: Any, normalizer: Any = None, decoder: Any = None) -> Any:
    """A tokenizer of single characters, as SentencePiece or others would put blanks before them."""
    from transformers import PreTrainedTokenizerFast

    letters = ["<unk>", "▁", *sorted(set(pre_tokenizers.ByteLevel.alphabet()) | set("\n abc"))]
    vocabulary = {letter: place for place, letter in enumerate(letters)}
    made = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, [], unk_token="<unk>"))
    made.pre_tokenizer = pre
    if normalizer:
        made.normalizer = normalizer
    made.decoder = decoder or decoders.Metaspace(prepend_scheme="first" if not normalizer else "always")
    made.add_special_tokens(["<image>", "<s>"])
    made.add_tokens(["|SPEAKER|", "word", "  "])
    return PreTrainedTokenizerFast(tokenizer_object=made)


def question_ids(processor: Any, text: str) -> list[int]:
    ids = processor.tokenizer(prompting._broken(processor, text), add_special_tokens=False)["input_ids"]
    return prompting.without_breaks(processor, ids)


@pytest.mark.parametrize(
    "tokenizer",
    [
        fast(pre_tokenizers.Metaspace(prepend_scheme="first")),
        fast(pre_tokenizers.Metaspace(prepend_scheme="always")),
        fast(None, normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])),
        fast(pre_tokenizers.ByteLevel(add_prefix_space=True), decoder=decoders.ByteLevel()),
        fast(pre_tokenizers.ByteLevel(add_prefix_space=False), decoder=decoders.ByteLevel()),
    ],
)
def test_any_tokenizer_gives_back_a_question_with_marks(tokenizer: Any) -> None:
    processor = SimpleNamespace(tokenizer=tokenizer, image_token="<image>", other_token="{other}")
    for text in ("a<image>b", "<s>|SPEAKER|", "a {other}b<0x0A>c", "<image>"):
        ids = question_ids(processor, text)
        assert tokenizer.decode(ids).strip() == text
        assert not {"<image>", "<s>", "|SPEAKER|"} & set(tokenizer.convert_ids_to_tokens(ids))
    kept = tokenizer.convert_tokens_to_ids("word")
    assert kept in question_ids(processor, "a word <image>")


TEMPLATE = "chat_template.jinja"
OTHER = "<image>{% for part in messages[0]['content'] if part.text %}Q: {{ part.text }} A:{% endfor %}"
TEXT_ONLY = "{% for m in messages %}[INST] {{ m['content'] }} [/INST]{% endfor %}"
RAISES = "{{ raise_exception('text alone') }}"


@pytest.mark.parametrize(
    ("change", "source", "start"),
    [
        (removed(TEMPLATE), "own", "<s>USER:"),
        (rewritten(TEMPLATE, "{% for message", "{{ bos_token }}{% for message"), TEMPLATE, "<s>USER:"),
        (written(TEMPLATE, OTHER), TEMPLATE, "<s>Q: hm"),
        (written(TEMPLATE, f"{{{{ strftime_now('%d %b') }}}} {OTHER}"), TEMPLATE, "<s>2024-07-26 Q: hm"),
        (
            written("chat_template.json", json.dumps({"chat_template": OTHER})),
            "chat_template.json",
            "<s>Q: hm",
        ),
        (edited("processor_config.json", chat_template=OTHER), "processor_config.json", "<s>Q: hm"),
        (written("additional_chat_templates/tools.jinja", OTHER), TEMPLATE, "<s>USER:"),
        (edited("tokenizer_config.json", chat_template=OTHER), TEMPLATE, "<s>USER:"),
        *(
            (both(removed(TEMPLATE), edited("tokenizer_config.json", chat_template=one)), source, start)
            for one, source, start in (
                (OTHER, "tokenizer_config.json", "<s>Q: hm"),
                ([{"name": "default", "template": OTHER}], "tokenizer_config.json", "<s>Q: hm"),
                (TEXT_ONLY, "own", "<s>USER:"),
                (RAISES, "own", "<s>USER:"),
            )
        ),
    ],
)
def test_the_template_is_the_checkpoints_and_begins_once(
    change: Change, source: str, start: str, tmp_path: Path
) -> None:
    folder = copied(tmp_path)
    change(folder)
    processor = models.by_family()["llava"].load_processor(folder)
    assert prompting.template_source(processor, folder).split()[0] == source
    told = prompting.passed_over(processor, folder)
    assert bool(told) == (
        source == "own" and (folder / "tokenizer_config.json").read_text().count("chat_template")
    )
    ids = processor.tokenizer(prompting.render(processor, "hm"))["input_ids"]
    shown = processor.tokenizer.decode([one for one in ids if one != processor.image_token_id])
    assert shown.startswith(start)
    assert ids.count(processor.tokenizer.bos_token_id) == ids.count(processor.image_token_id) == 1


@pytest.mark.slow
def test_a_record_names_the_template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(folders.FOLDERS, str(tmp_path))
    folder, named = copied(tmp_path), []
    for word in ("ASSISTANT", "HELPER"):
        rewritten(TEMPLATE, "ASSISTANT", word)(folder)
        (found,) = measure_cells([cell()], tmp_path / word)
        named.append(found.provenance.template)
    assert {one.split()[0] for one in named} == {TEMPLATE}
    assert len(set(named)) == 2

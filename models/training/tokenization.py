"""A byte-level BPE tokenizer per checkpoint, learned from the words the prompts and answers use.

Ordinary words become one token; digits and the capitals of sign words stay single tokens, which is what lets
the models spell words they never saw.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from easy_vqa import get_answers, get_train_questions
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from models.training.drawing import Chart, Scene, draw_chart, draw_scene, draw_sign
from models.training.questions import (
    binding,
    caption,
    captions,
    chart_question,
    choice_question,
    letter_question,
    scene_question,
    sign_question,
)
from models.training.words import COMMON_WORDS
from vlmnb.data.prompts import short_answer_prompt

VOCAB_SIZE = 900
SPLIT = r" ?(?:USER|ASSISTANT)(?=:)| ?[A-Z]?[a-z]+| ?[A-Z]| ?[0-9]|\n| ?[^\sA-Za-z0-9]+|[^\S\n]+"
ROWS = COLUMNS = 4
"""Most tiles of a picture that a token names."""
SPECIAL: dict[str, dict[str, str]] = {
    "llava-tiny": {"pad": "<pad>", "bos": "<s>", "eos": "</s>", "image": "<image>"},
    "qwen2.5-vl-tiny": {
        "pad": "<|endoftext|>",
        "eos": "<|im_end|>",
        "start": "<|im_start|>",
        "vision_start": "<|vision_start|>",
        "vision_end": "<|vision_end|>",
        "image": "<|image_pad|>",
        "video": "<|video_pad|>",
    },
    "fuyu-tiny": {
        "pad": "<pad>",
        "bos": "<s>",
        "eos": "|ENDOFTEXT|",
        "image": "|SPEAKER|",
        "newline": "|NEWLINE|",
        "answer": "<0x04>",
    },
    "smolvlm-tiny": {
        "pad": "<|im_end|>",
        "bos": "<|im_start|>",
        "eos": "<end_of_utterance>",
        "image": "<image>",
        "around": "<fake_token_around_image>",
        "whole": "<global-img>",
        **{f"tile_{r}_{c}": f"<row_{r}_col_{c}>" for r in range(1, ROWS + 1) for c in range(1, COLUMNS + 1)},
    },
}
ROLES = {
    "llava-tiny": ["USER:", " USER:", "ASSISTANT:", " ASSISTANT:"],
    "smolvlm-tiny": ["User:", " User:", "\nAssistant:"],
}

CHAT_TEMPLATES = {
    "llava-tiny": (
        "{% for message in messages %}"
        "{% if message['role'] == 'user' %}{{ 'USER: ' }}{% else %}{{ 'ASSISTANT: ' }}{% endif %}"
        "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
        "{% for part in message['content'] %}"
        "{% if part['type'] == 'image' %}{{ '<image>\\n' }}{% endif %}{% endfor %}"
        "{% for part in message['content'] %}"
        "{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}"
        "{% endif %}{% if message['role'] == 'user' %}{{ ' ' }}{% else %}{{ '</s>' }}{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
    ),
    "qwen2.5-vl-tiny": (
        "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
        "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
        "{% for part in message['content'] %}"
        "{% if part['type'] == 'image' %}{{ '<|vision_start|><|image_pad|><|vision_end|>' }}"
        "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
        "{% endfor %}{% endif %}{{ '<|im_end|>\\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    ),
    "smolvlm-tiny": (
        "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize + ':' }}"
        "{% if message['content'] is string %}{{ ' ' + message['content'] }}{% else %}"
        "{% for part in message['content'] %}"
        "{% if part['type'] == 'image' %}{{ '<image>' }}"
        "{% elif part['type'] == 'text' %}{{ ' ' + part['text'] }}{% endif %}"
        "{% endfor %}{% endif %}{{ '<end_of_utterance>\\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
    ),
}


def corpus(seed: int = 0, size: int = 4000) -> Iterator[str]:
    """Text in the proportions the prompts use it, sign words included."""
    rng = random.Random(seed)
    yield from [COMMON_WORDS] * 40
    for item in COMMON_WORDS.split():
        yield from [item, " " + item, item.capitalize()] * 30
    questions = get_train_questions()[0]
    for question in rng.sample(questions, size // 2):
        yield short_answer_prompt(question)
    yield from get_answers() * 50
    for _ in range(size):
        scene, chart = draw_scene(rng)[1], draw_chart(rng)[1]
        sign = draw_sign(rng, "train")[1]
        both: list[Scene | Chart] = [scene, chart]
        tasks = [
            caption(scene),
            scene_question(rng, scene),
            chart_question(rng, chart),
            choice_question(rng, rng.choice(both)).task("choice"),
            sign_question(rng, sign),
            letter_question(rng, sign),
            binding(rng),
        ]
        for task in tasks:
            yield task.text + " "
            yield task.answer
        yield from captions(scene)


def train_tokenizer(name: str) -> PreTrainedTokenizerFast:
    """The tokenizer of one checkpoint, with its special tokens, left padding and chat template."""
    special = SPECIAL[name]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        min_frequency=8,
        show_progress=False,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in special.values()],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    roles = ["user", "assistant", "system"] * 200
    tokenizer.train_from_iterator([*corpus(), *roles, *ROLES.get(name, []) * 200], trainer)
    if name == "llava-tiny":
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
        )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=special["pad"],
        bos_token=special.get("bos"),
        eos_token=special["eos"],
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_max_length=2048,
    )
    fast.chat_template = CHAT_TEMPLATES.get(name)
    return fast

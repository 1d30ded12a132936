"""The bundled data sets: 300 rows each, with the columns of the Hub data sets they stand in for.

Run ``python -m models.training.bundles`` to write ``data/*-mini/test.parquet`` again; the rows are a function
of the seeds below, which no training or development stream uses.
"""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, Image, List, Value
from PIL import Image as PillowImage

from models.training.drawing import SIDE, draw_chart, draw_scene, draw_sign
from models.training.questions import captions, choice_question, sign_question
from vlmnb.data.prompts import CAPTION

ROWS = 300
SEEDS = {
    "coco-mini": 910_001,
    "scienceqa-mini": 910_002,
    "textvqa-mini": 910_003,
    "scienceqa-text-mini": 910_004,
    "pairs-mini": 910_005,
}
PAPER = ((128, 128), (192, 128), (128, 192), (384, 128))
"""Widths and heights of the pictures of pairs."""
DATA = Path(__file__).resolve().parents[2] / "data"
Row = dict[str, Any]

_CHOICE = {
    "question": Value("string"),
    "choices": List(Value("string")),
    "answer": Value("int8"),
    "hint": Value("string"),
    "topic": Value("string"),
}
FEATURES: dict[str, Features] = {
    "scienceqa-text-mini": Features({"image": Image(), **_CHOICE}),
    "pairs-mini": Features({"images": List(Image()), **_CHOICE}),
    "coco-mini": Features(
        {
            "question_id": Value("string"),
            "image": Image(),
            "question": Value("string"),
            "answer": List(Value("string")),
            "id": Value("int64"),
            "file_name": Value("string"),
            "height": Value("int64"),
            "width": Value("int64"),
        }
    ),
    "scienceqa-mini": Features(
        {
            "image": Image(),
            "question": Value("string"),
            "choices": List(Value("string")),
            "answer": Value("int8"),
            "hint": Value("string"),
            "task": Value("string"),
            "grade": Value("string"),
            "subject": Value("string"),
            "topic": Value("string"),
            "category": Value("string"),
            "skill": Value("string"),
            "lecture": Value("string"),
            "solution": Value("string"),
        }
    ),
    "textvqa-mini": Features(
        {
            "image_id": Value("string"),
            "question_id": Value("int32"),
            "question": Value("string"),
            "image": Image(),
            "image_width": Value("int32"),
            "image_height": Value("int32"),
            "answers": List(Value("string")),
            "image_classes": List(Value("string")),
            "set_name": Value("string"),
            "ocr_tokens": List(Value("string")),
        }
    ),
}


def png(image: PillowImage.Image) -> dict[str, Any]:
    """An image as the ``Image`` feature stores it."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return {"bytes": buffer.getvalue(), "path": None}


def _row_rng(name: str, index: int) -> random.Random:
    return random.Random(SEEDS[name] * 1000 + index)


def coco_row(index: int) -> Row:
    """One captioned scene."""
    image, scene = draw_scene(_row_rng("coco-mini", index))
    return {
        "question_id": f"scene_{index:06d}",
        "image": png(image),
        "question": CAPTION,
        "answer": captions(scene),
        "id": index,
        "file_name": f"scene_{index:06d}.png",
        "height": SIDE,
        "width": SIDE,
    }


def scienceqa_row(index: int) -> Row:
    """One multiple-choice question, about a scene or (every second row) a bar chart."""
    rng = _row_rng("scienceqa-mini", index)
    is_chart = index % 2 == 1
    image, facts = draw_chart(rng) if is_chart else draw_scene(rng)
    choice = choice_question(rng, facts)
    return {
        "image": png(image),
        "question": choice.question,
        "choices": list(choice.choices),
        "answer": choice.answer,
        "hint": choice.hint,
        "task": "closed choice",
        "grade": "grade2",
        "subject": "natural science",
        "topic": "charts" if is_chart else "scenes",
        "category": "Bar charts" if is_chart else "Colored shapes",
        "skill": choice.skill,
        "lecture": "",
        "solution": f"The answer is {choice.choices[choice.answer]}.",
    }


def annotator(rng: random.Random, text: str) -> str:
    """What a hasty annotator writes: lower case, one character wrong, or one character missing."""
    kind = rng.randrange(3)
    if kind == 0 and not text.isdigit():
        return text.lower()
    place = rng.randrange(len(text))
    if kind == 1 and len(text) > 2:
        return text[:place] + text[place + 1 :]
    alphabet = "0123456789" if text.isdigit() else "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return text[:place] + rng.choice(alphabet.replace(text[place], "")) + text[place + 1 :]


def textvqa_row(index: int) -> Row:
    """One sign with a word or number of the test vocabulary, and ten references."""
    rng = _row_rng("textvqa-mini", index)
    image, sign = draw_sign(rng, "test")
    question = sign_question(rng, sign).text.split("\n")[0]
    noisy = rng.choice((0, 0, 1, 1, 2, 3, 4))
    others = [annotator(rng, sign.text) for _ in range(noisy)] + [sign.text] * (9 - noisy)
    rng.shuffle(others)
    return {
        "image_id": f"sign_{index:06d}",
        "question_id": index,
        "question": question,
        "image": png(image),
        "image_width": SIDE,
        "image_height": SIDE,
        "answers": [sign.text, *others],
        "image_classes": ["Sign", "Number" if sign.is_number else "Word"],
        "set_name": "test",
        "ocr_tokens": [sign.text],
    }


def text_row(index: int) -> Row:
    """One multiple-choice question about a scene that the hint describes in words; there is no picture."""
    rng = _row_rng("scienceqa-text-mini", index)
    scene = draw_scene(rng)[1]
    choice = choice_question(rng, scene)
    hint = f"The diagram shows {captions(scene)[0]}."
    asked = {"question": choice.question, "choices": list(choice.choices), "answer": choice.answer}
    return {"image": None, **asked, "hint": hint, "topic": "scenes"}


def pair_row(index: int) -> Row:
    """Which of two scenes, on papers of several shapes, shows something that the other does not."""
    rng = _row_rng("pairs-mini", index)
    answer, only = index % 2, list[str]()
    while not only:
        drawn = [draw_scene(rng) for _ in range(2)]
        shown, hidden = ({item.name for item in drawn[i][1].items} for i in (answer, 1 - answer))
        only = sorted(shown - hidden)
    asked = rng.choice(only)
    return {
        "images": [png(on_paper(image, rng.choice(PAPER))) for image, _ in drawn],
        "question": f"Which image shows {'an' if asked[0] in 'aeiou' else 'a'} {asked}?",
        "choices": ["the first", "the second"],
        "answer": answer,
        "hint": "",
        "topic": "pairs",
    }


def on_paper(image: PillowImage.Image, size: tuple[int, int]) -> PillowImage.Image:
    """A scene in the middle of a larger paper of its own colour."""
    paper = PillowImage.new("RGB", size, image.getpixel((0, 0)))
    paper.paste(image, ((size[0] - image.width) // 2, (size[1] - image.height) // 2))
    return paper


MAKERS = {
    "scienceqa-text-mini": text_row,
    "pairs-mini": pair_row,
    "coco-mini": coco_row,
    "scienceqa-mini": scienceqa_row,
    "textvqa-mini": textvqa_row,
}


def write(name: str) -> Path:
    """Write one data set and return its path."""
    path = DATA / name / "test.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [MAKERS[name](index) for index in range(ROWS)]
    columns = {column: [row[column] for row in rows] for column in FEATURES[name]}
    Dataset.from_dict(columns, features=FEATURES[name]).to_parquet(path)
    return path


def main() -> None:
    """Write all data sets."""
    for name in MAKERS:
        path = write(name)
        print(f"{path.relative_to(DATA.parent)}: {ROWS} rows, {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()

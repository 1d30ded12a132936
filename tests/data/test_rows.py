"""Rows and pictures as users have them: read where the meaning is plain, else refused by row and column."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vlmnb.data import catalogue, pictures
from vlmnb.data.rows import BadRow, Row

RAMP = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (64, 1))
"""A picture that is black on its left and almost white on its right."""

TWO = np.where(RAMP > 127, 255, 0).astype(np.uint8)


def stored(image: Any, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, kind, **options)
    return file.getvalue()


PNG = stored(RAMP)


@pytest.fixture
def read() -> Any:
    """Reads rows of a data set: samples and failed rows."""

    def load(name: str, *rows: dict[str, Any]) -> Any:
        made = [Row(f"0.{i}", {"image": PNG, **row}, "a.parquet", i) for i, row in enumerate(rows)]
        entry = replace(catalogue.CATALOGUE[name], choose=lambda samples, seed: made)
        return catalogue.load(entry, len(rows), 0)

    return load


@pytest.mark.parametrize(
    ("given", "references"),
    [
        (["13", "thirteen"], ("13", "thirteen")),
        ("a cat, sitting", ("a cat, sitting",)),
        ("['13', '14']", ("13", "14")),
        ("('13', '14')", ("13", "14")),
        ("1,000", ("1,000",)),
        ("(5, 6)", ("(5, 6)",)),
        (b"caf\xc3\xa9", ("caf\u00e9",)),
        ([13, 3.5, 13.0, float("nan")], ("13", "3.5", "13")),
        (13, ("13",)),
        ([None, "x", ""], ("x", "")),
        ([{"answer": "yes", "answer_id": 1}], ("yes",)),
        (None, ()),
        ([], ()),
    ],
)
def test_references_are_read_as_they_are_meant(given: Any, references: tuple[str, ...], read: Any) -> None:
    samples, failed = read("textvqa", {"question_id": 7, "question": "?", "answers": given})
    assert [sample.references for sample in samples] == [references]
    assert not failed


@pytest.mark.parametrize(
    "given",
    [
        ["krill", "it's a whale"],
        "['krill', \"it's a whale\"]",
        "['krill'\n \"it's a whale\"]",
        "array(['krill', \"it's a whale\"], dtype=object)",
        '["krill", "it\'s a whale"]',
        {"A": "krill", "B": "it's a whale", "C": None},
        "{'A': 'krill', 'B': \"it's a whale\"}",
        {"text": ["krill", "it's a whale"], "label": ["1", "2"]},
        [{"text": "krill"}, {"text": "it's a whale"}],
        [{"label": "1", "text": "krill"}, {"label": "2", "text": "it's a whale"}],
        ["A. krill", "B) it's a whale"],
        ["(a) krill", "(b) it's a whale"],
        [b"krill", b"it's a whale"],
        "{'text': array(['krill', \"it's a whale\"], dtype=object), 'label': array(['1', '2'])}",
    ],
)
@pytest.mark.parametrize("answer", [1, 1.0, "B", "b", "(B)", "[B]", "It's a whale.", "B: it's a whale", "1"])
def test_choices_and_their_answer_are_read_as_they_are_meant(given: Any, answer: Any, read: Any) -> None:
    if answer == "1" and "label" in str(given):
        answer = "2"  # the label of the second
    (sample,), failed = read("scienceqa", {"question": "?", "hint": None, "choices": given, "answer": answer})
    assert (sample.choices, sample.references, failed) == (("krill", "it's a whale"), ("B",), [])
    assert sample.prompt.startswith("?\nA. krill\nB. it's a whale\n")


OFFERED = {"question": "?", "hint": "", "choices": ["a", "b", "c"], "answer": 0}


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("question", None),
        ("question", " "),
        ("question", 5),
        ("hint", 3),
        *(("answer", value) for value in (5, 3, -1, 0.5, None, True, "d", "", [0])),
        *(
            ("choices", value)
            for value in ([], None, "krill or whale", "[", ["a", ""], ["a", None], [["a"]], 3)
        ),
        ("choices", [f"option {i}" for i in range(27)]),
        ("choices", {"text": ["a", "b"], "label": ["A", "A"]}),
        *(
            ("image", value)
            for value in (None, b"", {"bytes": None, "path": None}, {"url": "x"}, [], [PNG, PNG])
        ),
        *(("image", value) for value in ("nowhere.png", "https://example.com/a.png", "x" * 5000, 3)),
    ],
)
def test_a_row_without_a_plain_meaning_is_named_with_its_column(column: str, value: Any, read: Any) -> None:
    samples, ((number, own, reason),) = read("scienceqa", OFFERED, OFFERED | {column: value}, OFFERED)
    assert [sample.row for sample in samples] == [0, 2]
    assert (number, own) == (1, "0.1")
    assert reason.startswith(f"scienceqa, a.parquet: {column} ")
    assert len(reason) < 200


@pytest.mark.parametrize("hint", [None, "", " \n", float("nan")])
def test_a_hint_may_be_missing(hint: Any, read: Any) -> None:
    (sample,), failed = read("scienceqa", OFFERED | {"hint": hint})
    assert (sample.prompt.split("\n")[0], failed) == ("?", [])


def test_the_answer_must_be_plain_among_choices_that_look_like_letters(read: Any) -> None:
    swapped = OFFERED | {"choices": ["C", "B", "A"]}
    samples, failed = read("scienceqa", swapped | {"answer": "B"}, swapped | {"answer": "A"}, swapped)
    assert [sample.references for sample in samples] == [("B",), ("A",)]
    assert [row for row, _, _ in failed] == [1]


def test_rows_of_one_id_are_told_apart(read: Any) -> None:
    row = {"question_id": 7, "question": "?", "answers": ["a"]}
    samples, _ = read("textvqa", row, row, row | {"question_id": None})
    assert [sample.sample_id for sample in samples] == ["7", "7 in row 0.1", "0.2"]


BASE64 = base64.b64encode(PNG).decode()


@pytest.mark.parametrize(
    "value",
    [
        PNG, [PNG], list(PNG), {"bytes": list(PNG)}, [{"bytes": PNG}], {"bytes": PNG, "path": "a.png"},
        {"path": "a.png"}, "a.png", BASE64,
        f"data:image/png;base64,{BASE64}",
    ],
)  # fmt: skip
def test_a_picture_is_found_where_it_is_stored(
    value: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    monkeypatch.setenv("VLMNB_DATA", str(tmp_path))
    assert (np.asarray(pictures.decoded(pictures.encoded(value)))[..., 0] == RAMP).all()


def layers(*values: np.ndarray) -> Image.Image:
    return Image.merge("RGBA" if len(values) == 4 else "LA", [Image.fromarray(value) for value in values])


EXIF = Image.Exif()
EXIF[0x112] = 6  # turned by a quarter
BLACK = np.zeros_like(RAMP)
PALETTE = Image.fromarray(TWO // 255).convert("P")


@pytest.mark.parametrize(
    ("content", "seen"),
    [
        (stored(RAMP.astype(np.uint16) * 257), RAMP),
        (stored(RAMP.astype(np.uint16) * 257, "TIFF"), RAMP),
        (stored(RAMP.astype(np.int32) * 257, "TIFF"), RAMP),
        (stored(RAMP.astype(np.int32) * 257 * 30000, "TIFF"), None),
        (stored(RAMP.astype(np.int32), "TIFF"), RAMP),
        (stored((RAMP / 255).astype(np.float32), "TIFF"), RAMP),
        (stored((RAMP / 240).astype(np.float32), "TIFF"), np.minimum(RAMP * (255 / 240), 255)),
        (
            stored(np.where(RAMP == 252, np.inf, RAMP / 255).astype(np.float32), "TIFF"),
            np.where(RAMP == 252, 248, RAMP),
        ),
        (stored(RAMP.astype(np.float32), "TIFF"), RAMP),
        (stored(layers(BLACK, BLACK, BLACK, 255 - RAMP)), RAMP),
        (stored(layers(BLACK, 255 - RAMP)), RAMP),
        (stored(PALETTE, transparency=1), TWO),
        (stored(PALETTE, "GIF", transparency=1), TWO),
        (stored(np.where(TWO == 255, 7, 0).astype(np.uint8), transparency=7), TWO),
        (stored(np.where(TWO == 255, 30000, 0).astype(np.uint16), transparency=30000), TWO),
        (stored(TWO > 0), TWO),
        (stored(Image.fromarray(RAMP).convert("RGB").convert("CMYK"), "TIFF"), RAMP),
        (stored(np.rot90(RAMP), exif=EXIF), RAMP),
        (stored(RAMP, "GIF", save_all=True, append_images=[Image.fromarray(BLACK)]), RAMP),
    ],
)
def test_the_picture_is_what_a_viewer_shows_on_white_paper(content: bytes, seen: np.ndarray | None) -> None:
    image = pictures.decoded(content)
    wanted = (RAMP / RAMP.max() * 255).round() if seen is None else seen
    assert image.mode == "RGB"
    assert np.abs(np.asarray(image).astype(int) - wanted[..., None]).max() <= 1


def png(width: int, depth: int, colour: int, values: bytes, transparent: bytes) -> bytes:
    """Return a PNG of one row in which a colour is transparent."""
    head = struct.pack(">IIBBBBB", width, 1, depth, colour, 0, 0, 0)
    parts = {b"IHDR": head, b"tRNS": transparent, b"IDAT": zlib.compress(b"\0" + values), b"IEND": b""}
    framed = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts.items()
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def tiff(width: int, bits: int, values: bytes, *, zero_is_white: bool = False, sort: int = 1) -> bytes:
    """Return a TIFF of one row of grey."""
    tags = {256: width, 257: 1, 258: bits, 259: 1, 262: int(not zero_is_white), 273: 134, 277: 1, 278: 1,
            279: len(values), 339: sort}  # fmt: skip
    entries = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in tags.items())
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries
    return head.ljust(134, b"\0") + values


SMALL = stored(Image.new("L", (2, 1), 60), "GIF")
FRAMES = [Image.new("L", (2, 1), value) for value in (90, 60, 30)]


@pytest.mark.parametrize(
    ("content", "seen"),
    [
        (png(4, 2, 0, b"\x1b", b"\0\1"), [0, 255, 170, 255]),
        (png(4, 4, 0, b"\x0f\x37", b"\0\3"), [0, 255, 255, 119]),
        (png(2, 16, 2, b"\x12\x34" * 3 + b"\x12\xff" * 3, b"\x12\x34" * 3), [255, 18]),
        (tiff(2, 16, struct.pack("<HH", 257, 65535), zero_is_white=True), [254, 0]),
        (tiff(2, 12, b"\x80\0\xff"), [128, 16]),
        (tiff(2, 32, struct.pack("<II", 2**31, 2**32 - 1)), [128, 255]),
        (SMALL[:6] + struct.pack("<HH", 4, 1) + SMALL[10:], [60, 60, 255, 255]),
        (stored(FRAMES[0], save_all=True, append_images=FRAMES[1:], default_image=True), [60, 60]),
    ],
)
def test_what_pillow_leaves_out_of_a_file_is_seen(content: bytes, seen: list[int]) -> None:
    assert np.asarray(pictures.decoded(content))[0, :, 0].tolist() == seen


HUGE = PNG.replace((64).to_bytes(4, "big") * 2, (20000).to_bytes(4, "big") * 2, 1)


@pytest.mark.parametrize("content", [stored(RAMP)[:-200], b"<html>not found</html>", HUGE, b"\0" * 50])
def test_a_damaged_picture_is_a_bad_row(content: bytes) -> None:
    with pytest.raises(BadRow, match="image cannot be decoded"):
        pictures.decoded(content)


@pytest.mark.parametrize(
    ("row", "count"),
    [
        ({"image": None}, 0), ({"image": []}, 0), ({"images": None}, 0),
        ({"image": {"bytes": None, "path": None}}, 0), ({"image": PNG}, 1),
        ({"image": [PNG, {"bytes": PNG, "path": None}]}, 2), ({"images": [PNG, None, PNG]}, 2),
    ],
)  # fmt: skip
def test_a_row_has_the_images_that_its_data_set_may_have(row: dict[str, Any], count: int) -> None:
    assert pictures.of_row(row, 0, 2) == (PNG,) * count
    if count != 1:
        with pytest.raises(BadRow, match="image"):
            pictures.of_row(row)
    with pytest.raises(BadRow, match=f"holds {count} pictures, not 3"):
        pictures.of_row(row, 3, 3)

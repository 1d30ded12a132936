"""Pictures with known content: scenes of coloured shapes, bar charts, and signs, drawn at 128 pixels.

Every picture is drawn from a `random.Random`; what it shows is returned beside it as plain data, from which
`questions` makes questions and answers.
"""

from __future__ import annotations

import colorsys
import math
import random
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from PIL import Image, ImageDraw, ImageFont

from models.training.words import Split, made_up_word, number

SIDE = 128
RGB = tuple[int, int, int]
COLORS: dict[str, RGB] = {
    "red": (220, 40, 40),
    "green": (40, 160, 60),
    "blue": (40, 80, 220),
    "yellow": (240, 210, 40),
    "purple": (140, 50, 170),
    "orange": (245, 140, 30),
}
SHAPES = ("circle", "square", "triangle", "cross")


@dataclass(frozen=True)
class Item:
    """One shape of a scene: its colour, its kind and its place in pixels."""

    color: str
    shape: str
    x: float
    y: float
    radius: float

    @property
    def name(self) -> str:
        """``"red circle"``."""
        return f"{self.color} {self.shape}"


@dataclass(frozen=True)
class Scene:
    """Two or three shapes, in reading order: left to right, or top to bottom where ``vertical``."""

    items: tuple[Item, ...]
    vertical: bool


@dataclass(frozen=True)
class Chart:
    """A bar chart: ``(colour, height in pixels)`` from left to right."""

    bars: tuple[tuple[str, int], ...]

    def ranked(self) -> list[str]:
        """Bar colours, tallest first."""
        return [color for color, _ in sorted(self.bars, key=lambda bar: -bar[1])]


@dataclass(frozen=True)
class Sign:
    """A word or number on a sign, with the box ``(left, top, right, bottom)`` of each character."""

    text: str
    boxes: tuple[tuple[float, float, float, float], ...]
    text_height: int

    @property
    def is_number(self) -> bool:
        """Whether the sign shows digits."""
        return self.text.isdigit()


Facts = Scene | Chart | Sign


def _jitter(rng: random.Random, color: RGB, amount: int = 14) -> RGB:
    red, green, blue = (max(0, min(255, c + rng.randint(-amount, amount))) for c in color)
    return red, green, blue


def _paper(rng: random.Random) -> RGB:
    base = rng.randint(228, 252)
    return _jitter(rng, (base, base, base), 5)


def _draw_shape(draw: ImageDraw.ImageDraw, item: Item, color: RGB) -> None:
    x, y, r = item.x, item.y, item.radius
    if item.shape == "circle":
        draw.ellipse((x - r, y - r, x + r, y + r), fill=color)
    elif item.shape == "square":
        draw.rectangle((x - 0.88 * r, y - 0.88 * r, x + 0.88 * r, y + 0.88 * r), fill=color)
    elif item.shape == "triangle":
        draw.polygon(((x, y - r), (x + r, y + 0.85 * r), (x - r, y + 0.85 * r)), fill=color)
    else:
        arm = 0.36 * r
        draw.rectangle((x - r, y - arm, x + r, y + arm), fill=color)
        draw.rectangle((x - arm, y - r, x + arm, y + r), fill=color)


def _places(rng: random.Random, count: int, vertical: bool) -> list[tuple[float, float, float]]:
    """Centres and radii along one axis, in order, far enough apart for the order to be plain."""
    while True:
        radii = [rng.uniform(11, 21 if count == 2 else 17) for _ in range(count)]
        along = sorted(rng.uniform(r + 2, SIDE - r - 2) for r in radii)
        across = [rng.uniform(r + 2, SIDE - r - 2) for r in radii]
        gaps = [along[i + 1] - along[i] - radii[i] - radii[i + 1] for i in range(count - 1)]
        if min(gaps) < 3:
            continue
        if count == 2 and abs(along[1] - along[0]) < 1.5 * abs(across[1] - across[0]):
            continue
        pairs = zip(across, along, strict=True) if vertical else zip(along, across, strict=True)
        return [(x, y, r) for (x, y), r in zip(pairs, radii, strict=True)]


def draw_scene(rng: random.Random) -> tuple[Image.Image, Scene]:
    """A scene of two shapes (side by side or one above the other) or three (left to right)."""
    count = 2 if rng.random() < 0.6 else 3
    vertical = count == 2 and rng.random() < 0.5
    kinds = rng.sample([(c, s) for c in COLORS for s in SHAPES], count)
    places = _places(rng, count, vertical)
    items = tuple(Item(c, s, *place) for (c, s), place in zip(kinds, places, strict=True))
    image = Image.new("RGB", (SIDE, SIDE), _paper(rng))
    draw = ImageDraw.Draw(image)
    for item in items:
        _draw_shape(draw, item, _jitter(rng, COLORS[item.color]))
    return image, Scene(items, vertical)


def draw_chart(rng: random.Random) -> tuple[Image.Image, Chart]:
    """A bar chart of two to four bars whose heights differ by at least nine pixels."""
    count = rng.choice((2, 3, 3, 4, 4))
    colors = rng.sample(list(COLORS), count)
    while True:
        heights = [rng.randint(14, 104) for _ in range(count)]
        ordered = sorted(heights)
        if all(b - a >= 9 for a, b in pairwise(ordered)):
            break
    image = Image.new("RGB", (SIDE, SIDE), _paper(rng))
    draw = ImageDraw.Draw(image)
    base = rng.randint(112, 122)
    left, right = rng.randint(4, 16), SIDE - rng.randint(4, 16)
    step = (right - left) / count
    width = step * rng.uniform(0.55, 0.8)
    for i, (color, height) in enumerate(zip(colors, heights, strict=True)):
        x = left + i * step + (step - width) / 2
        draw.rectangle((x, base - height, x + width, base), fill=_jitter(rng, COLORS[color]))
    draw.line((left - 2, base + 1, right + 2, base + 1), fill=(60, 60, 60), width=2)
    return image, Chart(tuple(zip(colors, heights, strict=True)))


@lru_cache(maxsize=64)
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow was built without FreeType"
    return font


def _tint(rng: random.Random, low: float, high: float) -> RGB:
    red, green, blue = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.0, 0.6), rng.uniform(low, high))
    return int(255 * red), int(255 * green), int(255 * blue)


def sign_with(rng: random.Random, text: str) -> tuple[Image.Image, Sign]:
    """A sign that shows ``text`` at a random height (capitals of about 14 to 30 pixels) and place."""
    size = rng.randint(22, 42)
    gap = rng.choice((0, 1, 2))
    while True:
        font = _font(size)
        widths = [font.getlength(character) for character in text]
        total = sum(widths) + gap * (len(text) - 1)
        if total <= SIDE - 10:
            break
        size -= 1
    cap = font.getbbox("H")
    top_offset, cap_height = cap[1], cap[3] - cap[1]
    x = rng.uniform(5, SIDE - 5 - total)
    y = rng.uniform(6, SIDE - 6 - cap_height)
    dark, light = _tint(rng, 0.08, 0.3), _tint(rng, 0.85, 1.0)
    band, ink = (dark, light) if rng.random() < 0.65 else (light, dark)
    image = Image.new("RGB", (SIDE, SIDE), _tint(rng, 0.35, 0.8))
    draw = ImageDraw.Draw(image)
    margin_x, margin_y = rng.uniform(3, 9), rng.uniform(4, 10)
    draw.rectangle((x - margin_x, y - margin_y, x + total + margin_x, y + cap_height + margin_y), fill=band)
    boxes = []
    for character, width in zip(text, widths, strict=True):
        draw.text((x, y - top_offset), character, font=font, fill=ink)
        boxes.append((x, y, x + width, y + cap_height))
        x += width + gap
    return image, Sign(text, tuple(boxes), math.ceil(cap_height))


def draw_sign(rng: random.Random, split: Split) -> tuple[Image.Image, Sign]:
    """A sign with a made-up word (three times in four) or a number from one vocabulary."""
    text = made_up_word(rng, split) if rng.random() < 0.75 else number(rng, split)
    return sign_with(rng, text)

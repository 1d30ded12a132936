"""How every figure looks: its ink, the color and marker of a model or a data set, and its SVG."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#767676"
"""Mid grey of axes and text, 4.5 to 1 on white. The book draws it in the color of a page's own text."""

STYLE: Any = {
    "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "axes.edgecolor": INK,
    "grid.color": INK, "grid.alpha": 0.25, "legend.labelcolor": INK,
    "figure.facecolor": "none", "axes.facecolor": "none",
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid.axis": "y",
    "legend.frameon": False, "patch.edgecolor": "none", "lines.solid_capstyle": "butt",
    "svg.fonttype": "none", "svg.hashsalt": "vlmnb",
}  # fmt: skip
"""What every figure changes of seaborn's style."""

COLORS = ("#2E86C9", "#D55E00", "#009E73", "#C0659A", "#B8860B", "#7A6FD0")
"""Okabe and Ito's palette, which color-blind eyes can distinguish, 3 to 1 on a light and on a dark ground."""

MARKERS = ("o", "s", "^", "D", "*", "P")


WIDE_PT = 450.0
"""Width above which a figure is too wide for a phone; those of one panel are narrower."""


class Look(NamedTuple):
    """Color and marker of a model, a data set or a way, the same in every figure of the book."""

    color: str
    marker: str


class Drawing(NamedTuple):
    """A figure of the book, which is drawn when it is wanted.

    Attributes:
        of: All that it shows, JSON-able: of one function, the same gives the same figure.
        svg: Draws it, as SVG.
    """

    of: object
    svg: Callable[[], str]


def drawing(draw: Callable[..., str], *of: object) -> Drawing:
    """Return the figure that a function draws of some JSON-able values."""
    return Drawing(of, partial(draw, *of))


def look(name: str, known: Iterable[str]) -> Look:
    """Return how a name is drawn, by its place among the known ones."""
    places = list(known)
    place = places.index(name) if name in places else zlib.crc32(name.encode())
    turn = place + place // len(COLORS)  # another marker with the same color
    return Look(COLORS[place % len(COLORS)], MARKERS[turn % len(MARKERS)])


def svg(figure: Figure) -> str:
    """Return a figure as SVG on a transparent ground, the same for the same figure."""
    buffer = io.StringIO()
    with themed():
        figure.savefig(buffer, format="svg", bbox_inches="tight", transparent=True, metadata={"Date": None})
    text = re.sub(r"'DejaVu Sans'[^;\"]*", "sans-serif", buffer.getvalue())
    return re.sub(r"\A.*?(?=<svg)|<metadata>.*?</metadata>", "", text, flags=re.DOTALL)


def inlined(markup: str, alt: str) -> str:
    """Return a figure's SVG as a part of a page: a name for readers, text in the color of the page's own."""
    used = set(re.findall(r"#([\w-]+)", markup))
    kept = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", markup)
    # What says nothing, and digits below a hundredth of a point, only make pages larger.
    kept = re.sub(r' transform="rotate\(-0 [^"]*"|font-family: sans-serif; ', "", kept)
    # Digits of a label between tags stay: 0.025 is not 0.02.
    kept = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\d\.\d\d)\d+", r"\1", tag[0]), kept)
    shown = kept.replace(INK, "currentColor").replace("<svg ", f'<svg role="img" aria-label="{alt}" ', 1)
    made = re.sub(r"\s*\n\s*", " ", shown).strip()
    width = re.search(r' width="([\d.]+)pt"', made)
    # A phone scrolls it sideways within the page: fitted to the screen its text could not be read.
    return f'<span class="vlmnb-wide">{made}</span>' if width and float(width[1]) > WIDE_PT else made


def signed(panel: Any, x: Any, top: float, sign: str) -> None:
    """Write a mark above a point or the end of its interval; nothing for a point without one."""
    if sign.strip():
        panel.annotate(sign.strip(), (x, top), (0, 2), textcoords="offset points", ha="center")


def from_zero(panel: Any) -> None:
    """Let the heights of a panel begin at 0, with room above them though they hardly differ."""
    panel.update_datalim([(0, 0)], updatex=False)
    panel.autoscale_view()
    panel.set_ylim(bottom=0)


def plain_log(along: Any) -> None:
    """Make an axis logarithmic, with plain numbers at 1, 2 and 5, and closer ones where it is short."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    class Ticks(LogLocator):
        def tick_values(self, vmin: float, vmax: float) -> Any:
            self.set_params(subs=(1, 2, 5) if vmax > 6 * vmin else (1, 1.5, 2, 3, 4, 5, 7))
            return super().tick_values(vmin, vmax)

    scale = "set_xscale" if along.axis_name == "x" else "set_yscale"
    getattr(along.axes, scale)("log")
    along.set_major_locator(Ticks())
    along.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    along.set_minor_formatter(NullFormatter())


def themed() -> AbstractContextManager[None]:
    """Return a context for drawing: seaborn's theme, in colors for light and dark pages."""
    import matplotlib
    import seaborn as sns

    return matplotlib.rc_context(sns.axes_style("whitegrid") | sns.plotting_context("paper") | STYLE)

"""How every figure looks."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

INK = "#808080"
"""Mid grey: axes and text keep a contrast of 3.9 to 1 or more on white and on the dark theme's ground."""

STYLE: Any = {
    "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "axes.edgecolor": INK,
    "grid.color": INK, "grid.alpha": 0.25, "legend.labelcolor": INK,
    "figure.facecolor": "none", "axes.facecolor": "none",
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid.axis": "y",
    "legend.frameon": False, "patch.edgecolor": "none", "lines.solid_capstyle": "butt",
}  # fmt: skip
"""What every figure changes of seaborn's style."""

PALETTE = "colorblind"
"""seaborn's palette for color-blind eyes."""


def themed() -> AbstractContextManager[None]:
    """Return a context for drawing: seaborn's theme, in colors for light and dark pages."""
    import matplotlib
    import seaborn as sns

    return matplotlib.rc_context(sns.axes_style("whitegrid") | sns.plotting_context("paper") | STYLE)

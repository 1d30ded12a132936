"""How every figure looks."""

from __future__ import annotations

from typing import Any

INK = "#808080"
"""Mid grey: axes and text keep a contrast of 3.9 to 1 or more on white and on the dark theme's ground."""

STYLE: Any = {
    "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "axes.edgecolor": INK,
    "grid.color": INK, "grid.alpha": 0.25, "legend.labelcolor": INK,
    "figure.facecolor": "none", "axes.facecolor": "none",
    "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
}  # fmt: skip
"""matplotlib settings of every figure."""

COLORS = ("#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161")
"""seaborn's palette for color-blind eyes."""

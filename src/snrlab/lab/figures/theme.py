"""Style of figures: light and dark colours that colour-blind readers can tell apart, and reproducible files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Mode = Literal["light", "dark"]
MODES: tuple[Mode, ...] = ("light", "dark")
_DASHES = ("-", (0, (6, 2)), (0, (1, 1.2)), (0, (6, 2, 1, 2)), (0, (10, 3)), (0, (3, 1, 1, 1, 1, 1)))


@dataclass(frozen=True)
class Theme:
    """Colours of one mode; `lines` is Okabe and Ito's palette, in an order that also alternates in lightness."""

    paper: str
    ink: str
    soft: str
    lines: tuple[str, ...]
    reference: str = "#8b8e99"  # the line of plain training

    def rc(self) -> dict[Any, Any]:
        """Matplotlib rc settings; typed Any, since the allowed names depend on the version of matplotlib."""
        return {
            "figure.facecolor": self.paper,
            "axes.facecolor": self.paper,
            "savefig.facecolor": self.paper,
            "text.color": self.ink,
            "axes.labelcolor": self.ink,
            "axes.edgecolor": self.soft,
            "xtick.color": self.ink,
            "ytick.color": self.ink,
            "grid.color": self.soft,
            "grid.linewidth": 0.6,
            "axes.grid": True,
            "axes.axisbelow": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlelocation": "left",
            "axes.titleweight": "bold",
            "axes.titlesize": 12,
            "font.size": 11,
            "lines.linewidth": 2.2,
            "lines.dash_capstyle": "round",
            "svg.hashsalt": "snrlab",
            "svg.fonttype": "path",
        }

    def line(self, index: int) -> dict[str, Any]:
        """Colour and dashes of the line with this index; combinations repeat only after thirty."""
        return {"color": self.lines[index % len(self.lines)], "linestyle": _DASHES[index % len(_DASHES)]}

    def reference_line(self) -> dict[str, Any]:
        """Style of the reference: grey, thin and below the other lines."""
        return {"color": self.reference, "linestyle": "-", "linewidth": 1.6, "zorder": 1.5}


THEMES: dict[Mode, Theme] = {
    "light": Theme("#ffffff", "#1b1b1f", "#d4d6df", ("#0072B2", "#D55E00", "#009E73", "#AA4A86", "#555555")),
    "dark": Theme("#17181c", "#ececf1", "#3a3d47", ("#56B4E9", "#F0A020", "#2FC99A", "#E59AC6", "#BBBBBB")),
}

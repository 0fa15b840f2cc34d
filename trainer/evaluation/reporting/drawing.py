"""Matplotlib without a display, in the colours of `base.html`, to SVG.

It is imported when something is drawn: it takes longer than a command that draws nothing.
"""

import hashlib
import html
import io
import re
from typing import Any

TEXT, QUIET, LINE, GROUND, ACCENT = "#1b1f24", "#57606a", "#d8dee4", "#fefefe", "#0b5cad"
VARIABLES = {TEXT: "--text", QUIET: "--quiet", LINE: "--line", GROUND: "--ground", ACCENT: "--accent"}
COLOURS = ("#3b82c4", "#e08214", "#2f9e6e", "#d6456b", "#8e6bc9", "#8c7a2f", "#1fa3b5", "#b0578d")  # on white and black
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")  # no group is told by its colour alone
WIDTH = 3.6  # inches: as wide as a telephone, so that nothing is scaled down there
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none", "svg.hashsalt": "fertools", "font.size": 9, "text.parse_math": False, "text.color": TEXT,
    "figure.facecolor": GROUND, "axes.facecolor": "none", "axes.edgecolor": QUIET, "axes.labelcolor": TEXT,
    "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 10, "axes.axisbelow": True,
    "xtick.color": QUIET, "ytick.color": QUIET, "xtick.labelcolor": TEXT, "ytick.labelcolor": TEXT,
    "grid.color": LINE, "legend.frameon": False, "legend.fontsize": 8,
}  # fmt: skip


def pyplot() -> Any:
    """Return matplotlib.pyplot, which writes SVG in this project's style and opens no window."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot as plt

    plt.rcParams.update(STYLE)
    return plt


def svg(figure: Any) -> str:
    """Return a figure as SVG, the same bytes each time, and close it."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    pyplot().close(figure)
    return text.getvalue()[text.getvalue().index("<svg") :]


def inline(picture: str, label: str) -> str:
    """Return an SVG to stand in a page that extends `base.html`: in its colours, light or dark.

    Args:
        picture: as `svg` returns it.
        label: what it shows, for who does not see it.
    """
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', picture))
    prefix = f"f{hashlib.sha256(picture.encode()).hexdigest()[:8]}-"  # an id stands once in a page

    def renamed(found: re.Match[str]) -> str:
        return f' id="{prefix}{found[1]}"' if found[1] in used else ""

    body = re.sub(r"<(style|metadata)\b.*?</\1>", "", picture, flags=re.DOTALL)
    body = re.sub(r' id="([^"]*)"', renamed, body)
    body = re.sub(r'(url\(#|href="#)', rf"\g<1>{prefix}", body)
    for colour, variable in VARIABLES.items():
        body = body.replace(colour, f"var({variable})")
    return body.replace("<svg", f'<svg role="img" aria-label="{html.escape(label)}"', 1)

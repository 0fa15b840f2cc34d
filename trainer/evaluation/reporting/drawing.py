"""Matplotlib without a display, imported when something is drawn: it takes longer than a command that draws nothing."""

from typing import Any


def pyplot() -> Any:
    """Return matplotlib.pyplot, which writes SVG and opens no window."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot as plt

    return plt

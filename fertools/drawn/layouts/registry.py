"""Every layout that can be drawn, by its dataset. To add one: write its file, import it here."""

from typing import Any

from fertools.drawn.layouts import (
    affectnet,
    affectnet_photographs,
    bu3dfe,
    casiawebface,
    ckcopies,
    ckplus,
    fer2013,
    ferplus,
    jaffe,
    mmi,
    oulucasia,
    rafdb,
    yale,
)
from fertools.drawn.recording import Layout
from fertools.errors import FertoolsError

LAYOUTS: dict[str, Layout[Any]] = {
    "affectnet": affectnet.LAYOUT,
    "affectnet-photographs": affectnet_photographs.LAYOUT,
    "bu3dfe": bu3dfe.LAYOUT,
    "casiawebface": casiawebface.LAYOUT,
    "casiawebface-pack": casiawebface.PACK_LAYOUT,
    "ckextended": ckcopies.CKEXTENDED,
    "ckplus": ckplus.LAYOUT,
    "ckplus48": ckcopies.CKPLUS48,
    "fer2013": fer2013.LAYOUT,
    "ferplus": ferplus.LAYOUT,
    "jaffe": jaffe.LAYOUT,
    "mmi": mmi.LAYOUT,
    "oulucasia": oulucasia.LAYOUT,
    "rafdb": rafdb.LAYOUT,
    "yale": yale.LAYOUT,
}


def find(dataset: str, form: str | None) -> str:
    """The name of a dataset's layout, or of another form of it.

    Raises:
        FertoolsError: it has no such form.
    """
    if (name := f"{dataset}-{form}" if form else dataset) not in LAYOUTS:
        known = ", ".join(name.partition("-")[2] for name in LAYOUTS if name.startswith(f"{dataset}-"))
        raise FertoolsError(f"{dataset} has no form {form!r} to draw; known: {known or 'none but its usual one'}")
    return name

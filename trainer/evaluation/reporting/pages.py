"""HTML pages from Jinja templates, everything in them escaped."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def render(template: Path, **values: Any) -> str:
    """Return a page made from a template; a value that the template names and that is not given is an error.

    It may extend `base.html` and others beside it.
    """
    import jinja2

    loader = jinja2.FileSystemLoader(template.parent, encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, loader=loader)
    return environment.get_template(template.name).render(**values)


def data_uri(content: bytes, media_type: str) -> str:
    """Return a file's bytes as an address that needs no other file."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def image_uri(image: NDArray[np.uint8]) -> str:
    """Return an image, (height, width) or (height, width, 3), as the address of a PNG."""
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(image).save(content, format="PNG")
    return data_uri(content.getvalue(), "image/png")

"""HTML pages from Jinja templates, everything in them escaped."""

import base64
from pathlib import Path
from typing import Any


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

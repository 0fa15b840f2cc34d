"""HTML pages from Jinja templates, everything in them escaped."""

from pathlib import Path
from typing import Any


def render(template: Path, **values: Any) -> str:
    """Return a page made from a template; a value that the template names and that is not given is an error."""
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(template.read_text(encoding="utf-8")).render(**values)

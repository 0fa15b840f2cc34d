"""One drawn face: its factors (person, expression, light, pose) and the shapes that are rendered from them."""

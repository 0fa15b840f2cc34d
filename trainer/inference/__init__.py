"""A trained model in use: load, export, predict on photographs and videos, and the demo page."""

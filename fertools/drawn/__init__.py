"""Drawn faces: shaded by code, in a dataset's layout, with every factor known; a stand-in where no data is at hand."""

"""Drawn faces: shaded by code, in the layout of CK+, with every factor known; a stand-in where no data is at hand."""

"""Containers of image files, parsed by hand where a decoder's own reading is too strict, too trusting or too slow."""

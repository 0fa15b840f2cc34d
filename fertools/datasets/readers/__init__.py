"""Readers of the containers that datasets come in: RecordIO, videos, .npy, tables of pixels, text files, copies."""

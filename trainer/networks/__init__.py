"""Encoders, critics, heads: flat arguments, no config object enters them."""

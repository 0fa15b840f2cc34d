"""Weights of others: read safely, and fitted to a method's encoders."""

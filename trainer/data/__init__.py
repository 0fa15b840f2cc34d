"""Manifests to batches on the device: a fold and its parts, crops, augmentation, whitening, further datasets."""

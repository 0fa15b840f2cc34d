"""A training run on disk and on its machine: its folder, checkpoints, signals, device and process group."""

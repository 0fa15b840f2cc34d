"""`trainer fit` and `trainer pretrain`: the training loop, its precision, and data parallelism."""

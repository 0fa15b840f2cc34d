"""One file a dataset: where its drawn stand-in puts which images, labels and lists."""

"""`fertools augment`: the training faces of a fold, augmented, as a file for other people's trainers."""

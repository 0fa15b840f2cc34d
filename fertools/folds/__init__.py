"""`fertools make-folds`: subject-disjoint folds, same-expression pairs, whitening statistics."""

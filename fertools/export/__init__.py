"""`fertools export` and `show`: manifests in the formats of others, and as contact sheets."""

"""`fertools verify`, `audit` and `diff`: what a raw folder, a split or two manifests really hold."""

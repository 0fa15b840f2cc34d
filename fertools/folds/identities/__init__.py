"""`fertools group`: who seems to be one person, where a dataset names nobody."""

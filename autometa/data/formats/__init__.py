"""Layouts of data sets, each recognised by a module of its own: `look(path)` gives a `Found`, or None for another layout."""

"""Layouts of data sets, each recognised by a module of its own.

`look(path)` of a module gives a `Found`, None for another layout, and raises `DataError` for a damaged one of its own.
"""

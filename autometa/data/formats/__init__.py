"""Layouts of data sets, each recognised by a module of its own.

`detect(path)` of a module gives a `SourceDataset`, None for another layout, and raises `DataError` for a damaged one of
its own.
"""

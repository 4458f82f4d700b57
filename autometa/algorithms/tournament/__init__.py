"""A tournament of search strategies on a table of cells."""

"""Golden check: `python -m tests.golden FILE... [--backend B] [--dtype D]` compares the package with known numbers."""

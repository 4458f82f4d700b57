"""What runs show: each on a page of its own, or several side by side.

`autometa.report` is this package and, called, the word of the command line: `autometa.report(run)`.
"""

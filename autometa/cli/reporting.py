"""`report`: a run on one page."""

from __future__ import annotations

from autometa import api
from autometa.cli.options import Parser
from autometa.cli.output import print_json, put
from autometa.runs.files import shown

EXAMPLES = """  autometa report runs/first                    writes runs/first/report.html; open it in a browser
  autometa report runs/first --out first.html   the file is complete in itself: pass it on as it is"""


def report(words: list[str], typed: list[str]) -> int:
    """`autometa report [RUN]`."""
    about = "A run, finished or not, on one page: what was found, how sure, how it got there, what it cost."
    parser = Parser("report", about, EXAMPLES)
    parser.add_argument("run", nargs="?", default="latest", metavar="RUN", help="folder of the run (default: the last)")
    parser.add_argument("--out", metavar="FILE", help="where to write it (default: RUN/report.html)")
    given = parser.parse(words, "json")
    path = shown(api.report(given.run, given.out))
    print_json({"report": path}) if given.json else put([f"Report  {path}  (one file; open it in a browser)"])
    return 0

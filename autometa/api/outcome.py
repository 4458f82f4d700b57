"""What `search`, `train` and `evaluate` return: a mapping that shows itself in a few lines."""

from __future__ import annotations

import html

from autometa.brief import TEXT, cut
from autometa.printable import printable
from autometa.report.view import FIRST, View
from autometa.report.words import MODES, large, score
from autometa.runs.budget import format_duration
from autometa.runs.files import shown


class Outcome(dict):
    """A result by name, as result.json has it. A notebook shows a table of what matters; `dict(outcome)` has all."""

    def _rows(self) -> list[tuple[str, str]]:
        rows = [("run", shown(self.get("run", "")))]
        view = View(self)
        if view.score and view.protocol:
            rows.append(("accuracy", f"{score(view.score)} % on {view.tasks} ({MODES[FIRST]})"))
        if view.macs is not None:
            rows.append(("network", f"{view.parameters:,.0f} parameters, {large(view.macs)} MACs"))
        times = ", ".join(f"{name} {format_duration(value)}" for name, value in view.part("seconds").items())
        done = self.get("iterations") or {}
        if done:
            times = f"{done['done']} of {done['planned']} meta-iterations; {times}"
        rows.append(("training", times))
        return [(name, cut(printable(value), 2 * TEXT)) for name, value in rows]

    def _title(self) -> str:
        return printable(View(self).kind or "run")

    def __repr__(self) -> str:
        return "\n".join([self._title(), *(f"  {name:<9} {value}" for name, value in self._rows())])

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th>{name}</th><td style='text-align:left'>{html.escape(value)}</td></tr>"
            for name, value in self._rows()
        )
        return f"<table><caption>{html.escape(self._title())}</caption>{rows}</table>"

    def _repr_markdown_(self) -> str:
        lines = [f"| {self._title()} | |", "|---|---|"]
        return "\n".join([*lines, *(f"| {name} | {_cell(value)} |" for name, value in self._rows())])


def _cell(text: str) -> str:
    return html.escape(text).replace("|", "\\|")

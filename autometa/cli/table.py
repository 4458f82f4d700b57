"""`table`: tables of small cells, each trained once and for all: build, look at, pack, export, ask."""

from __future__ import annotations

from pathlib import Path

from autometa.algorithms.table.spec import DEFAULT, PARTS, SPECS
from autometa.api import tables
from autometa.cli.options import Parser, names, whole
from autometa.cli.output import print_json, put
from autometa.cli.show import columns
from autometa.errors import InputError
from autometa.runs.budget import format_duration
from autometa.runs.files import say, shown

EXAMPLES = """  autometa table status                          how much of the table inside the package is there
  autometa table query 0c1m                      one cell of it
  autometa table export --csv cells.csv          every training as a line
  autometa table build --workers 2               go on training what is missing (hours), into tables/NAME
  autometa table status --out tables/omniglot-two-blocks
  autometa table pack --out tables/omniglot-two-blocks --to omniglot-two-blocks.safetensors"""


def table(words: list[str], typed: list[str]) -> int:
    """`autometa table WHAT [CELL]`."""
    parser = Parser("table", "A table of small cells: accuracies of all of them, without training any.", EXAMPLES)
    parser.add_argument("what", choices=tuple(_COMMANDS), help="build, status, query, export, pack or costs")
    parser.add_argument("cells", nargs="*", metavar="CELL", help="for query: keys of cells, such as 0c1m or 0c0m|2i1a")
    parser.add_argument("--name", default=DEFAULT, help=f"of the table: {', '.join(SPECS)} (default: {DEFAULT})")
    parser.add_argument("--out", metavar="DIR", help="folder that a table is built in (default of build: tables/NAME)")
    parser.add_argument("--workers", type=whole, default=1, metavar="N", help="build: processes (default: 1)")
    parser.add_argument("--parts", type=names, default=PARTS, help=f"build: in order (default: {','.join(PARTS)})")
    parser.add_argument("--limit", type=whole, metavar="N", help="build: end after so many trainings")
    parser.add_argument("--csv", metavar="FILE", help="export: file to write (default: the terminal)")
    parser.add_argument("--to", metavar="FILE", help="pack: file to write (default: the package's own)")
    parser.add_argument("--file", metavar="FILE", help="status, query, export: a packed file (default: the package's)")
    given = parser.parse(words, "json", "quiet")
    if given.cells and given.what != "query":
        raise InputError(f"autometa table {given.what} takes no cells; autometa table --help explains")
    return _COMMANDS[given.what](given)


def _build(given) -> int:
    how = {"workers": given.workers, "parts": given.parts, "limit": given.limit, "quiet": given.quiet}
    try:
        added = tables.build_table(given.name, given.out, **how)
    except KeyboardInterrupt:
        say("autometa: interrupted; the same command goes on, at most the batches under way are lost")
        return 130
    found = tables.table_status(given.name, given.out or tables.default_folder(given.name))
    if given.json:
        print_json({"added": added, **found})
    else:
        put([f"{added:,} trainings added", *_status_lines(found)])
    return 0


def _status(given) -> int:
    found = tables.table_status(given.name, given.out, given.file)
    print_json(found) if given.json else put(_status_lines(found))
    return 0


def _status_lines(found: dict) -> list[str]:
    rows = [["part", "there", "of"]]
    rows += [[part, f"{n:,}", f"{of:,}"] for part, (n, of) in found["parts"].items()]
    about = [f"{found['name']}: {found['cells']:,} of {found['of']:,} cells, {found['failed']:,} of them failed"]
    about += columns(rows, right=(1, 2))
    for told in found["machines"]:
        about.append(f"{told['rows']:,} trainings: {told['instruction_set']}, torch {told['torch']}, {told['cpu']}")
    about.append(f"processor time so far: {format_duration(found['seconds'])}")
    if found["costs"] is not None:
        error = 100 * found["costs"]["error"]
        about.append(f"seconds by a model of {found['costs']['timed']} cells, median error {error:.1f}%")
    for name, value in found["agreement"].items():
        about.append(f"Spearman's rank correlation, {name}: {value['spearman']:.3f} on {value['cells']:,} cells")
    return about


def _query(given) -> int:
    if not given.cells:
        raise InputError("name a cell, such as: autometa table query 0c1m")
    opened = tables.table(given.name, file=given.file)
    found = [opened.query(cell) for cell in given.cells]
    if given.json:
        print_json([{**vars(cell), "seeds": {str(s): t for s, t in cell.seeds.items()}} for cell in found])
        return 0
    rows = [["cell", "1/8", "1/4", "1/2", "end", "test", "seeds", "parameters", "MACs", "seconds"]]
    for cell in found:
        accuracies = [f"{value:.2f}" for value in (*cell.validation, cell.test)]
        sizes = [str(len(cell.seeds)), f"{cell.parameters:,}", f"{cell.macs:,}", f"{cell.seconds[-1]:.2f}"]
        rows.append([cell.key, *accuracies, *sizes])
    put(columns(rows, right=tuple(range(1, 10))))
    return 0


def _export(given) -> int:
    opened = tables.table(given.name, file=given.file)
    if given.csv is None:
        put(opened.csv_lines())
    else:
        tables.export_table(opened, Path(given.csv))
        if not given.quiet:
            say(f"{len(opened.kept.rows):,} trainings written to {shown(Path(given.csv))}")
    return 0


def _pack(given) -> int:
    path, rows, checksum = tables.pack_table(given.name, given.out, given.to)
    if given.json:
        print_json({"file": path, "trainings": rows, "sha256": checksum})
    else:
        size = path.stat().st_size / 1000
        put([f"{rows:,} trainings packed into {shown(path)}, {size:,.0f} kB, sha256 {checksum}"])
    return 0


def _costs(given) -> int:
    found = tables.time_cells(given.name, given.out)
    if given.json:
        print_json(found)
    else:
        put([f"{found.timed} cells timed; half of them predicted from the others within {100 * found.error:.1f}%"])
    return 0


_COMMANDS = {
    "build": _build,
    "status": _status,
    "query": _query,
    "export": _export,
    "pack": _pack,
    "costs": _costs,
}

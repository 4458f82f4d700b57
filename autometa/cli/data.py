"""`data prepare`, `verify`, `info` and `download`: what a person's images are, and their conversion."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from autometa.api.datasets import Described, data_info, prepare_data, verify_data
from autometa.cli.options import Parser, whole
from autometa.cli.output import print_json, put
from autometa.cli.show import columns
from autometa.data.download import download
from autometa.errors import InputError
from autometa.printable import printable
from autometa.runs.files import say
from autometa.runs.progress import progress

WHAT = ("prepare", "verify", "info", "download")
EXAMPLES = """  autometa data info photos                     what it is, its classes and split
  autometa data prepare mini-imagenet.zip       converted once, into AUTOMETA_CACHE
  autometa data prepare photos --skip-bad       leave out what cannot be read, and say so
  autometa data verify photos                   read every image, name those that are damaged
  autometa data download omniglot --to data     only when asked for, by this command"""


def data(words: list[str], typed: list[str]) -> int:
    """`autometa data prepare|verify|info PATH`: exit code 1 where `verify` finds damage."""
    parser = Parser("data", "Recognise, convert and check data sets and folders of your own photos.", EXAMPLES)
    parser.add_argument("what", choices=WHAT, metavar="|".join(WHAT))
    parser.add_argument("path", metavar="PATH", help="folder, archive, table, a store made before; or what to download")
    parser.add_argument("--to", default=".", metavar="DIR", help="where a download goes (default: here)")
    parser.add_argument("--size", type=whole, metavar="N", help="pixels a side (default: as a search takes them)")
    parser.add_argument("--variant", metavar="NAME", help="ink (dark on light becomes 255 on 0), grey or colour")
    parser.add_argument("--skip-bad", action="store_true", help="leave out images that cannot be read")
    parser.add_argument("--force", action="store_true", help="take classes that stand in several parts, split by hash")
    given = parser.parse(words, "json", "quiet")
    if given.what != "prepare" and (given.size or given.variant or given.skip_bad):
        raise InputError(f"--size, --variant and --skip-bad belong to data prepare, not to data {given.what}")
    if given.what == "download":
        return _download(given.path, given.to, given.quiet)
    counted = _bar(given.quiet)
    if given.what == "verify":
        found = verify_data(given.path, force=given.force, progress=counted)
        print_json(found) if given.json else put(_verdict(found, given.path))
        return 1 if found["bad"] else 0
    if given.what == "info":
        about = data_info(given.path, force=given.force)
    else:
        options = {"size": given.size, "variant": given.variant, "skip_bad": given.skip_bad, "force": given.force}
        about = prepare_data(given.path, progress=counted, **options)
    print_json(about) if given.json else put(_described(about, given.path))
    return 0


def _download(name: str, folder: str, quiet: bool) -> int:
    with progress(None, 0, "", say, quiet=quiet, unit="B", unit_scale=True) as bar:

        def told(have: int, total: int | None, file: str) -> None:
            bar.set_description(printable(file), refresh=False)
            bar.total, bar.n = total, have
            bar.refresh()

        files = download(name, folder, told)
    following = f"Next        autometa data prepare {shlex.quote(folder)}"
    put([*(f"Have        {file}" for file in files), following])
    return 0


def _bar(quiet: bool):
    def counted(items: Iterable, total: int, doing: str) -> Iterable:
        with progress(total, 0, doing, say, quiet=quiet, unit="image") as bar:
            for item in items:
                yield item
                bar.update()

    return counted


def _described(about: Described, path: str) -> list[str]:
    low, high = about.images_per_class
    each = f"{low}" if low == high else f"{low} to {high}"
    parts = ", ".join(f"{count} {part}" for part, count in about.classes.items())
    rows = [
        ["Recognised", f"{about.format}: {about.name}"],
        ["Split", about.split],
        ["Classes", parts],
        ["Images", f"{about.images}, {each} per class"],
    ]
    if about.store:
        rows.append(["Store", f"{about.store}  (sha256 {about.data_hash[:16]}...)"])
    if about.notice:
        rows.append(["Forced", about.notice])
    rows += [["Left out", told] for told in about.skipped]
    if about.notice and not about.store:
        following = f"autometa data prepare {shlex.quote(path)} --force"
    else:
        following = f"autometa search metanas {about.option}"
    return [*columns(rows, indent=""), f"Next        {following}"]


def _verdict(found: dict, path: str) -> list[str]:
    lines = [*found["bad"], f"{found['checked']} images checked, {len(found['bad'])} damaged"]
    return [*lines, f"Next        autometa data prepare {shlex.quote(path)} --skip-bad"] if found["bad"] else lines

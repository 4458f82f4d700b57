"""The Debian packages of the fonts that `fonts:PATTERN` finds: versions, licences, hashes, as a table in Markdown.

    python -m benchmarks.font_packages [PATTERN]

A package's hash is the SHA-256 of the SHA-256 of its font files, sorted, a line each. Fonts of no package are listed by
their folder.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import subprocess
from pathlib import Path

from autometa.data.fonts import Font, find_fonts

LISTS = Path("/var/lib/dpkg/info")
LICENCE = re.compile(r"^License:[ \t]*(\S[^\n]*)$", re.MULTILINE)
OWN_WORDS = {
    "SIL Open Font License": "OFL",
    "SIL OPEN FONT LICENSE": "OFL",
    "GNU General Public License": "GPL",
    "Apache License": "Apache",
    "public domain": "public domain",
    "GUST Font License": "GUST Font License",
    "Bitstream Vera": "Bitstream Vera",
    "IPA Font License": "IPA",
}
"""What licences are called in files that do not name them by a keyword."""


def owners() -> dict[str, str]:
    """Path of every installed font file -> its package."""
    found = {}
    for listed in LISTS.glob("*.list"):
        for line in listed.read_text(encoding="utf-8", errors="replace").splitlines():
            if "font" in line:
                found[str(Path(line).resolve())] = listed.stem.partition(":")[0]
    return found


def version(package: str) -> str:
    return subprocess.run(
        ["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True, text=True, check=False
    ).stdout


def licence(package: str) -> str:
    """As the package's copyright file names it."""
    try:
        text = Path("/usr/share/doc", package, "copyright").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "not told"
    named = {name.strip() for name in LICENCE.findall(text)}
    if not named:
        named = {short for words, short in OWN_WORDS.items() if words in text}
    return ", ".join(sorted(named, key=str.casefold)) or "see its copyright file"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pattern", nargs="?", default="*")
    packages, known = {}, owners()
    for font in find_fonts(parser.parse_args().pattern):
        packages.setdefault(known.get(str(font.path.resolve()), str(font.path.parent)), []).append(font)
    print("| package | version | licences | fonts | hash |\n|---|---|---|---|---|")
    for package in sorted(packages):
        fonts: list[Font] = packages[package]
        digest = hashlib.sha256("\n".join(sorted(font.sha256 for font in fonts)).encode()).hexdigest()
        known_version = "" if "/" in package else version(package)
        print(f"| {package} | {known_version} | {licence(package)} | {len(fonts)} | {digest[:16]} |")


if __name__ == "__main__":
    main()

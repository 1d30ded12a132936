"""How to cite a page: at its foot author, version, commit, dates and licence, and the same as BibTeX."""

from __future__ import annotations

import html
import re
import subprocess
from datetime import UTC, datetime

from vlmnb import paths
from vlmnb.files import plain_yaml

_BLOCK = re.compile(r'<details class="vlmnb-cite">.*?</details>\n', re.DOTALL)
_FOOT = '<footer class="bd-footer-content">'


def text() -> tuple[str, str]:
    """Return a line to cite, and BibTeX; without the commit where the project's folder is no git checkout.

    A ``doi`` in CITATION.cff is in both.
    """
    of = plain_yaml.load(paths.root() / "CITATION.cff")
    authors = _begun(", ".join(author["name"] for author in of["authors"]))
    title = _begun(str(of["title"]).partition(": ")[2] or str(of["title"]))
    version = f"vlmnb {of['version']}" + (f", {commit}" if (commit := _commit()) else "")
    built = datetime.now(UTC).date().isoformat()
    doi, licence = of.get("doi", ""), of["license"]
    fields = {
        "author": f"{{{authors}}}",
        "title": title,
        "note": f"{version}, built {built}, licence {licence}",
        "year": commit[-10:-6] or built[:4],
        "doi": doi,
    }
    named = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items() if value)
    said = f"{authors}: {title}. {version}. Built {built}. Licence: {licence}."
    return said + f" https://doi.org/{doi}" * bool(doi), f"@misc{{vlmnb,\n{named}\n}}"


def _begun(words: str) -> str:
    return words[:1].upper() + words[1:]


def cited(page: str, said: str, bibtex: str = "") -> str:
    """Return a page's HTML with this citation at its foot, in place of an older one."""
    more = "With a number, name also the key of the record that it links to."
    shown = f"<p>{html.escape(said)} {more}</p>"
    if bibtex:
        shown += f"<pre>{html.escape(bibtex)}</pre>"
    block = f'<details class="vlmnb-cite"><summary>How to cite this page</summary>{shown}</details>\n'
    return _BLOCK.sub("", page).replace(_FOOT, block + _FOOT, 1)


def _commit() -> str:
    """Return the commit of the checkout, whether files were changed since, and its date at the end."""
    if not (paths.root() / ".git").exists():
        return ""
    try:
        changed = bool(_git("status", "--porcelain", "--untracked-files=no"))
        return _git("log", "-1", f"--format=commit %h{' with local changes' * changed}, %cs")
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(*words: str) -> str:
    command = ["git", "-C", str(paths.root()), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

"""How to cite a page: a folded line at its foot with the version, the commit and the commit's date."""

from __future__ import annotations

import html
import re
import subprocess

from vlmnb import paths
from vlmnb.files import plain_yaml

_BLOCK = re.compile(r'<details class="vlmnb-cite">.*?</details>\n', re.DOTALL)
_FOOT = '<footer class="bd-footer-content">'


def text() -> str:
    """Return what to cite; without the commit where the project's folder is no git checkout."""
    of = plain_yaml.load(paths.root() / "CITATION.cff")
    authors = ", ".join(author["name"] for author in of["authors"])
    title = str(of["title"]).partition(": ")[2] or of["title"]
    where = f", {commit}" if (commit := _commit()) else ""
    return (
        f"{authors[:1].upper()}{authors[1:]}: {title[:1].upper()}{title[1:]}. vlmnb {of['version']}{where}."
    )


def cited(page: str, said: str) -> str:
    """Return a page's HTML with this citation at its foot, in place of an older one."""
    more = "With a number, name also the key of the record that it links to."
    shown = f"<p>{html.escape(said)} {more}</p>"
    block = f'<details class="vlmnb-cite"><summary>How to cite this page</summary>{shown}</details>\n'
    return _BLOCK.sub("", page).replace(_FOOT, block + _FOOT, 1)


def _commit() -> str:
    """Return the commit of the checkout and its date, and whether files were changed since."""
    if not (paths.root() / ".git").exists():
        return ""
    try:
        commit = _git("log", "-1", "--format=commit %h, %cs")
        return commit + " with local changes" * bool(_git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(*words: str) -> str:
    command = ["git", "-C", str(paths.root()), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

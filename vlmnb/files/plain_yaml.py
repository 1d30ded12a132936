"""YAML written by hand: plain values only, every mistake with its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from vlmnb.errors import Place, UserError

MOST_DIGITS = 18
"""Of a number: what fits 64 bits, and less than Python refuses to read."""

LONGEST_BYTES = 1_000_000
"""A sweep file is a page of text; a larger file is another file by mistake."""

MOST_VALUES = 100_000
"""Values after every alias is written out. A few lines of aliases of aliases can stand for billions."""

_PLAIN = {
    f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "map", "seq", "merge")
}


def load(path: Path) -> Any:
    """The content of a YAML file.

    Raises:
        UserError: The file cannot be read, is too long, or is no plain YAML: a key given twice, a tag, a
            date, aliases that blow up. The message names file and line.
    """
    node = _tree(path)
    if node is None:
        return None
    try:
        return yaml.SafeLoader("").construct_document(node)
    except yaml.YAMLError as error:
        raise _told(path, error, node) from None


def located(path: Path, error: UserError) -> UserError:
    """The error with the file and, where its place is known, the line in front of its message."""
    message = str(error)
    if message.startswith(str(path)):
        return error
    return UserError(f"{path}{_line(path, error.place)}: {message}", error.place)


def _line(path: Path, place: Place) -> str:
    try:
        node = _tree(path)
    except UserError:
        return ""
    line = None
    for step in place:
        found = _step(node, step)
        if found is None:
            break
        node, line = found
    return "" if line is None else f", line {line}"


def _step(node: yaml.Node | None, step: str | int) -> tuple[yaml.Node, int] | None:
    """The value under a key or at a position, and the line on which it begins."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(step):
                return value, key.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step], node.value[step].start_mark.line + 1
    return None


def _tree(path: Path) -> yaml.Node | None:
    """The checked node tree of a file."""
    try:
        if not path.is_file():
            there = f"{path} is a folder" if path.is_dir() else f"{path} is no file that can be read again"
            raise UserError(there if path.exists() else f"there is no file {path}")
        size = path.stat().st_size
        if size > LONGEST_BYTES:
            raise UserError(
                f"{path} has {size / 1e6:.0f} MB; a sweep file has at most 1 MB. Is it another file?"
            )
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise UserError(f"{path}, line {line}: this is no UTF-8 text") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise UserError(f"{path}, line {line}: a character that YAML does not allow") from None
    except yaml.YAMLError as error:
        raise _told(path, error) from None
    except RecursionError:
        raise UserError(f"{path}: nested too deeply for a sweep file") from None
    if node is not None:
        _check(path, node)
    return node


def _check(path: Path, root: yaml.Node) -> None:
    """Refuse keys given twice, tags, and aliases that contain themselves or blow up."""
    sizes: dict[int, int] = {}
    within: set[int] = set()

    def size(node: yaml.Node) -> int:
        at = f"{path}, line {node.start_mark.line + 1}"
        if id(node) in within:
            raise UserError(f"{at}: an alias that contains itself")
        if id(node) in sizes:
            return sizes[id(node)]
        if node.tag not in _PLAIN:
            kind = node.tag.removeprefix("tag:yaml.org,2002:")
            advice = "write dates in quotes" if kind == "timestamp" else "sweep files have plain values only"
            raise UserError(f"{at}: {kind} is not allowed here; {advice}")
        if node.tag == "tag:yaml.org,2002:int" and len(node.value) > MOST_DIGITS:
            raise UserError(
                f"{at}: a number of {len(node.value)} digits; no sweep needs more than {MOST_DIGITS}"
            )
        within.add(id(node))
        children = node.value if isinstance(node, yaml.SequenceNode) else []
        if isinstance(node, yaml.MappingNode):
            children = [part for pair in node.value for part in pair]
            _unique(path, node)
        total = 1 + sum(size(child) for child in children)
        within.discard(id(node))
        if total > MOST_VALUES:
            raise UserError(f"{at}: stands for more than {MOST_VALUES} values, too many for a sweep file")
        sizes[id(node)] = total
        return total

    try:
        size(root)
    except RecursionError:
        raise UserError(f"{path}: nested too deeply for a sweep file") from None


def _unique(path: Path, node: yaml.MappingNode) -> None:
    seen: set[str] = set()
    for key, _ in node.value:
        at = f"{path}, line {key.start_mark.line + 1}"
        if not isinstance(key, yaml.ScalarNode):
            raise UserError(f"{at}: this is no valid YAML for a sweep: a list or a mapping as a key")
        if key.value in seen:
            raise UserError(f"{at}: key {key.value!r} stands twice")
        seen.add(key.value)


def _told(path: Path, error: yaml.YAMLError, node: yaml.Node | None = None) -> UserError:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    mark = mark or (node.start_mark if node is not None else None)
    line = f", line {mark.line + 1}" if mark else ""
    said = " ".join(str(getattr(error, "problem", None) or getattr(error, "context", None) or error).split())
    return UserError(f"{path}{line}: this is no valid YAML: {said}")

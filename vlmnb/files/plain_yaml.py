"""YAML written by hand: plain values only, and every mistake with its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from vlmnb.errors import Place, UserError, one_line

_PLAIN = {
    f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "map", "seq", "merge")
}

_FAST: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Ten times as fast, where PyYAML has it; its errors say less."""


def load(path: Path) -> Any:
    """Return the content of a YAML file.

    Raises:
        UserError: The file cannot be read or is no plain YAML: a key given twice, a tag, a date. The message
            names file and line.
    """
    node = _tree(path)
    if node is None:
        return None
    try:
        return yaml.SafeLoader("").construct_document(node)
    except yaml.YAMLError as error:
        raise _no_yaml(path, error, node) from None
    except ValueError as error:  # Python reads no number of more than 4300 digits
        raise UserError(f"{path}: this is no valid YAML: {one_line(error)}") from None


def located(path: Path, error: UserError) -> UserError:
    """Return the error with file and, if its place is known, line in front of its message."""
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
    """Return the value under a key or at a position, and the line on which it begins."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(step):
                return value, key.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step], node.value[step].start_mark.line + 1
    return None


def _tree(path: Path) -> yaml.Node | None:
    """Return the checked nodes of a file; None if it is empty."""
    if not path.exists():
        raise UserError(f"there is no file {path}")
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "no file that can be read again"
        raise UserError(f"{path} is {kind}")
    try:
        text = path.read_text(encoding="utf-8")
        node = _composed(text)
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise UserError(f"{path}, line {line}: this is no UTF-8 text") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise UserError(f"{path}, line {line}: a character that YAML does not allow") from None
    except yaml.YAMLError as error:
        raise _no_yaml(path, error) from None
    if node is not None:
        _check(path, node, set())
    return node


def _composed(text: str) -> yaml.Node | None:
    try:
        return yaml.compose(text, Loader=_FAST)
    except yaml.YAMLError:
        return yaml.compose(text, Loader=yaml.SafeLoader)


def _check(path: Path, node: yaml.Node, checked: set[int]) -> None:
    """Refuse tags, dates, and keys given twice, in a node and all within it; each node is checked once."""
    if id(node) in checked:
        return
    checked.add(id(node))
    if node.tag not in _PLAIN:
        kind = node.tag.removeprefix("tag:yaml.org,2002:")
        advice = "write dates in quotes" if kind == "timestamp" else "sweep files have plain values only"
        raise UserError(f"{_at(path, node)}: {kind} is not allowed here; {advice}")
    children = node.value if isinstance(node, yaml.SequenceNode) else []
    if isinstance(node, yaml.MappingNode):
        children = [part for pair in node.value for part in pair]
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise UserError(
                    f"{_at(path, key)}: this is no valid YAML for a sweep: a list or a mapping as a key"
                )
            if key.value in seen:
                raise UserError(f"{_at(path, key)}: key {key.value!r} is given twice")
            seen.add(key.value)
    for child in children:
        _check(path, child, checked)


def _at(path: Path, node: yaml.Node) -> str:
    return f"{path}, line {node.start_mark.line + 1}"


def _no_yaml(path: Path, error: yaml.YAMLError, node: yaml.Node | None = None) -> UserError:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    mark = mark or (node.start_mark if node is not None else None)
    line = f", line {mark.line + 1}" if mark else ""
    said = getattr(error, "problem", None) or getattr(error, "context", None) or error
    return UserError(f"{path}{line}: this is no valid YAML: {one_line(said)}")

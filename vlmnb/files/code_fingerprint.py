"""Hash what code does: the definitions and templates in folders of the package, wherever in them each is.

Imports, comments and docstrings do not count, nor does the module that holds a definition: moving a function,
renaming a module or rewording a docstring changes nothing; changing a number or a statement does.

Parsing takes seconds, so the hashes of each module's definitions are kept in a file of the user's cache
(:func:`vlmnb.paths.parsed_code`), by the content of the module.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

from vlmnb import paths
from vlmnb.files import hashing

PACKAGE = Path(__file__).parents[1]

_PARSING = threading.Lock()
"""Python 3.11 can raise a SystemError where two threads parse at once, and runs on GPUs are threads."""


@functools.cache
def of(folders: tuple[str, ...], package: Path = PACKAGE) -> str:
    """Return the hash of all definitions and templates in folders of the package, subfolders included.

    Args:
        folders: Folders or single modules, relative to the package and without ``.py``, such as ``stats``
            or ``spec/optimizations``.
        package: Folder of the package.

    Raises:
        FileNotFoundError: There is no such folder or module.
    """
    known = _known(package)
    found: set[str] = set()
    for folder in folders:
        files = sorted((package / folder).rglob("*.py"))
        module = package / f"{folder}.py"
        files += [module] if module.exists() else []
        if not files:
            raise FileNotFoundError(f"{package} has neither a folder nor a module {folder}")
        for file in files:
            found.update(known[file])
        data = [*(package / folder).rglob("templates/*"), *(package / folder).rglob("*.yaml")]
        found.update(hashing.digest_of(file.read_text(encoding="utf-8")) for file in data)
    return hashing.digest_of("".join(sorted(found)))


@functools.cache
def _known(package: Path) -> dict[Path, tuple[str, ...]]:
    """Return the hashes of the definitions in each module; of an unchanged module from the cache."""
    sources = {file: file.read_text(encoding="utf-8") for file in sorted(package.rglob("*.py"))}
    modules = _modules(package)
    reader = hashing.digest_of(f"{Path(__file__).read_text(encoding='utf-8')}{sys.version}{sorted(modules)}")
    cache, kept = paths.parsed_code() / f"{reader}.json", {}
    with contextlib.suppress(OSError, ValueError):
        kept = json.loads(cache.read_text(encoding="utf-8"))
    digests = {file: hashing.digest_of(source, 32) for file, source in sources.items()}
    made = {
        digest: kept[digest] if digest in kept else _definitions(sources[file], modules)
        for file, digest in digests.items()
    }
    if made.keys() != kept.keys():
        with contextlib.suppress(OSError):  # a cache that cannot be written is no error
            cache.parent.mkdir(parents=True, exist_ok=True)
            scratch = cache.with_suffix(f".{os.getpid()}")
            scratch.write_text(json.dumps(made), encoding="utf-8")
            scratch.replace(cache)
    return {file: tuple(made[digest]) for file, digest in digests.items()}


@functools.cache
def _modules(package: Path) -> frozenset[str]:
    """Return the dotted names of all modules and folders of the package."""
    found = {package.name}
    for file in package.rglob("*.py"):
        place = file.relative_to(package.parent)
        found.update(".".join(path.with_suffix("").parts) for path in (place, *place.parents[:-1]))
    return frozenset(found)


def _definitions(source: str, modules: frozenset[str]) -> tuple[str, ...]:
    """Return the hash of each top-level statement of a module that is not an import or a docstring."""
    with _PARSING:
        tree = ast.parse(source)
        stripped = _Stripped(modules, _imported(tree.body)).visit(tree)
        return tuple(hashing.digest_of(ast.unparse(node)) for node in stripped.body)


class _Stripped(ast.NodeTransformer):
    """Drops imports and docstrings, and names what was imported without its module.

    A function of the package is named alone, so that it may move; anything else by its full dotted name, so
    that ``median`` of another library is not mistaken for ours.
    """

    def __init__(self, modules: frozenset[str], imported: dict[str, str]) -> None:
        self._modules = modules
        self._root = min(modules, key=len)
        self._scopes = [imported]

    def visit_Import(self, node: ast.Import) -> None:
        """Drop it."""

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """Drop it."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        """Drop docstrings, also those of attributes."""
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_text else self.generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST | None:
        """Drop a block that held nothing but imports."""
        self.generic_visit(node)
        return node if node.body or node.orelse else None

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """Replace an imported name by the name it has where it is defined."""
        meaning = self._meaning(node.id)
        if not meaning:
            return node
        own = meaning.split(".")[0] == self._root
        return ast.Name(meaning.rpartition(".")[2] if own else meaning, node.ctx)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        """Leave out a module of the package before the name of what it defines."""
        if self._module(node.value):
            return ast.Name(node.attr, node.ctx)
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """Visit the body with the function's own names; decorators, defaults and types without them."""
        node.decorator_list = [self.visit(each) for each in node.decorator_list]
        node.args = self.visit(node.args)
        node.returns = self.visit(node.returns) if node.returns else None
        self._scopes.append(_bound(node))
        node.body = [kept for each in node.body if (kept := self.visit(each)) is not None]
        self._scopes.pop()
        return node

    visit_AsyncFunctionDef: Any = visit_FunctionDef

    def _scoped(self, node: ast.AST) -> ast.AST:
        self._scopes.append(_bound(node))
        self.generic_visit(node)
        self._scopes.pop()
        return node

    visit_Lambda = visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _scoped

    def _meaning(self, name: str) -> str:
        """Return the dotted name of what was imported under a name; empty for any other name."""
        return next((scope[name] for scope in reversed(self._scopes) if name in scope), "")

    def _module(self, node: ast.AST) -> str:
        """Return the dotted name of the package's module that an expression names, or nothing."""
        if isinstance(node, ast.Name):
            name = self._meaning(node.id)
        elif isinstance(node, ast.Attribute) and (parent := self._module(node.value)):
            name = f"{parent}.{node.attr}"
        else:
            return ""
        return name if name in self._modules else ""


def _bound(scope: ast.AST) -> dict[str, str]:
    """Return the names that a function or comprehension binds; the imported ones with what they mean."""
    found: dict[str, str] = {}
    imports: list[ast.stmt] = []
    for node in ast.walk(scope):
        if isinstance(node, ast.Name):
            if not isinstance(node.ctx, ast.Load):
                found[node.id] = ""
        elif isinstance(node, ast.arg):
            found[node.arg] = ""
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            imports.append(node)
        elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)) and node.name:
            found[node.name] = ""
    return found | _imported(imports)


def _imported(nodes: list[ast.stmt]) -> dict[str, str]:
    """Return what names stand for after the import statements among nodes."""
    found: dict[str, str] = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                root = alias.name.split(".")[0]
                found[alias.asname or root] = alias.name if alias.asname else root
        elif isinstance(node, ast.ImportFrom) and node.module != "__future__":
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return found

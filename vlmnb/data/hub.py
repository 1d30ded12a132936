"""Rows of the data sets on the Hub: a seeded choice that reads only the row groups it needs.

The files are Parquet. Their unit of reading is the row group (about a hundred rows with images), so the
choice is made in two steps: row groups in a seeded order, and of each a seeded half of its rows, until
there are enough. Every row with an image can be reached; 300 samples touch about six row groups. Should
all halves not suffice, the other halves follow in the same order. A larger choice begins with the smaller
one of the same seed.

Where the rows come from, first match wins: rows chosen earlier (kept in the Hub's cache folder), a folder
given by ``VLMNB_DATA``, the Hub's local cache, the Hub itself by range requests. Local files are read by
pyarrow, which needs no cache folder; what the Hub has is read by datasets.
"""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import yaml

from vlmnb import paths
from vlmnb.data import pictures
from vlmnb.data.rows import BadRow, Row
from vlmnb.errors import UserError, one_line
from vlmnb.files import hashing
from vlmnb.types import Frozen

CHOICE = 1
"""Version of the rule by which rows are chosen; kept rows of another version are not used."""

REQUEST_TIMEOUT_S = 10.0
"""Timeout of the first request to the Hub."""

ID = "vlmnb_id"
"""Column of the kept rows that holds ``<row group>.<row>``, a row's place in the split."""

Values = dict[str, Any]
Group = tuple[str, int, Callable[[], list[Values]]]
"""A row group: its file, the number of its first row there, and what reads its rows."""


class HubSet(Frozen):
    """A data set on the Hub.

    Attributes:
        repository: ``owner/name`` on the Hub.
        commit: The pinned revision, a full commit hash.
        split: Name of the split, for pages and messages.
        files: Pattern of the split's Parquet files within the repository.
        columns: The columns that are read; nothing else is fetched.
        usable: Rows of the split that are chosen from.
        only: Chosen are only rows with an image (``pictured``) or without (``text``), where there are both.
        stand_in: Bundled data set with the same columns.
    """

    name: str
    repository: str
    commit: str
    split: str
    files: str
    columns: tuple[str, ...]
    usable: int
    only: Literal["", "pictured", "text"] = ""
    stand_in: str

    @property
    def pinned(self) -> str:
        """Return what identifies the rows of the pinned commit."""
        return f"{self.repository}@{self.commit}:{self.split}"

    @property
    def download(self) -> str:
        """Return the command that fetches the split for use without network."""
        return (
            f"hf download {self.repository} --repo-type dataset --revision {self.commit} "
            f"--include '{self.files}'"
        )


SETS = {
    name: HubSet(name=name, **entry)
    for name, entry in yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf-8")).items()
}


def revision(source: HubSet) -> str:
    """Identify the content without network: repository, commit and split.

    A folder given by ``VLMNB_DATA`` need not hold the pinned commit; it is identified by the content of its
    files and of the pictures that they name.
    """
    files = _in_folder(source)
    if not files:
        return source.pinned
    beside = sorted({picture for file in files for picture in _pictures_beside(file)})
    content = hashing.digest([(file.name, hashing.of_file(file)) for file in [*files, *beside]])
    return f"{source.repository}@folder-{content}:{source.split}"


def choose(source: HubSet, samples: int, seed: int) -> list[Row]:
    """Return a seeded choice of rows in a fixed order.

    It depends only on the files and the seed: no library's random numbers are used.

    Raises:
        UserError: There are too few rows, a column is missing, or the data is neither here nor on the Hub.
    """
    if samples > source.usable:
        raise UserError(
            f"{source.name} has {source.usable} usable samples, {samples} were asked for; "
            "ask for at most that many"
        )
    _check_folder(source)
    own = _in_folder(source)
    kept = None if own else _kept(source, seed, samples)
    if kept is not None:
        return kept
    chosen: list[Row] = []
    local = own or _in_cache(source)
    for row in _in_seeded_order(source, _local_groups(source, local) if local else _hub_groups(source), seed):
        chosen.append(row)
        if len(chosen) == samples:
            break
    else:
        raise UserError(
            f"{source.name}: the files found hold {len(chosen)} usable samples, {samples} were asked "
            "for; ask for at most that many"
        )
    if not local:
        # If the cache folder cannot be written, the rows are read again; the measurement goes on.
        with contextlib.suppress(OSError):
            _keep(source, seed, chosen)
    return chosen


def _in_seeded_order(source: HubSet, groups: Sequence[Group], seed: int) -> Iterator[Row]:
    """Yield the rows to choose from: the first half of every row group in turn, then the other halves."""
    order = sorted(range(len(groups)), key=lambda index: _rank(seed, "group", index))
    for half in (0, 1):
        for group in order:
            file, first, read = groups[group]
            rows = {i: row for i, row in enumerate(read()) if _wanted(source, row)}
            ranked = sorted(rows, key=lambda index: _rank(seed, f"row {group}", index))
            middle = (len(ranked) + 1) // 2
            for index in ranked[middle:] if half else ranked[:middle]:
                yield Row(f"{group}.{index}", rows[index], file, first + index)


def _rank(seed: int, what: str, index: int) -> bytes:
    return hashlib.sha256(f"{seed} {what} {index}".encode()).digest()


def _wanted(source: HubSet, row: Values) -> bool:
    return not source.only or _has_image(row) == (source.only == "pictured")


def _has_image(row: Values) -> bool:
    image = row["image"]
    return (
        any(value is not None for value in image.values()) if isinstance(image, dict) else image is not None
    )


def _check_folder(source: HubSet) -> None:
    """Refuse a folder given by ``VLMNB_DATA`` that must be a mistake, instead of ignoring it.

    A folder with other data sets and without this one is fine: this one may be in the cache.

    Raises:
        UserError: There is no such folder, or the data set's own folder in it holds none of its files.
    """
    given = paths.data_folder()
    if given is None:
        return
    if not given.is_dir():
        raise UserError(f"VLMNB_DATA is {given}, which is no folder; correct it or unset it")
    own = given / source.repository
    if own.is_dir() and not _in_folder(source):
        raise UserError(
            f"{source.name}: {own} holds no file {source.files}; copy them there ({source.download}), or "
            "remove that folder"
        )


def _local_groups(source: HubSet, files: Sequence[Path]) -> list[Group]:
    """Return the row groups of files on this machine; until they are read only footers are."""
    import pyarrow.parquet

    def read(opened: Any, index: int) -> list[Values]:
        rows: list[Values] = opened.read_row_group(index, list(source.columns)).to_pylist()
        return rows

    groups: list[Group] = []
    types: dict[str, tuple[str, Path]] = {}
    for path in files:
        opened = _reading(source, partial(pyarrow.parquet.ParquetFile, path), path)
        _check_columns(source, str(path), opened.schema_arrow.names)
        for column in source.columns:
            kind = _kind(opened.schema_arrow.field(column).type)
            other, before = types.setdefault(column, (kind, path))
            if other != kind:
                raise UserError(
                    f"{source.name}: the column {column} is {other} in {before} and {kind} in {path}; write "
                    "both files with the same type"
                )
        first = 0
        for index in range(opened.num_row_groups):
            groups.append((path.name, first, partial(_reading, source, partial(read, opened, index), path)))
            first += opened.metadata.row_group(index).num_rows
    return groups


def _kind(type_: Any) -> str:
    """Describe the type of a column; what its values do not show is left out: widths, names, encodings."""
    kind = re.sub(r"u?int\d+|halffloat|float|double|decimal\d+\([^)]*\)", "number", str(type_))
    kind = re.sub(r"(?<=: )null", "string", kind)
    kind = re.sub(r"dictionary<values=(\w+),[^>]*>", r"\1", kind)
    kind = re.sub(r"large_|_view| not null|fixed_size_|(?<=<)\w+: (?=[^<>,]+>)|(?<=>)\[\d+\]", "", kind)
    return kind


def _check_columns(source: HubSet, file: str, names: Sequence[str]) -> None:
    missing = [name for name in source.columns if name not in names]
    if missing:
        raise UserError(
            f"{source.name}: {file} has no column {', '.join(missing)}; it has {', '.join(names)}; expected "
            f"is {source.repository} at {source.commit}"
        )


def _hub_groups(source: HubSet) -> list[Group]:
    """Return the row groups of the files on the Hub, read by range requests."""
    import datasets

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    files = _on_hub(source)
    load = partial(datasets.load_dataset, "parquet", data_files=files, split="train", streaming=True)
    _check_columns(source, files[0], list(_reading(source, load).features))
    stream = _reading(source, lambda: load(columns=list(source.columns)).decode(False).reshard())
    total = stream.num_shards

    def read(index: int) -> list[Values]:
        rows: list[Values] = _reading(source, lambda: list(stream.shard(total, index)))
        return rows

    return [(f"row group {index}", 0, partial(read, index)) for index in range(total)]


def _in_folder(source: HubSet) -> list[Path]:
    folder = paths.data_folder()
    return sorted((folder / source.repository).glob(source.files)) if folder else []


def _in_cache(source: HubSet) -> list[Path]:
    """Return the files of the split in the Hub's local cache, if it is complete."""
    found = sorted(_snapshot(source).glob(source.files))
    # The names say how many files there are: "val-00000-of-00002.parquet".
    of = {part for path in found for part in path.stem.split("-of-")[1:]}
    whole = len(found) == int(next(iter(of)).split("-")[0]) if len(of) == 1 else bool(found)
    return found if whole else []


def _snapshot(source: HubSet) -> Path:
    """Return the folder of the pinned revision in the Hub's local cache."""
    from huggingface_hub import constants

    repository = f"datasets--{source.repository.replace('/', '--')}"
    return Path(constants.HF_HUB_CACHE) / repository / "snapshots" / source.commit


def _on_hub(source: HubSet) -> list[str]:
    from huggingface_hub import HfApi, constants

    if constants.HF_HUB_OFFLINE:
        raise _out_of_reach(source, "HF_HUB_OFFLINE is set")
    ask = partial(HfApi().dataset_info, source.repository, revision=source.commit, timeout=REQUEST_TIMEOUT_S)
    info = _reading(source, ask)
    found = fnmatch.filter(sorted(file.rfilename for file in info.siblings or ()), source.files)
    if not found:
        raise _out_of_reach(source, "the Hub has none")
    return [f"hf://datasets/{source.repository}@{source.commit}/{name}" for name in found]


def _reading(source: HubSet, read: Callable[[], Any], file: Path | None = None) -> Any:
    """Return what is read from a file, or from the Hub, and say why it cannot be."""
    try:
        return read()
    except Exception as error:  # as many kinds as there are ways to be damaged or out of reach
        said = f"{type(error).__name__}: {one_line(error, 200)}"
        if file is None:
            status = getattr(getattr(error, "response", None), "status_code", None)
            advice = _ADVICE.get(status or getattr(error, "errno", None), "")
            raise _out_of_reach(source, f"the Hub: {said}", advice.format(source)) from None
        if isinstance(error, OSError) and error.errno:
            raise UserError(f"{source.name}: {file} cannot be read: {error.strerror}") from None
        raise UserError(
            f"{source.name}: {file} is truncated or damaged ({said}); delete it and copy or download it "
            f"again: {source.download}"
        ) from None


def _out_of_reach(source: HubSet, why: str, advice: str = "") -> UserError:
    """Return the error for data that is not here and cannot be had from the Hub, with what would help."""
    given = paths.data_folder()
    places = [f"{given / source.repository} (VLMNB_DATA)"] if given else []
    looked = f"looked for {source.files} in {' and '.join([*places, str(_snapshot(source))])}"
    return UserError(
        f"the data set {source.name} ({source.repository} at {source.commit[:8]}) cannot be read: {looked}, "
        f"then {why}; {advice or f'with network, fetch it once: {source.download}'}; or use the bundled "
        f"stand-in: -p dataset {source.stand_in}"
    )


_ADVICE: dict[int | None, str] = {
    401: "the Hub refuses the token: log in with `hf auth login`, or correct or unset HF_TOKEN",
    403: "this account has no access: ask for it at https://huggingface.co/datasets/{0.repository}",
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "the disk is full: free it, or set HF_HOME to another"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "set HF_HOME to a folder that can be written"),
}
"""What helps, by the Hub's answer or the system's error number."""


def _kept_folder(source: HubSet, seed: int) -> Path:
    return paths.kept_samples(source.name, source.pinned, f"choice-{CHOICE}-seed-{seed}")


def _kept(source: HubSet, seed: int, samples: int) -> list[Row] | None:
    """Return rows chosen earlier for this seed, if there were enough."""
    import pyarrow.parquet

    folder = _kept_folder(source, seed)
    enough = sorted(int(file.stem) for file in folder.glob("*.parquet") if int(file.stem) >= samples)
    if not enough:
        return None
    kept = []
    for row in pyarrow.parquet.read_table(folder / f"{enough[0]}.parquet").to_pylist()[:samples]:
        place = row.pop(ID)
        group, _, index = place.partition(".")
        kept.append(Row(place, row, f"row group {group}", int(index)))
    return kept


def _keep(source: HubSet, seed: int, chosen: Sequence[Row]) -> None:
    """Keep the rows, so that the next cell, also without network, need not read them again."""
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.Table.from_pylist([{ID: row.place, **row.values} for row in chosen])
    with paths.temporary_beside(_kept_folder(source, seed) / f"{len(chosen)}.parquet") as scratch:
        pyarrow.parquet.write_table(table, scratch)


def _pictures_beside(file: Path) -> set[Path]:
    """Return the files on this machine that rows name, instead of holding a picture."""
    import pyarrow.parquet

    names: list[Any] = []
    with contextlib.suppress(Exception):  # reading the rows says what is wrong with the file
        opened = pyarrow.parquet.ParquetFile(file)
        leaves = [opened.schema.column(index) for index in range(len(opened.schema))]
        wanted = [leaf.path for leaf in leaves if leaf.path.split(".")[0] == "image" and leaf.name != "bytes"]
        names = [row["image"] for row in opened.read(columns=wanted).to_pylist()] if wanted else []
    found = set()
    for name in names:
        with contextlib.suppress(BadRow):
            picture = pictures.encoded(name)
            found |= {picture} if isinstance(picture, Path) else set()
    return found

"""Rows of the data sets on the Hub: a seeded choice that reads only the row groups it needs.

The files are Parquet. Their unit of reading is the row group (about a hundred rows with images), so the
choice is made in two steps: row groups in a seeded order, and of each a seeded half of its rows, until
there are enough. Every row with an image can be reached; 300 samples touch about six row groups. Should
all halves not suffice, the other halves follow in the same order. A larger choice begins with the smaller
one of the same seed.

Where the rows come from, first match wins: rows chosen earlier (kept in the Hub's cache folder), a folder
given by ``VLMNB_DATA``, the Hub's local cache, the Hub itself by range requests.
"""

from __future__ import annotations

import contextlib
import fnmatch
import functools
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from vlmnb import paths
from vlmnb.errors import UserError
from vlmnb.types import Frozen

CHOICE = 1
"""Version of the rule by which rows are chosen; kept rows of another version are not used."""

REQUEST_TIMEOUT_S = 10.0
"""Timeout of the first request to the Hub."""

REMOTE = "hf://"
"""Begins the name of a file that is read from the Hub."""

ID = "vlmnb_id"
"""Column of the kept rows that holds ``<row group>.<row>``, a row's place in the split."""

HubRow = dict[str, Any]


class HubSet(Frozen):
    """A data set on the Hub.

    Attributes:
        repository: ``owner/name`` on the Hub.
        commit: The pinned revision, a full commit hash.
        split: Name of the split, for pages and messages.
        files: Pattern of the split's Parquet files within the repository.
        columns: The columns that are read; nothing else is fetched.
        usable: Rows of the split that have an image.
        stand_in: Bundled data set with the same columns.
    """

    name: str
    repository: str
    commit: str
    split: str
    files: str
    columns: tuple[str, ...]
    usable: int
    stand_in: str

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

    A folder given by ``VLMNB_DATA`` need not hold the pinned commit; it is identified by the sizes and
    footers of its files.
    """
    files = _in_folder(source)
    if not files:
        return f"{source.repository}@{source.commit}:{source.split}"
    return f"{source.repository}@folder-{_footers(tuple(files))}:{source.split}"


def choose(source: HubSet, samples: int, seed: int) -> list[tuple[str, HubRow]]:
    """Return a seeded choice of rows with an image, in a fixed order, each with its place in the split.

    It depends only on the files and the seed: no library's random numbers are used.

    Raises:
        UserError: There are too few rows, a column is missing, or the data is neither here nor on the Hub.
    """
    if samples > source.usable:
        raise UserError(
            f"{source.name} has {source.usable} samples with an image, {samples} were asked for; "
            "set samples to at most that"
        )
    _check_folder(source)
    kept = _kept(source, seed, samples)
    if kept is not None:
        return kept[:samples]
    chosen: list[tuple[str, HubRow]] = []
    files = _local(source) or _on_hub(source)
    for place, row in _in_seeded_order(_row_groups(source, files), seed):
        chosen.append((place, row))
        if len(chosen) == samples:
            break
    else:
        raise UserError(
            f"{source.name}: the files found hold {len(chosen)} samples with an image, {samples} were asked "
            "for; set samples to at most that"
        )
    if not _local(source):
        # If the cache folder cannot be written, the rows are read again; the measurement goes on.
        with contextlib.suppress(OSError):
            _keep(source, seed, chosen)
    return chosen


def picture(image: Any) -> Any:
    """Return the PIL image of a row's image column, which holds the encoded bytes."""
    import datasets

    return datasets.Image().decode_example(image)


def _in_seeded_order(groups: Sequence[Callable[[], list[HubRow]]], seed: int) -> Iterator[tuple[str, HubRow]]:
    """Yield rows with an image: the first half of every row group in turn, then the other halves."""
    order = sorted(range(len(groups)), key=lambda index: _rank(seed, "group", index))
    for half in (0, 1):
        for group in order:
            rows = {i: row for i, row in enumerate(groups[group]()) if _has_image(row)}
            ranked = sorted(rows, key=lambda index: _rank(seed, f"row {group}", index))
            middle = (len(ranked) + 1) // 2
            for index in ranked[middle:] if half else ranked[:middle]:
                yield f"{group}.{index}", rows[index]


def _rank(seed: int, what: str, index: int) -> bytes:
    return hashlib.sha256(f"{seed} {what} {index}".encode()).digest()


def _has_image(row: HubRow) -> bool:
    image = row["image"]
    return image is not None and bool(image["bytes"] or image["path"])


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


def _row_groups(source: HubSet, files: list[str]) -> list[Callable[[], list[HubRow]]]:
    """Return one reader for each row group of the split; until they are called only footers are read."""
    import datasets

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)

    def load(**options: Any) -> Any:
        return datasets.load_dataset("parquet", data_files=files, split="train", streaming=True, **options)

    columns = list(source.columns)
    stream = _reading(source, files, load)
    missing = [name for name in columns if name not in stream.features]
    if missing:
        raise UserError(
            f"{source.name}: {files[0]} has no column {', '.join(missing)}; it has "
            f"{', '.join(stream.features)}; expected is {source.repository} at {source.commit}"
        )

    groups = _reading(source, files, lambda: load(columns=columns).decode(False).reshard())
    total = groups.num_shards

    def read(index: int) -> list[HubRow]:
        rows: list[HubRow] = _reading(source, files, lambda: list(groups.shard(total, index)))
        return rows

    return [functools.partial(read, index) for index in range(total)]


def _local(source: HubSet) -> list[str]:
    return [str(path) for path in _in_folder(source) or _in_cache(source)]


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
        raise _out_of_reach(source, f"{_looked_in(source)}, and HF_HUB_OFFLINE is set")
    try:
        info = HfApi().dataset_info(source.repository, revision=source.commit, timeout=REQUEST_TIMEOUT_S)
    except Exception as error:  # whatever the HTTP library raises, to the user it is the same
        raise _out_of_reach(source, f"{_looked_in(source)}, then the Hub: {_first_line(error)}") from None
    names = sorted(file.rfilename for file in info.siblings or ())
    found = fnmatch.filter(names, source.files)
    if not found:
        raise _out_of_reach(source, f"it has no files {source.files}")
    return [f"{REMOTE}datasets/{source.repository}@{source.commit}/{name}" for name in found]


def _looked_in(source: HubSet) -> str:
    """Describe where on this machine we looked for the files."""
    given = paths.data_folder()
    places = [f"{given / source.repository} (VLMNB_DATA)"] if given else []
    return f"looked for {source.files} in {' and '.join([*places, str(_snapshot(source))])}"


def _reading(source: HubSet, files: Sequence[str], read: Callable[[], Any]) -> Any:
    try:
        return read()
    except UserError:
        raise
    except Exception as error:
        if not files[0].startswith(REMOTE):
            raise _damaged(source, files, error) from None
        raise _out_of_reach(source, _first_line(error)) from None


def _damaged(source: HubSet, files: Sequence[str], error: Exception) -> UserError:
    """Return the error for local files that cannot be read."""
    import pyarrow.parquet

    for file in files:
        try:
            pyarrow.parquet.ParquetFile(file).close()
        except Exception as of_file:  # as many kinds as there are ways to be damaged
            damaged, error = file, of_file
            break
    else:
        damaged = files[0] if len(files) == 1 else f"one of {files[0]} to {Path(files[-1]).name}"
    return UserError(
        f"{source.name}: {damaged} is truncated or damaged ({_first_line(error)}); delete it and copy or "
        f"download it again: {source.download}"
    )


def _out_of_reach(source: HubSet, why: str) -> UserError:
    return UserError(
        f"the data set {source.name} ({source.repository} at {source.commit[:8]}) cannot be read: {why}; "
        f"with network, fetch it once: {source.download}; or use the bundled stand-in: "
        f"-p dataset {source.stand_in}"
    )


def _first_line(error: Exception) -> str:
    text = str(error).strip().split("\n", maxsplit=1)[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _kept_folder(source: HubSet, seed: int) -> Path:
    return paths.kept_samples(source.name, revision(source), f"choice-{CHOICE}-seed-{seed}")


def _kept(source: HubSet, seed: int, samples: int) -> list[tuple[str, HubRow]] | None:
    """Return rows chosen earlier for this seed, if there were enough."""
    import pyarrow.parquet

    folder = _kept_folder(source, seed)
    enough = sorted(int(file.stem) for file in folder.glob("*.parquet") if int(file.stem) >= samples)
    if not enough:
        return None
    rows = pyarrow.parquet.read_table(folder / f"{enough[0]}.parquet").to_pylist()
    return [(row.pop(ID), row) for row in rows]


def _keep(source: HubSet, seed: int, chosen: list[tuple[str, HubRow]]) -> None:
    """Keep the rows, so that the next cell, also without network, need not read them again."""
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.Table.from_pylist([{ID: place, **row} for place, row in chosen])
    file = _kept_folder(source, seed) / f"{len(chosen)}.parquet"
    with paths.temporary_beside(file) as scratch:
        pyarrow.parquet.write_table(table, scratch)


@functools.cache
def _footers(files: tuple[Path, ...]) -> str:
    """Return a hash of the files' sizes and Parquet footers, which hold the place of every column chunk."""
    seen = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 8))
            footer = int.from_bytes(file.read(4), "little") + 8
            file.seek(max(0, size - footer))
            seen.update(f"{path.name} {size}\n".encode() + file.read())
    return seen.hexdigest()[:16]

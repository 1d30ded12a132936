"""Facts of a model: computed from its configuration, and published, with sources."""

from __future__ import annotations

import functools
import json

from pydantic import ValidationError

from vlmnb import models, paths
from vlmnb.errors import UserError
from vlmnb.files import plain_yaml
from vlmnb.fit.shape import TITLES, Shape
from vlmnb.models import folders, geometry, soundness
from vlmnb.models.architecture import Decoder
from vlmnb.models.entry import ModelEntry
from vlmnb.spec.sweep_file import explain
from vlmnb.types import Frozen


class Benchmark(Frozen):
    """A published score, as its source gives it."""

    name: str
    score: float
    source: str


class Published(Frozen):
    """Facts from ``data/cards.yaml``.

    Attributes:
        memory_claimed: Gigabytes and bits per weight that a model card page gives by quantization.
        gguf: What llama.cpp can do with the model.
        ollama: Its tag in Ollama's library, or empty.
    """

    developer: str
    released: str
    released_source: str
    licence: str
    licence_source: str
    parameters_claimed: float | None = None
    memory_claimed: dict[str, tuple[float, float]] = {}
    gguf: str = ""
    ollama: str = ""
    ollama_note: str = ""
    benchmarks: tuple[Benchmark, ...] = ()


class Card(Decoder):
    """The facts of a model, those of its decoder among them.

    Attributes:
        parameters: By component.
        kv_bytes_per_token: Keys and values of one position in 16 bits.
        kv_bytes_whole: Of the whole context, in which layers with a window keep no more than that.
        weights_note: Why the weights in its folder cannot be measured, or empty.
        published: None for a bundled model, whose own card is in its folder.
        scores: Accuracies of a bundled model on held-out data by task (``scores.json``), else empty.
    """

    name: str
    title: str
    family: str
    architecture: str
    parameters: dict[str, int]
    released_dtype: str
    image_tokens: dict[int, int]
    kv_bytes_per_token: int
    kv_bytes_whole: int
    geometry_source: str
    weights_note: str = ""
    published: Published | None
    scores: dict[str, float]

    @property
    def parameters_total(self) -> int:
        """All parameters."""
        return sum(self.parameters.values())


def of(shape: Shape) -> Card:
    """Return the card of a model."""
    entry, d = shape.entry, shape.decoder
    return Card(
        name=entry.name, title=entry.title, family=shape.family.name, architecture="dense",
        parameters={TITLES[part]: n for part, n in shape.parameters.items()}, **d.model_dump(),
        released_dtype=shape.released_dtype,
        image_tokens={side: shape.image_tokens(side) for side in entry.image_sizes},
        kv_bytes_per_token=2 * sum(layer.kept for layer in d.each_layer if not layer.crosses),
        kv_bytes_whole=d.cache_bytes(d.context, 2),
        geometry_source=geometry.source(entry), weights_note=weights_note(entry),
        published=published().get(entry.name),
        scores=_scores(shape),
    )  # fmt: skip


def weights_note(entry: ModelEntry) -> str:
    """Say why the weights in a folder of the user's cannot be measured; empty if they can, or without one."""
    folder = folders.local(entry)
    if folder is None:
        return ""
    config = geometry.config(entry)
    why = soundness.obstacle(entry, folder, models.family_of(entry).model_class(config), config)
    return f"its own weights cannot be measured: {why}" if why else ""


@functools.cache
def published() -> dict[str, Published]:
    """Return the published facts by model.

    Raises:
        UserError: The file is wrong; the message names the model and the field.
    """
    path, found = paths.root() / "data" / "cards.yaml", {}
    for name, given in plain_yaml.load(path).items():
        try:
            found[name] = Published.model_validate(given)
        except ValidationError as error:
            raise UserError(f"{path}, {name}: {explain(error, Published.model_fields)}") from None
    return found


def _scores(shape: Shape) -> dict[str, float]:
    path = paths.bundled_model(shape.entry.name) / "scores.json"
    if not shape.entry.bundled or not path.exists():
        return {}
    tasks = json.loads(path.read_text(encoding="utf-8"))["tasks"]
    return {name: task["accuracy"] for name, task in tasks.items()}

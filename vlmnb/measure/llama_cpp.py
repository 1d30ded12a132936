"""llama.cpp as the engine: write a model as GGUF, let llama.cpp quantize it, run it through its vision path.

Prompts are put to it as the tokens that transformers makes of them, and pictures as the pixels of the cell's
size, so questions, scores and energy are those of every other cell. One question at a time. llama.cpp encodes
a picture and reads it in one call; the seconds of the vision side are those of encoding a picture of that
size alone, the median of five before the window.
"""

from __future__ import annotations

import importlib
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, Self

from vlmnb.device import host_memory, slots
from vlmnb.device.clock import now_s
from vlmnb.measure import random_weights
from vlmnb.measure.failures import Unsupported
from vlmnb.measure.phases import Phases
from vlmnb.models import gguf_files
from vlmnb.spec.optimizations.llama_cpp import FILE_TYPES, PREFIX

PICTURES = "pictures"
"""Key of a batch's inputs with its pictures: arrays of bytes, and from ``Engine.prepare`` on what it makes of
them."""

ALONE = (
    "the seconds of vision encoding were measured apart, with pictures of this size; memory is that of the "
    "process, with the libraries that prepare the prompts and count FLOPs"
)


class _Picture(NamedTuple):
    """A picture as llama.cpp prepared it.

    Attributes:
        chunks: The picture with the marks around it, for ``eval_chunks``.
        before: Tokens of the marks before it.
        after: Number of those after it.
        tokens: Its own tokens.
        encoding_s: Seconds of encoding a picture of its size.
    """

    chunks: Any
    before: list[int]
    after: int
    tokens: int
    encoding_s: float


class Engine:
    """A model in llama.cpp. It takes the place of a model's ``generate`` and of the clock of its phases.

    Attributes:
        weights_by_type: Bytes of its weights by GGUF type, the vision side included.
        notes: What a reader of its numbers should know.
    """

    def __init__(
        self, family: Any, model: Any, processor: Any, name: str, weights: Iterable[tuple[str, Any]]
    ) -> None:
        """Write, quantize and load a model, as a setting's name says; the model itself loses its values.

        Raises:
            Unsupported: llama.cpp cannot run the architecture, or refuses to.
            MemoryError: It takes more memory than is free.
        """
        # The package is optional, and comes without types.
        llama_cpp: Any = importlib.import_module("cyllama.llama.llama_cpp")
        kind = name.removeprefix(PREFIX)
        self._library, self._end = llama_cpp, _ends(model.generation_config.eos_token_id)
        self._image_token = int(model.config.image_token_id)
        llama_cpp.disable_logging()
        llama_cpp.ggml_backend_load_all()
        with tempfile.TemporaryDirectory(prefix="vlmnb-gguf-") as folder:
            try:
                parts = family.gguf(model.config, processor.image_processor)
                files = gguf_files.write(parts, model, processor.tokenizer, weights, Path(folder))
                language, vision = files
                random_weights.emptied(model, model.dtype, model.device)
                quantized = _quantized(llama_cpp, language, kind)
                host_memory.require(quantized.stat().st_size + vision.stat().st_size, f"a model in {kind}")
                self._model = llama_cpp.LlamaModel(str(quantized), _in_memory(llama_cpp), False)
                self._tower = llama_cpp.MtmdContext(str(vision), self._model, _tower_settings(llama_cpp))
            except (ValueError, RuntimeError) as error:
                raise Unsupported(f"llama.cpp: {error}") from None
            self.weights_by_type, self.notes = _contents(kind, quantized, vision)
        self._greedy = self._sampler([])
        vocabulary = int(model.config.text_config.vocab_size)
        self._endless = self._sampler([(token, -float("inf")) for token in self._end], vocabulary)
        self._context: Any = None
        self._phases: Phases | None = None
        self._encoding_s: dict[tuple[int, ...], float] = {}

    def prepare(self, inputs: Sequence[Any], tokens: int) -> None:
        """Prepare the pictures of all batches, and make room for keys and values of so many tokens."""
        for batch in inputs:
            batch[PICTURES] = [self._prepared(picture) for picture in batch[PICTURES]]
        settings = self._library.LlamaContextParams()
        settings.n_ctx = settings.n_batch = -(-tokens // 256) * 256
        settings.n_threads = settings.n_threads_batch = slots.threads()
        self._context = self._library.LlamaContext(self._model, settings, False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def time(self, call: Callable[[], Any], prompt_passes: int = 1) -> tuple[Any, Phases]:
        """Call ``generate`` by a function without arguments; return its result and its phases."""
        output = call()
        if self._phases is None:
            raise ValueError("nothing was generated that could be timed")
        return output, self._phases

    def generate(self, batch: Any, max_new_tokens: int, min_new_tokens: int = 0, **_: Any) -> Any:
        """Return the prompt of a batch of one question with the new tokens, as transformers would."""
        import torch

        began_s = now_s()
        tokens = batch["input_ids"][0][batch["attention_mask"][0].bool()].tolist()
        vision_s, position = self._prompt(tokens, batch[PICTURES])
        sampler = self._endless if min_new_tokens >= max_new_tokens else self._greedy
        made = [sampler.sample(self._context, -1)]
        first_s = now_s()
        vision_s = min(vision_s, first_s - began_s)
        while len(made) < max_new_tokens and made[-1] not in self._end:
            position = self._feed([made[-1]], position, True)
            made.append(sampler.sample(self._context, -1))
        ended_s = now_s()
        self._phases = Phases(
            latency_s=ended_s - began_s,
            vision_s=vision_s,
            prefill_s=first_s - began_s - vision_s,
            decode_s=ended_s - first_s,
            decode_steps=len(made) - 1,
        )
        return torch.cat([batch["input_ids"], torch.tensor([made])], dim=1)

    def cache_bytes(self) -> int:
        """Return the bytes of keys and values that the last question left."""
        return int(self._context.get_state_seq_size(0))

    def _prompt(self, tokens: Sequence[int], pictures: Sequence[_Picture]) -> tuple[float, int]:
        """Feed a prompt; return the seconds of encoding its pictures and the next position."""
        self._context.kv_cache_clear()
        position, begin, vision_s = 0, 0, 0.0
        for picture in pictures:
            place = tokens.index(self._image_token, begin)
            after = place + next(
                (n for n, token in enumerate(tokens[place:]) if token != self._image_token),
                len(tokens) - place,
            )
            first = place - len(picture.before)
            if after - place != picture.tokens or list(tokens[first:place]) != picture.before:
                raise Unsupported(
                    f"llama.cpp makes {picture.tokens} tokens of a picture of which transformers makes "
                    f"{after - place}"
                )
            position = self._feed(tokens[begin:first], position, False)
            position = self._tower.eval_chunks(
                self._context, picture.chunks, position, 0, picture.tokens, False
            )
            vision_s += picture.encoding_s
            begin = after + picture.after
        return vision_s, self._feed(tokens[begin:], position, True)

    def _prepared(self, picture: Any) -> _Picture:
        library, (height, width, _) = self._library, picture.shape
        bitmap = library.MtmdBitmap.create_image(width, height, picture.tobytes())
        chunks = self._tower.tokenize(library.get_default_media_marker(), [bitmap], False, True)
        parts = [chunks[number] for number in range(len(chunks))]
        image = next(n for n, part in enumerate(parts) if part.type != library.MtmdInputChunkType.TEXT)
        if picture.shape not in self._encoding_s:
            self._encoding_s[picture.shape] = median(self._encoded_s(parts[image]) for _ in range(5))
        return _Picture(
            chunks=chunks,
            before=[token for part in parts[:image] for token in part.get_text_tokens()],
            after=sum(len(part.get_text_tokens()) for part in parts[image + 1 :]),
            tokens=int(parts[image].n_tokens),
            encoding_s=self._encoding_s[picture.shape],
        )

    def _feed(self, tokens: Sequence[int], position: int, wanted: bool) -> int:
        """Let the language model read tokens, and return the next position."""
        if not tokens:
            return position
        batch = self._library.LlamaBatch(n_tokens=len(tokens), embd=0, n_seq_max=1)
        for place, token in enumerate(tokens):
            batch.add(token, position + place, [0], wanted and place == len(tokens) - 1)
        self._context.decode(batch)
        return position + len(tokens)

    def _encoded_s(self, image: Any) -> float:
        began_s = now_s()
        self._tower.encode_chunk(image)
        return now_s() - began_s

    def _sampler(self, biases: list[tuple[int, float]], vocabulary: int = 0) -> Any:
        made = self._library.LlamaSampler(self._library.LlamaSamplerChainParams())
        if biases:
            made.add_logit_bias(vocabulary, biases)
        made.add_greedy()
        return made


def _ends(token: int | list[int] | None) -> list[int]:
    return token if isinstance(token, list) else [] if token is None else [token]


def _in_memory(library: Any) -> Any:
    """Return settings by which a model's file is read into memory, so that it counts and can be removed."""
    settings = library.LlamaModelParams()
    settings.use_mmap = False
    return settings


def _tower_settings(library: Any) -> Any:
    settings = library.MtmdContextParams()
    settings.n_threads, settings.warmup, settings.print_timings = slots.threads(), False, False
    return settings


def _quantized(library: Any, file: Path, kind: str) -> Path:
    settings = library.LlamaModelQuantizeParams()
    settings.ftype, settings.nthread = FILE_TYPES[kind], slots.threads()
    made = file.with_name(f"model-{kind}.gguf")
    library.model_quantize(str(file), str(made), settings)
    return made


def _contents(kind: str, language: Path, vision: Path) -> tuple[dict[str, int], tuple[str, ...]]:
    """Return the bytes of weights by type, and what a reader should know of them."""
    import gguf

    sizes, matrices = Counter[str](), Counter[str]()
    for file in (language, vision):
        for tensor in gguf.GGUFReader(file).tensors:
            name = tensor.tensor_type.name
            sizes[name] += int(tensor.n_bytes)
            if file == language and len(tensor.shape) > 1:
                matrices[name] += 1
    wanted = kind.removesuffix("_M").removesuffix("_S")
    others = ", ".join(f"{count} as {name}" for name, count in sorted(matrices.items()) if name != wanted)
    said = f"{kind}: of {sum(matrices.values())} matrices of the language model, llama.cpp stores {others}"
    return dict(sizes), (ALONE, said) if others else (ALONE,)

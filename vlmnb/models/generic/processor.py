"""Load the processor of any image-text-to-text model, for pictures and text alone.

Many processors of transformers also want a video or an audio processor, most of which need torchvision. Here
such a part is replaced by a stand-in that has no settings: it is never called for pictures and text.
"""

from __future__ import annotations

import difflib
import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import transformers
from PIL import Image
from transformers import AutoImageProcessor, AutoTokenizer
from transformers.models.auto import processing_auto
from transformers.processing_utils import ProcessorMixin

from vlmnb.errors import UserError
from vlmnb.models import named, prompting, soundness

FLAT_IMAGES = frozenset({"got_ocr2", "idefics"})
"""Model types whose processor takes one flat list of images, not a list for each text.

Idefics' takes both, and puts the picture behind the question if there is a list for each."""

OWN_MARKS = frozenset({"blip-2", "idefics", "instructblip", "kosmos-2"})
"""Model types whose processor puts the picture into a prompt itself: no mark may ask for it."""

NOT_INPUTS = ("labels",)
"""What a processor returns and ``generate`` must not get: PaliGemma's returns labels without an answer."""


PROBE = "what is in this picture?"
"""The question of a prompt that is written once, to see what a processor makes of it."""


class Absent:
    """Stands in the place of a video or audio processor; every setting that is read is None."""

    merge_size = temporal_patch_size = 2
    model_input_names: Sequence[str] = ()

    def __getattr__(self, name: str) -> None:
        """Return None for a setting, and raise for Python's own names, so that copying works."""
        if name.startswith("__"):
            raise AttributeError(name)

    def to_dict(self) -> dict[str, Any]:
        """Return no settings."""
        return {}


def load(folder: str | Path, template: str) -> Any:
    """Load a checkpoint's processor, padding on the left; the template is for those without one.

    Raises:
        UserError: It lacks files or a package that is not installed, or takes no questions.
        ValueError: transformers has no processor for this type of model.
        Exception: Whatever transformers raises for damaged files.
    """
    folder = Path(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    kind = config["model_type"]
    try:
        made = _loaded(folder, kind, template)
        if getattr(made, "num_query_tokens", 0) is None:  # older checkpoints name it for the model alone
            made.num_query_tokens = config.get("num_query_tokens")
        return made
    except (ImportError, OSError, ValueError) as error:
        if lacking := soundness.lacking_processor(folder):  # transformers advises to install packages
            raise UserError(f"{folder} has no {lacking}") from None
        named.require_package(f"the processor of {kind} models", error)
        raise


def _loaded(folder: Path, kind: str, template: str) -> Any:
    base = _class(folder, kind)
    made: Any = type(
        base.__name__, (_PicturesAndText, base), {"flat": kind in FLAT_IMAGES, "own": kind in OWN_MARKS}
    )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.padding_side = "left"
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    parts = {
        "tokenizer": tokenizer,
        "image_processor": AutoImageProcessor.from_pretrained(folder, backend="pil"),
    }
    settings, _ = base.get_processor_dict(folder)
    names = base.get_attributes()
    further = [name for name in names if name.endswith("_tokenizer")]  # the text that a Q-Former reads
    parts |= {name: _further_tokenizer(folder, name) for name in further}
    processor = made.from_args_and_dict([parts.get(name) or Absent() for name in names], settings)
    if hasattr(processor, "policy_definitions"):  # ShieldGemma 2's, which judges pictures
        raise UserError(
            f"{base.__name__} writes several prompts of its own for a picture, and asks no question"
        )
    if processor.chat_template is None:
        processor.chat_template = tokenizer.chat_template or template
    return processor


def _further_tokenizer(folder: Path, name: str) -> Any:
    """Load a tokenizer that lies in a folder of its name, padding on the side that its files say."""
    if not (folder / name).is_dir():
        raise UserError(
            f"{folder} lacks the folder {name}, a second tokenizer, which its processor needs; copy it from "
            "the model's repository"
        )
    return AutoTokenizer.from_pretrained(folder / name)


def _class(folder: Path, kind: str) -> Any:
    """Return the processor's class: the one that the checkpoint names, else that of its type of model."""
    for name in ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json"):
        file = folder / name
        stated = (
            json.loads(file.read_text(encoding="utf-8")).get("processor_class") if file.exists() else None
        )
        if stated and hasattr(transformers, stated):
            return getattr(transformers, stated)
    known: Any = processing_auto.PROCESSOR_MAPPING_NAMES  # type: ignore[attr-defined]
    if kind not in known:
        raise ValueError(f"transformers {transformers.__version__} has no processor for the type {kind}")
    return getattr(transformers, str(known[kind]))


class _PicturesAndText(ProcessorMixin):
    """What is put before a processor's own class: stand-ins pass, calls take the images of each text."""

    flat = own = False
    nested_images = True

    def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
        """Let stand-ins pass."""
        if isinstance(argument, Absent):
            return type(argument)
        return super().check_argument_for_proper_class(argument_name, argument)  # type: ignore[no-untyped-call]

    def __call__(self, images: Any = None, text: Any = None, **kwargs: Any) -> Any:
        """Make the tensors of a batch of one image for each text, or of a list of images for each.

        Tokenizers that put a begin-of-text token in front do not repeat the one of the chat template.
        """
        if images is not None:
            lists = [image if isinstance(image, list) else [image] for image in images]
            images = [image for one in lists for image in one] if self.flat else lists
        text = [self._unmarked(one) for one in text]
        begin = self.tokenizer.bos_token
        if begin and all(one.startswith(begin) for one in text):
            kwargs["add_special_tokens"] = False
        batch = super().__call__(images=images, text=text, **kwargs)
        for name in NOT_INPUTS:
            batch.pop(name, None)
        return batch

    def __repr__(self) -> str:
        """Return the class's name: transformers' own text would ask the stand-ins for JSON."""
        return type(self).__name__

    def text_ids(self, rendered: str) -> list[int]:
        """Return a prompt's ids without those that its image adds."""
        if self.own:  # how it writes a prompt of text alone, only it knows
            return [int(one) for one in self(text=[rendered])["input_ids"][0]]
        further, special = self._writing
        return [*further, *self._tokenized(rendered, special=special)]

    def _tokenized(self, rendered: str, *, special: bool) -> list[int]:
        """Return a prompt's ids as the tokenizer alone makes them, without the mark of its image."""
        begin, marks = self.tokenizer.bos_token, set(image_marks(self))
        twice = bool(begin) and rendered.startswith(begin)
        ids = self.tokenizer(rendered, add_special_tokens=special and not twice)["input_ids"]
        return [one for one in ids if one not in marks]

    @functools.cached_property
    def _writing(self) -> tuple[list[int], bool]:
        """Return the ids of text that the processor adds to a prompt, and whether the tokenizer may add some.

        Llama 3.2 Vision's writes a begin-of-text token, PaliGemma's ends the line, Chameleon's separates the
        answer; others keep the tokenizer from adding its own. A prompt with a small blank image shows it.
        """
        rendered, blank = prompting.render(self, PROBE), Image.new("RGB", (224, 224))
        try:
            made = self(images=[blank], text=[rendered], padding=True, return_tensors="pt")
            written = made["input_ids"][0].tolist()
        except Exception:  # what it refuses, it refuses again where it matters
            return [], True
        names = ("bos_token_id", "eos_token_id", "sep_token_id", "cls_token_id")
        ends = {getattr(self.tokenizer, name, None) for name in names}
        special = not any(
            ends.intersection(lacking) for _, lacking in self._unlike(written, rendered, special=True)
        )
        found = [(more, len(other)) for more, other in self._unlike(written, rendered, special=special)]
        marks = set(image_marks(self))
        pictures = [more for more, _ in found if marks.intersection(more)]
        pictures = pictures or [max((more for more, _ in found), key=len, default=[])]
        further: list[int] = []
        for more, instead in found:
            own = [one for one in more if one in ends - marks] if more in pictures else more[instead:]
            further += own
        return further, special

    def _unlike(
        self, written: list[int], rendered: str, *, special: bool
    ) -> list[tuple[list[int], list[int]]]:
        """Return where a processor wrote other ids than the tokenizer alone makes: its own, and those."""
        text = self._tokenized(rendered, special=special)
        steps = difflib.SequenceMatcher(None, written, text, autojunk=False).get_opcodes()
        return [(written[i:j], text[k:m]) for step, i, j, k, m in steps if step != "equal"]

    def _unmarked(self, rendered: str) -> str:
        mark = str(getattr(self, "image_token", "<image>"))  # BLIP-2's is an AddedToken
        return rendered.replace(mark, "") if self.own else rendered


def image_marks(processor: Any) -> list[int]:
    """Return the ids of the tokens that stand for an image, or begin one, in a rendered prompt."""
    names = ("image_token", "boi_token", "start_image_token", "end_image_token")
    tokens = [str(getattr(processor, name, None) or "") for name in names]  # BLIP-2's is an AddedToken
    found = processor.tokenizer.convert_tokens_to_ids([token for token in tokens if token])
    unknown = processor.tokenizer.unk_token_id
    ids = [getattr(processor, "image_token_id", None), *found]
    return sorted({one for one in ids if isinstance(one, int) and one != unknown})

"""How to use a model, as code that tests run with the bundled models.

The paths of the model and of an image are filled in; everything else is run as it is written.
"""

from __future__ import annotations

from typing import Literal

from vlmnb.fit import model_facts
from vlmnb.fit.shape import Shape
from vlmnb.types import Frozen

Language = Literal["python", "bash"]


class Snippet(Frozen):
    """One way to use a model.

    Attributes:
        key: ``picture``, ``plain``, ``pipeline``, ``4-bit``, ``flash`` or ``ollama``.
        needs: What the code needs besides the project's requirements, or empty.
        note: What a reader should know about it, as Markdown, or empty.
    """

    key: str
    title: str
    language: Language
    code: str
    needs: str = ""
    note: str = ""


QUESTION = "What is in the picture?"


def of(shape: Shape, model: str, image: str = "picture.png") -> tuple[Snippet, ...]:
    """Return the snippets of a model.

    Args:
        shape: Its geometry.
        model: Folder or Hub repository that the code names.
        image: File that the code opens.
    """
    found = [_picture(image), _plain(shape, model, image), _pipeline(shape, model, image)]
    found += [_four_bit(shape, model, image), _flash(shape, model, image)]
    return (*found, *_ollama(shape))


def _picture(image: str) -> Snippet:
    code = f"""from datasets import load_dataset

rows = load_dataset("parquet", data_files="data/coco-mini/test.parquet", split="train")
rows[0]["image"].save("{image}")
"""
    return Snippet(
        key="picture", title="A picture to ask about", language="python", code=code,
        note=f"The code below opens `{image}` in the current folder. Put a picture of yours there, or take a "
        "bundled one with this code, run in the folder of the project.",
    )  # fmt: skip


def _head(shape: Shape, extra: str = "") -> str:
    name, (module, processor) = shape.family.class_name, shape.family.processor_class
    if module == "transformers":
        imports = f"from transformers import {', '.join(sorted(filter(None, [extra, name, processor])))}\n"
        return f"import torch\nfrom PIL import Image\n{imports}"
    imports = f"from transformers import {', '.join(sorted(filter(None, [extra, name])))}\n"
    return f"import torch\nfrom PIL import Image\n{imports}\nfrom {module} import {processor}\n"


def _run(shape: Shape, model: str, image: str, loading: str) -> str:
    name, processor = shape.family.class_name, shape.family.processor_class[1]
    return f"""
model = {name}.from_pretrained(
    "{model}",
    {loading},
)
processor = {processor}.from_pretrained("{model}")
content = [{{"type": "image"}}, {{"type": "text", "text": "{QUESTION}"}}]
messages = [{{"role": "user", "content": content}}]
prompt = processor.apply_chat_template(messages, add_generation_prompt=True)
picture = Image.open("{image}").convert("RGB")
inputs = processor(images=[picture], text=[prompt], return_tensors="pt")
inputs = inputs.to(model.device, model.dtype)
output = model.generate(**inputs, max_new_tokens=20, do_sample=False)
new = output[0, inputs["input_ids"].shape[1] :]
answer = processor.tokenizer.decode(new, skip_special_tokens=True)
print(answer)
"""


def _plain(shape: Shape, model: str, image: str) -> Snippet:
    code = _head(shape) + _run(shape, model, image, 'dtype=torch.bfloat16, device_map="auto"')
    return Snippet(
        key="plain", title="Plain transformers", language="python", code=code,
        note=shape.family.processor_note,
    )  # fmt: skip


def _pipeline(shape: Shape, model: str, image: str) -> Snippet:
    module, processor = shape.family.processor_class
    own = module != "transformers"
    imports = f"\nfrom {module} import {processor}\n" if own else ""
    given = "processor=processor, " if own else ""
    made = f'processor = {processor}.from_pretrained("{model}")\n' if own else ""
    code = f"""import torch
from PIL import Image
from transformers import pipeline
{imports}
{made}pipe = pipeline(
    "image-text-to-text",
    model="{model}",
    {given}dtype=torch.bfloat16,
)
picture = Image.open("{image}").convert("RGB")
content = [
    {{"type": "image", "image": picture}},
    {{"type": "text", "text": "{QUESTION}"}},
]
messages = [{{"role": "user", "content": content}}]
answers = pipe(text=messages, max_new_tokens=20, return_full_text=False)
answer = answers[0]["generated_text"]
print(answer)
"""
    return Snippet(key="pipeline", title="Pipeline", language="python", code=code)


def _four_bit(shape: Shape, model: str, image: str) -> Snippet:
    loading = 'quantization_config=four_bit, dtype=torch.bfloat16, device_map="auto"'
    settings = """four_bit = BitsAndBytesConfig(
    load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16
)"""
    body = _run(shape, model, image, loading).lstrip("\n")
    return Snippet(
        key="4-bit", title="In 4 bits", language="python",
        code=f"{_head(shape, 'BitsAndBytesConfig')}\n{settings}\n{body}",
        needs="bitsandbytes",
        note="The argument `load_in_4bit` of `from_pretrained`, which older cards give, no longer "
        "exists in transformers 5.",
    )  # fmt: skip


def _flash(shape: Shape, model: str, image: str) -> Snippet:
    loading = 'dtype=torch.bfloat16, attn_implementation="flash_attention_2", device_map="cuda"'
    return Snippet(
        key="flash", title="With FlashAttention 2", language="python",
        code=_head(shape) + _run(shape, model, image, loading),
        needs="flash-attn and an NVIDIA GPU of compute capability 8.0 or above",
        note="Without the package loading ends in an ImportError. The argument `use_flash_attention_2`, "
        "which older cards give, no longer exists in transformers 5.",
    )  # fmt: skip


def _ollama(shape: Shape) -> tuple[Snippet, ...]:
    published = model_facts.published().get(shape.entry.name)
    if published is None or not published.ollama:
        return ()
    code = f"ollama run {published.ollama}\n"
    note = published.ollama_note
    return (Snippet(key="ollama", title="Ollama", language="bash", code=code, needs="Ollama", note=note),)

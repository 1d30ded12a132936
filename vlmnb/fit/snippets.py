"""How to use a model, as code that tests run with the bundled models."""

from __future__ import annotations

from vlmnb.files import templates
from vlmnb.fit.shape import Shape

IMAGE = "picture.png"
KEYS = ("picture", "plain", "pipeline", "4-bit", "flash")


def codes(shape: Shape, model: str, image: str = IMAGE) -> dict[str, str]:
    """Return the Python code of each way to use a model: ``templates/<key>.py.j2``, filled in.

    The code names the model by a folder or a Hub repository, and opens the image.
    """
    module, processor = shape.family.processor_class
    data = {
        "model": model,
        "image": image,
        "question": "What is in the picture?",
        "model_class": shape.family.class_name,
        "module": module,
        "processor": processor,
        "own": module != "transformers",
    }
    return {key: templates.render("vlmnb.fit", f"{key}.py.j2", **data) for key in KEYS}

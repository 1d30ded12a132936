"""Pictures of rows: find the encoded one, and decode it to what a viewer shows on white paper."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

from vlmnb import paths
from vlmnb.data.rows import BadRow, shown
from vlmnb.errors import one_line

Encoded = bytes | Path
"""A picture as it is stored: the content of a file, or the file."""


def encoded(value: Any) -> Encoded:
    """Return the picture in a column: bytes, a path, or one of them in a dictionary or in a list of one.

    A relative path counts from ``VLMNB_DATA``, or from the project's folder where that is not set.

    Raises:
        BadRow: There is no picture, there are several, or it is not on this machine.
    """
    if isinstance(value, (list, tuple)):
        if len(value) > 1:
            raise BadRow(f"image is a list of {len(value)}, not one picture")
        value = value[0] if value else None
    if isinstance(value, dict) and {"bytes", "path"} & value.keys():
        value = value.get("bytes") or value.get("path")
    if value is None or value in (b"", ""):
        raise BadRow("image is empty")
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise BadRow(f"image is {shown(value)}, not the content or the path of a picture")
    if "://" in value:
        raise BadRow(f"image is the address {shown(value)}; download it, here nothing is")
    path = (paths.data_folder() or paths.root()) / value
    if not os.path.isfile(path):
        raise BadRow(f"image names {shown(str(path))}, which is no file")
    return path


def decoded(picture: Encoded) -> Any:
    """Return the picture in RGB: turned as its EXIF data say, transparency over white, 16 bits scaled to 8.

    Of an animation it is the first frame.

    Raises:
        BadRow: It is damaged, too large, or no picture.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(picture) if isinstance(picture, bytes) else picture) as opened:
            image = _eight_bits(ImageOps.exif_transpose(opened))
            if image.has_transparency_data:
                own = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", own.size, "white"), own)
            return image.convert("RGB")
    except MemoryError:
        raise
    except Exception as error:  # as many kinds as there are formats
        said = one_line(error, 200).split(" <_io")[0]
        raise BadRow(f"image cannot be decoded ({type(error).__name__}: {said})") from None


def _eight_bits(image: Any) -> Any:
    """Return a picture of more than 8 bits a channel with 8; Pillow's own conversion clips it to white.

    Whole numbers are taken for 16 bits, as cameras and PNG files have them; real numbers reach to 1, 255 or
    65535. Where values go beyond, the largest is white.
    """
    import numpy as np
    from PIL import Image

    if image.mode[0] not in "IF":
        return image

    values = np.nan_to_num(np.asarray(image, dtype=np.float64))
    tops = (1, 255, 65535) if image.mode == "F" else (65535,)
    white = next((top for top in tops if values.max(initial=0) <= top), values.max(initial=0))
    if "transparency" in image.info:
        values[values == image.info["transparency"]] = white
    return Image.fromarray(np.rint(values.clip(0, white) * 255 / white).astype(np.uint8))

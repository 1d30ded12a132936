"""Pictures of rows: find the encoded one, and decode it to what a viewer shows on white paper."""

from __future__ import annotations

import base64
import contextlib
import io
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vlmnb import paths
from vlmnb.data.rows import BadRow, Values, shown
from vlmnb.errors import one_line

Encoded = bytes | Path
"""A picture as it is stored: the content of a file, or the file."""

_BASE64 = re.compile(
    r"(data:image/[\w.+-]+;base64,|(?=(?:/9j/|iVBORw0KGgo|R0lGOD|UklGR|Qk|SUkqA|TU0AK)[\w+/]{60}))"
)
"""A picture written as text: as a data address, or as base64 of what JPEG, PNG, GIF ... begin with."""


def of_row(row: Values, fewest: int = 1, most: int = 1) -> tuple[Encoded, ...]:
    """Return the pictures in the column ``images`` or ``image``: none where it is empty, several in a list.

    Raises:
        BadRow: There are fewer or more than the data set may have, or one is not on this machine.
    """
    value = row["images" if "images" in row else "image"]
    if fewest == most == 1:
        return (encoded(value),)
    held = value if isinstance(value, (list, tuple)) else [value]
    given = [each for each in held if each and (not isinstance(each, dict) or any(each.values()))]
    if not fewest <= len(given) <= most:
        raise BadRow(f"image holds {len(given)} pictures, not {fewest}{f' to {most}' * (most > fewest)}")
    return tuple(map(encoded, given))


def encoded(value: Any) -> Encoded:
    """Return the picture in a column: bytes, base64 or a path, also in a dictionary or in a list of one.

    A relative path counts from ``VLMNB_DATA``, or from the project's folder where that is not set.

    Raises:
        BadRow: There is no picture, there are several, or it is not on this machine.
    """
    if isinstance(value, dict) and {"bytes", "path"} & value.keys():
        value = value.get("bytes") or value.get("path")
    if isinstance(value, (list, tuple)):
        if len(value) > 1 and all(isinstance(each, int) and 0 <= each < 256 for each in value):
            return bytes(value)
        if len(value) > 1:
            raise BadRow(f"image is a list of {len(value)}, not one picture")
        return encoded(value[0] if value else None)
    if value is None or value in (b"", ""):
        raise BadRow("image is empty")
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise BadRow(f"image is {shown(value)}, not the content or the path of a picture")
    if written := _BASE64.match(value):
        with contextlib.suppress(ValueError):
            return bytes(base64.b64decode(value[written.end(1) :]))
    name = value.removeprefix("file://")
    if "://" in name:
        raise BadRow(f"image is the address {shown(name)}; download it, here nothing is")
    path = (paths.data_folder() or paths.root()) / name
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
        with _opened(picture) as opened:
            tags = dict(getattr(opened, "tag_v2", {}))
            image = _eight_bits(ImageOps.exif_transpose(_masked(opened, picture)), tags)
            if image.has_transparency_data:
                own = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", own.size, "white"), own)
            return image.convert("RGB")
    except MemoryError:
        raise
    except Exception as error:  # as many kinds as there are formats
        said = one_line(error, 200).split(" <_io")[0]
        raise BadRow(f"image cannot be decoded ({type(error).__name__}: {said})") from None


def _opened(picture: Encoded) -> Any:
    from PIL import Image

    return Image.open(io.BytesIO(picture) if isinstance(picture, bytes) else picture)


_LEVEL = {"L;2": 85, "L;4": 17}
"""By how much Pillow multiplies grey of 2 and 4 bits, but not the grey that a file says is transparent."""


def _masked(opened: Any, picture: Encoded) -> Any:
    """Return the first frame of a picture with its transparent pixels, where Pillow misses them.

    Those are pixels of a colour that a PNG of 2, 4 or 16 bits names, and a screen that a GIF does not fill.
    """
    import numpy as np
    from PIL import Image

    if opened.info.get("default_image"):
        opened.seek(1)  # the frame before it is for viewers without animation
    tile, mark = opened.tile[:1], opened.info.get("transparency")
    raw = tile[0].args if tile else None
    if isinstance(mark, int) and raw in _LEVEL:
        opened.info["transparency"] = mark * _LEVEL[raw]
    elif isinstance(mark, tuple) and raw == "RGB;16B":
        with _opened(picture) as low:  # Pillow reads the high bytes; as if the low bytes came last, these
            low.tile = [each._replace(args="RGB;16L") for each in low.tile]
            values = np.asarray(opened, np.uint16) * 256 + np.asarray(low)
        shown = Image.fromarray((values != mark).any(axis=2).astype(np.uint8) * 255)
        del opened.info["transparency"]
        opened.putalpha(shown)
    elif opened.format == "GIF" and tile and tile[0].extents != (0, 0, *opened.size):
        shown = Image.new("L", opened.size)
        shown.paste(255, tile[0].extents)
        own = opened.convert("RGBA")
        return Image.composite(own, Image.new("RGBA", own.size), shown)
    return opened


def _eight_bits(image: Any, tags: Mapping[int, Any]) -> Any:
    """Return a picture of more than 8 bits a channel with 8; Pillow's own conversion clips it to white.

    Whole numbers are taken for 16 bits, as cameras and PNG files have them, in files of 32 bits for 8 if all
    are below 256; real numbers reach to 1, 255 or 65535, and may go a tenth beyond, as resampling does.
    Where values go further, the largest is white. The tags of a TIFF say how many bits there are and whether
    0 is white (Adobe, TIFF 6.0: 258, 262, 339).
    """
    import numpy as np
    from PIL import Image

    if image.mode[0] not in "IF":
        return image

    values, bits = np.asarray(image, dtype=np.float64), max(tags.get(258, (16,)))
    if bits == 32 and image.mode == "I" and max(tags.get(339, (1,))) == 1:
        values = values % 2**32  # unsigned
    largest = values[np.isfinite(values)].max(initial=0)
    values = np.nan_to_num(values, posinf=largest, neginf=0)
    tops = {"F": (1, 255, 65535), "I": (255, 65535)}.get(image.mode, (2 ** min(bits, 16) - 1,))
    white = next((top for top in tops if largest <= top * (1.1 if image.mode == "F" else 1)), largest)
    if "transparency" in image.info:
        values[values == image.info["transparency"]] = white
    values = np.rint(values.clip(0, white) * 255 / white).astype(np.uint8)
    return Image.fromarray(255 - values if tags.get(262) == 0 else values)

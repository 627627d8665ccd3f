"""Makes a thumbnail: a picture comes in as base64, its thumbnail goes out as base64.
  fnrun invoke examples/thumbnail --event @examples/thumbnail/event.json
The event is {"image": base64, "width": 160, "height": 160, "format": "png" or "jpeg"}; all
but the image may be left out. Uses Pillow where Python has it, else ImageMagick's convert."""

import base64
import binascii
import io
import subprocess

try:
    from PIL import Image, ImageOps, UnidentifiedImageError
except ImportError:
    Image = None

FORMATS = {"png": "PNG", "jpeg": "JPEG", "jpg": "JPEG"}
MOST_PIXELS = 50_000_000  # of a picture that comes in: what it needs in memory
MOST_SIDE = 2000  # of a thumbnail


class NotAPicture(ValueError):
    """What came is no picture that could be read."""


def with_pillow(data, width, height, kind):
    Image.MAX_IMAGE_PIXELS = MOST_PIXELS // 2  # an error from twice that on
    try:
        picture = Image.open(io.BytesIO(data), formats=["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
        picture.draft("RGB", (2 * width, 2 * height))  # a JPEG is decoded at an eighth where that will do
        picture = ImageOps.exif_transpose(picture)
        picture = picture.convert("RGBA" if kind == "PNG" and "A" in picture.getbands() else "RGB")
    except UnidentifiedImageError:
        raise NotAPicture("the image cannot be read: it is in no known format") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise NotAPicture(f"the image cannot be read: {error}") from None
    picture.thumbnail((width, height))
    out = io.BytesIO()
    picture.save(out, kind)
    return out.getvalue(), picture.size


def with_convert(data, width, height, kind):
    limits = ["-limit", "area", str(MOST_PIXELS), "-limit", "memory", "96MiB", "-limit", "map", "0"]
    size = f"{width}x{height}>"
    command = ["convert", *limits, "-[0]", "-auto-orient", "-thumbnail", size, f"{kind.lower()}:-"]
    done = subprocess.run(command, input=data, capture_output=True, check=False)
    if done.returncode != 0:
        raise NotAPicture(f"the image cannot be read: {done.stderr.decode(errors='replace').strip()[:200]}")
    shown = subprocess.run(["identify", "-format", "%w %h", "-"], input=done.stdout, capture_output=True, check=True)
    return done.stdout, tuple(int(side) for side in shown.stdout.split())


def side(event, name):
    value = event.get(name, 160)
    if not isinstance(value, int) or not 1 <= value <= MOST_SIDE:
        raise ValueError(f"{name} must be a whole number from 1 to {MOST_SIDE}, got {value!r}")
    return value


def handler(event, context):
    if not isinstance(event, dict) or not isinstance(event.get("image"), str):
        raise ValueError('the event has no picture: send {"image": "<base64>"}')
    kind = FORMATS.get(str(event.get("format", "jpeg")).lower())
    if not kind:
        raise ValueError(f"format must be png or jpeg, got {event['format']!r}")
    try:
        data = base64.b64decode(event["image"], validate=True)
    except binascii.Error as error:
        raise NotAPicture(f"the image is not base64: {error}") from None
    make = with_pillow if Image else with_convert
    thumbnail, (width, height) = make(data, side(event, "width"), side(event, "height"), kind)
    print(f"{len(data)} bytes in, {len(thumbnail)} out, by {'Pillow' if Image else 'convert'}")
    return {"image": base64.b64encode(thumbnail).decode("ascii"), "width": width, "height": height,
            "format": kind.lower(), "bytes": len(thumbnail)}

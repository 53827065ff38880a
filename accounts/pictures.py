"""Profile pictures: whatever is uploaded is decoded and drawn anew, so that what we serve is a small picture, nothing else.

The rules follow OWASP's File Upload Cheat Sheet: known formats by content, bounds before decoding, our own name and type.
"""

from __future__ import annotations

import re
import threading
import warnings
from io import BytesIO
from typing import IO, Any

from django.core.exceptions import ValidationError
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import UploadedFile
from django.db import transaction
from PIL import Image, ImageOps

LARGEST_FILE = 5 * 1024 * 1024
LARGEST_SIDE = 12_000
# A file of 2 kB can unpack to any number of pixels. While one of this many is decoded it takes 200 MB, a WebP file, which
# Pillow holds four times over, 250 MB.
MOST_PIXELS = 25_000_000
MOST_WEBP_PIXELS = 16_000_000
# Each scan of a progressive JPEG goes over all its pixels again, and can be 42 bytes long. Programs write about ten.
MOST_SCANS = 100
START_OF_SCAN = b"\xff\xda"
# One picture at a time is decoded in a process, whatever the number of its threads; seconds that another waits for it.
DECODING = threading.Lock()
PATIENCE = 5
SIDE = 512
FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
CONTENT_TYPE = "image/webp"
TOO_MANY_PIXELS = (
    f"This picture has too many pixels. Make it smaller: at most {MOST_PIXELS // 1_000_000} million in all "
    f"({MOST_WEBP_PIXELS // 1_000_000} million in a WebP file) and {LARGEST_SIDE:,} a side."
)
# A second nature inside a picture: markup or a program that another reader would run, or an archive at its end. Drawing
# anew would make it harmless; who sends one is told, because it is no accident.
FOREIGN = re.compile(
    rb"<script|<\?php|<html|<!doctype|<svg[\s>]|<iframe|javascript:|%PDF-\d|\x7fELF\x02", re.IGNORECASE
)
ZIP_END = b"PK\x05\x06"
ZIP_TAIL = 65_557  # the end record of a ZIP archive and its longest comment


def redrawn(upload: UploadedFile[Any]) -> ContentFile[bytes]:
    """The uploaded picture, at most 512 px a side, as WebP without metadata. Raises ValidationError for anything else."""
    if (upload.size or 0) > LARGEST_FILE:
        raise ValidationError("This picture is too large. It may have at most 5 MB.", code="picture_too_large")
    content = upload.read()
    refuse_second_nature(content)
    refuse_many_scans(content)
    if not DECODING.acquire(timeout=PATIENCE):
        raise ValidationError("The server is busy with other pictures. Try again in a minute.", code="busy")
    try:
        with warnings.catch_warnings():
            # Pillow warns of the malformed where it can go on; what it cannot decode it raises.
            warnings.simplefilter("ignore")
            return ContentFile(draw(BytesIO(content)), name="picture.webp")
    except ValidationError:
        raise
    except Image.DecompressionBombError:
        raise ValidationError(TOO_MANY_PIXELS, code="too_many_pixels") from None
    except Exception:  # noqa: BLE001  (Pillow's decoders raise whatever they stumble over: struct.error, SyntaxError, …)
        raise ValidationError(
            "This is not a picture we can read. Use a JPEG, PNG, WebP or GIF file.", code="not_a_picture"
        ) from None
    finally:
        DECODING.release()


def refuse_second_nature(content: bytes) -> None:
    if FOREIGN.search(content) or ZIP_END in content[-ZIP_TAIL:]:
        raise ValidationError(
            "This file is not only a picture. Save it anew in a picture editor, then upload it again.", code="polyglot"
        )


def refuse_many_scans(content: bytes) -> None:
    if content.startswith(b"\xff\xd8") and content.count(START_OF_SCAN) > MOST_SCANS:
        raise ValidationError(
            f"This JPEG has too many scans; {MOST_SCANS} are allowed. Save it again in a picture editor.",
            code="too_many_scans",
        )


def draw(source: IO[bytes]) -> bytes:
    with Image.open(source, formats=FORMATS) as picture:
        refuse_bomb(*picture.size, MOST_WEBP_PIXELS if picture.format == "WEBP" else MOST_PIXELS)
        mode = "RGBA" if picture.has_transparency_data else "RGB"
        small = averageable(picture, mode)
        small.thumbnail((SIDE, SIDE))
        small = ImageOps.exif_transpose(small).convert(mode)
        # Only pixels go on: a fresh image has no EXIF, no XMP, no comments, no colour profile.
        clean = Image.new(small.mode, small.size)
        clean.paste(small)
        target = BytesIO()
        clean.save(target, "WEBP", quality=85, method=4)
        return target.getvalue()


def averageable(picture: Image.Image, mode: str) -> Image.Image:
    """A palette and 16-bit levels cannot be averaged; other modes shrink first, which takes a fraction of the memory."""
    if picture.mode in {"P", "1"}:
        return picture.convert(mode)
    if picture.mode.startswith("I;16"):
        return picture.convert("I").point(lambda level: level / 256).convert("L")
    return picture


def refuse_bomb(width: int, height: int, most: int) -> None:
    if max(width, height) > LARGEST_SIDE or width * height > most:
        raise ValidationError(TOO_MANY_PIXELS, code="too_many_pixels")


def remove_file(name: str | None) -> None:
    """Remove a stored picture once the transaction that let go of it is through; a missing file is no error."""
    if name:
        transaction.on_commit(lambda: default_storage.delete(name))

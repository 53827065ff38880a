"""Profile pictures: whatever is uploaded is decoded and drawn anew, so that what we serve is a small picture, nothing else.

The rules follow OWASP's File Upload Cheat Sheet: known formats by content, bounds before decoding, our own name and type.
"""

from __future__ import annotations

import re
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
# What a 50-megapixel camera makes, and about 150 MB while it is decoded.
MOST_PIXELS = 50_000_000
SIDE = 512
FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
CONTENT_TYPE = "image/webp"
TOO_MANY_PIXELS = (
    f"This picture has too many pixels. At most {LARGEST_SIDE:,} a side and {MOST_PIXELS // 1_000_000} million in all "
    f"are allowed."
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


def refuse_second_nature(content: bytes) -> None:
    if FOREIGN.search(content) or ZIP_END in content[-ZIP_TAIL:]:
        raise ValidationError(
            "This file is not only a picture. Save it anew in a picture editor, then upload it again.", code="polyglot"
        )


def draw(source: IO[bytes]) -> bytes:
    with Image.open(source, formats=FORMATS) as picture:
        refuse_bomb(*picture.size)
        mode = "RGBA" if picture.has_transparency_data else "RGB"
        # A palette cannot be averaged; other modes shrink first, which takes a fraction of the memory.
        small = picture.convert(mode) if picture.mode in {"P", "1"} else picture
        small.thumbnail((SIDE, SIDE))
        small = ImageOps.exif_transpose(small).convert(mode)
        # Only pixels go on: a fresh image has no EXIF, no XMP, no comments, no colour profile.
        clean = Image.new(small.mode, small.size)
        clean.paste(small)
        target = BytesIO()
        clean.save(target, "WEBP", quality=85, method=4)
        return target.getvalue()


def refuse_bomb(width: int, height: int) -> None:
    if max(width, height) > LARGEST_SIDE or width * height > MOST_PIXELS:
        raise ValidationError(TOO_MANY_PIXELS, code="too_many_pixels")


def remove_file(name: str | None) -> None:
    """Remove a stored picture once the transaction that let go of it is through; a missing file is no error."""
    if name:
        transaction.on_commit(lambda: default_storage.delete(name))

"""Profile pictures: what is uploaded is decoded and encoded again, so that we serve a small picture and nothing else.

Follows OWASP's File Upload Cheat Sheet: formats by content, limits before decoding, our own file name and type.
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

MAX_FILE_SIZE = 5 * 1024 * 1024
MAX_SIDE = 12_000
# Even a 2 kB file can have any number of pixels. Decoding this many takes 200 MB, or 250 MB for a WebP file, of which Pillow
# keeps four copies.
MAX_PIXELS = 25_000_000
MAX_WEBP_PIXELS = 16_000_000
# Each scan of a progressive JPEG goes over all pixels again, and can be as short as 42 bytes. Programs write about ten.
MAX_SCANS = 100
START_OF_SCAN = b"\xff\xda"
# Seconds to wait for a turn: a process decodes one picture at a time.
DECODE_LOCK = threading.Lock()
DECODE_TIMEOUT = 5
SIDE = 512
FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
CONTENT_TYPE = "image/webp"
TOO_MANY_PIXELS = (
    f"This picture has too many pixels. Use at most {MAX_PIXELS // 1_000_000} million in all "
    f"({MAX_WEBP_PIXELS // 1_000_000} million in a WebP file) and {MAX_SIDE:,} a side."
)
# Markup or a program inside a picture, or an archive after it. Re-encoding removes it, but it isn't there by accident.
FOREIGN = re.compile(
    rb"<script|<\?php|<html|<!doctype|<svg[\s>]|<iframe|javascript:|%PDF-\d|\x7fELF\x02", re.IGNORECASE
)
ZIP_END = b"PK\x05\x06"
ZIP_TAIL = 65_557  # the end record of a ZIP archive and its longest comment


def reencode(upload: UploadedFile[Any]) -> ContentFile[bytes]:
    """The picture as WebP, at most 512 px a side and without metadata. Raises ValidationError."""
    if (upload.size or 0) > MAX_FILE_SIZE:
        raise ValidationError("This picture is too large. Use one of at most 5 MB.", code="picture_too_large")
    content = upload.read()
    validate_content(content)
    validate_scans(content)
    if not DECODE_LOCK.acquire(timeout=DECODE_TIMEOUT):
        raise ValidationError("The server is busy with other pictures. Try again in a minute.", code="busy")
    try:
        with warnings.catch_warnings():
            # Pillow raises these for files that it can't decode.
            warnings.simplefilter("ignore")
            return ContentFile(encode(BytesIO(content)), name="picture.webp")
    except ValidationError:
        raise
    except Image.DecompressionBombError:
        raise ValidationError(TOO_MANY_PIXELS, code="too_many_pixels") from None
    except Exception:  # noqa: BLE001  (Pillow's decoders raise anything: struct.error, SyntaxError, …)
        raise ValidationError(
            "We can't read this picture. Use a JPEG, PNG, WebP or GIF file.", code="not_a_picture"
        ) from None
    finally:
        DECODE_LOCK.release()


def validate_content(content: bytes) -> None:
    if FOREIGN.search(content) or ZIP_END in content[-ZIP_TAIL:]:
        raise ValidationError(
            "This file contains more than a picture. Save it again in a picture editor, then upload it.",
            code="polyglot",
        )


def validate_scans(content: bytes) -> None:
    if content.startswith(b"\xff\xd8") and content.count(START_OF_SCAN) > MAX_SCANS:
        raise ValidationError(
            f"This JPEG has more than {MAX_SCANS} scans. Save it again in a picture editor.", code="too_many_scans"
        )


def validate_dimensions(width: int, height: int, max_pixels: int) -> None:
    if max(width, height) > MAX_SIDE or width * height > max_pixels:
        raise ValidationError(TOO_MANY_PIXELS, code="too_many_pixels")


def encode(source: IO[bytes]) -> bytes:
    with Image.open(source, formats=FORMATS) as picture:
        validate_dimensions(*picture.size, MAX_WEBP_PIXELS if picture.format == "WEBP" else MAX_PIXELS)
        mode = "RGBA" if picture.has_transparency_data else "RGB"
        small = resizable(picture, mode)
        small.thumbnail((SIDE, SIDE))
        small = ImageOps.exif_transpose(small).convert(mode)
        # A new image has no EXIF, XMP, comments or color profile.
        clean = Image.new(small.mode, small.size)
        clean.paste(small)
        target = BytesIO()
        clean.save(target, "WEBP", quality=85, method=4)
        return target.getvalue()


def resizable(picture: Image.Image, mode: str) -> Image.Image:
    """Convert palettes and 16-bit levels, which can't be averaged. Other modes are cheaper to resize as they are."""
    if picture.mode in {"P", "1"}:
        return picture.convert(mode)
    if picture.mode.startswith("I;16"):
        return picture.convert("I").point(lambda level: level / 256).convert("L")
    return picture


def remove_file(name: str | None) -> None:
    """Remove a stored picture when the transaction commits; a missing file is no error."""
    if name:
        transaction.on_commit(lambda: default_storage.delete(name))

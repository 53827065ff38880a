"""Small files that are expensive to decode are rejected, with the limit, before they cost memory or time."""

from __future__ import annotations

import html
import io
import subprocess
import sys
import threading
import time
import zlib

import pytest
from django.db import connection
from PIL import Image

from accounts import pictures
from tests.accounts.people import messages
from tests.accounts.profile.test_profile_picture import (
    image_file,
    png_chunk,
    png_with_claimed_size,
    read,
    stored,
    upload,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("media_folder")]
EXTENSIONS = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp", "GIF": "gif"}


def picture_error(response):
    assert response.status_code == 200
    (error,) = response.context["picture_form"].errors["picture"]
    assert error in html.unescape(response.content.decode())
    return error


def image_with_frames(kind, count, size):
    target = io.BytesIO()
    first, *others = [Image.new("RGB", size, (number, 0, 0)) for number in range(count)]
    first.save(target, kind, save_all=True, append_images=others)
    return target.getvalue()


def jpeg_with_scans(count):
    """A progressive JPEG with its last scan repeated `count` times."""
    content = image_file("JPEG", (64, 64), "L", progressive=True)
    last = content[content.rindex(pictures.START_OF_SCAN) : -2]
    return content[:-2] + last * count + content[-2:]


@pytest.mark.parametrize("kind", EXTENSIONS)
def test_a_picture_with_too_many_pixels_is_rejected_with_an_error_that_names_the_limit(alice_client, alice, kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    content = image_file(kind, (8000, 6000), "P" if kind == "GIF" else "RGB", **options)
    upload(alice_client, image_file())
    before = stored(alice)
    error = picture_error(upload(alice_client, content, f"me.{EXTENSIONS[kind]}"))
    assert "25 million" in error
    assert "16 million in a WebP file" in error
    assert stored(alice) == before


@pytest.mark.parametrize(
    ("kind", "size", "taken"),
    [
        ("WEBP", (4000, 4000), True),
        ("WEBP", (4000, 4001), False),
        ("PNG", (5000, 5000), True),
        ("PNG", (5000, 5001), False),
        ("JPEG", (5000, 5000), True),
        ("JPEG", (5000, 5001), False),
    ],
)
def test_a_picture_can_have_as_many_pixels_as_the_limit(alice_client, alice, kind, size, taken):
    upload(alice_client, image_file(kind, size))
    assert bool(stored(alice)) is taken


@pytest.mark.parametrize("extension", ["png", "jpg", "webp", "gif", "txt", "php", ""])
def test_the_file_name_and_content_type_are_ignored(alice_client, alice, extension):
    assert "million" in picture_error(
        upload(alice_client, png_with_claimed_size(9000, 9000), f"me.{extension}", "image/webp")
    )
    upload(alice_client, image_file("JPEG"), f"me.{extension}", "text/plain")
    assert stored(alice).endswith(".webp")


@pytest.mark.parametrize(
    "content",
    [
        image_file("TIFF"),
        image_file("TIFF", (8000, 6000), "1", compression="group4"),
        image_file("BMP"),
        image_file("PPM"),
        image_file("TGA"),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100000 100000\n",
    ],
    ids=["tiff", "large tiff", "bmp", "ppm", "tga", "eps"],
)
def test_only_four_formats_are_decoded(alice_client, alice, content):
    assert (
        picture_error(upload(alice_client, content)) == "We can't read this picture. Use a JPEG, PNG, WebP or GIF file."
    )
    assert stored(alice) == ""


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_only_the_first_frame_of_an_animation_is_kept(alice_client, alice, kind):
    upload(alice_client, image_with_frames(kind, 60, (300, 300)))
    with Image.open(io.BytesIO(read(stored(alice)))) as picture:
        assert getattr(picture, "n_frames", 1) == 1


def test_only_the_first_picture_of_an_mpo_file_is_kept(alice_client, alice):
    upload(alice_client, image_with_frames("MPO", 3, (300, 200)), "me.jpg")
    with Image.open(io.BytesIO(read(stored(alice)))) as picture:
        assert (picture.format, picture.size) == ("WEBP", (300, 200))


def test_a_jpeg_with_too_many_scans_is_rejected(alice_client, alice):
    error = picture_error(upload(alice_client, jpeg_with_scans(100), "me.jpg"))
    assert error == "This JPEG has more than 100 scans. Save it again in a picture editor."
    upload(alice_client, jpeg_with_scans(20), "me.jpg")
    assert stored(alice)


def test_compressed_text_that_expands_too_much_is_rejected(alice_client, alice):
    target = io.BytesIO()
    Image.new("RGB", (10, 10)).save(target, "PNG")
    content = target.getvalue()
    packed = png_chunk(b"zTXt", b"k\0\0" + zlib.compress(b"a" * 5_000_000))
    picture_error(upload(alice_client, content[:33] + packed + content[33:]))
    assert stored(alice) == ""


def test_a_16_bit_grayscale_picture_keeps_its_brightness(alice_client, alice):
    grey = io.BytesIO()
    Image.new("I;16", (3000, 3000), 128 * 256).save(grey, "PNG")
    upload(alice_client, grey.getvalue())
    with Image.open(io.BytesIO(read(stored(alice)))) as picture:
        assert abs(picture.convert("L").getpixel((100, 100)) - 128) < 3


def test_waiting_too_long_for_another_upload_is_an_error(alice_client, alice, monkeypatch):
    monkeypatch.setattr(pictures, "DECODE_TIMEOUT", 0.01)
    with pictures.DECODE_LOCK:
        error = picture_error(upload(alice_client, image_file()))
    assert error == "The server is busy with other pictures. Try again in a minute."
    assert messages(upload(alice_client, image_file())) == ["Picture updated."]


def test_an_unreadable_picture_does_not_block_the_next_upload(alice_client, alice):
    picture_error(upload(alice_client, image_file("JPEG")[:400]))
    upload(alice_client, image_file())
    assert stored(alice)


@pytest.mark.django_db(transaction=True)
def test_pictures_are_decoded_one_at_a_time(alice_client, monkeypatch):
    active, concurrent, draw = [], [], pictures.encode

    def counting_encode(source):
        active.append(source)
        concurrent.append(len(active))
        time.sleep(0.02)
        active.remove(source)
        return draw(source)

    monkeypatch.setattr(pictures, "encode", counting_encode)

    def send():
        upload(alice_client, image_file(), follow=False)
        connection.close()

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert concurrent == [1] * 6


MEASURE = """
import io, resource, sys
from django.conf import settings
settings.configure()
from accounts import pictures
content = sys.stdin.buffer.read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
pictures.encode(io.BytesIO(content))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kB on Linux only")
@pytest.mark.parametrize(("kind", "size", "mode"), [("WEBP", (4000, 4000), "RGBA"), ("PNG", (5000, 5000), "RGBA")])
def test_decoding_the_largest_picture_stays_within_the_memory_limit(kind, size, mode):
    done = subprocess.run(
        [sys.executable, "-c", MEASURE], input=image_file(kind, size, mode), capture_output=True, check=True
    )
    assert int(done.stdout) < 320_000

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
from tests.accounts.people import messages, signed_in
from tests.accounts.profile.test_profile_picture import chunk, drawn, png_that_claims, read, stored, upload

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("media_folder")]
EXTENSIONS = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp", "GIF": "gif"}


@pytest.fixture
def theirs(alice):
    return signed_in(alice)


def error_of(response):
    assert response.status_code == 200
    (error,) = response.context["picture_form"].errors["picture"]
    assert error in html.unescape(response.content.decode())
    return error


def frames(kind, count, size):
    target = io.BytesIO()
    first, *others = [Image.new("RGB", size, (number, 0, 0)) for number in range(count)]
    first.save(target, kind, save_all=True, append_images=others)
    return target.getvalue()


def scans(count):
    """A progressive JPEG whose last scan comes `count` times more."""
    content = drawn("JPEG", (64, 64), "L", progressive=True)
    last = content[content.rindex(pictures.START_OF_SCAN) : -2]
    return content[:-2] + last * count + content[-2:]


@pytest.mark.parametrize("kind", EXTENSIONS)
def test_too_many_pixels_are_rejected_with_the_limit_and_the_profile_stays(theirs, alice, kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    content = drawn(kind, (8000, 6000), "P" if kind == "GIF" else "RGB", **options)
    upload(theirs, drawn())
    before = stored(alice)
    error = error_of(upload(theirs, content, f"me.{EXTENSIONS[kind]}"))
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
def test_the_limit_itself_is_taken_and_one_row_more_is_not(theirs, alice, kind, size, taken):
    upload(theirs, drawn(kind, size))
    assert bool(stored(alice)) is taken


@pytest.mark.parametrize("extension", ["png", "jpg", "webp", "gif", "txt", "php", ""])
def test_the_name_of_a_file_changes_nothing(theirs, alice, extension):
    assert "million" in error_of(upload(theirs, png_that_claims(9000, 9000), f"me.{extension}", "image/webp"))
    upload(theirs, drawn("JPEG"), f"me.{extension}", "text/plain")
    assert stored(alice).endswith(".webp")


@pytest.mark.parametrize(
    "content",
    [
        drawn("TIFF"),
        drawn("TIFF", (8000, 6000), "1", compression="group4"),
        drawn("BMP"),
        drawn("PPM"),
        drawn("TGA"),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100000 100000\n",
    ],
    ids=["tiff", "large tiff", "bmp", "ppm", "tga", "eps"],
)
def test_only_four_kinds_of_file_reach_a_decoder(theirs, alice, content):
    assert error_of(upload(theirs, content)) == "We can't read this picture. Use a JPEG, PNG, WebP or GIF file."
    assert stored(alice) == ""


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_many_frames_the_first_is_drawn(theirs, alice, kind):
    upload(theirs, frames(kind, 60, (300, 300)))
    with Image.open(io.BytesIO(read(stored(alice)))) as picture:
        assert getattr(picture, "n_frames", 1) == 1


def test_a_picture_of_several_pictures_is_taken_for_its_first(theirs, alice):
    upload(theirs, frames("MPO", 3, (300, 200)), "me.jpg")
    with Image.open(io.BytesIO(read(stored(alice)))) as picture:
        assert (picture.format, picture.size) == ("WEBP", (300, 200))


def test_a_jpeg_of_many_scans_is_rejected_and_one_of_common_programs_is_taken(theirs, alice):
    error = error_of(upload(theirs, scans(100), "me.jpg"))
    assert error == "This JPEG has more than 100 scans. Save it again in a picture editor."
    upload(theirs, scans(20), "me.jpg")
    assert stored(alice)


def test_text_that_unpacks_to_much_is_rejected(theirs, alice):
    target = io.BytesIO()
    Image.new("RGB", (10, 10)).save(target, "PNG")
    content = target.getvalue()
    packed = chunk(b"zTXt", b"k\0\0" + zlib.compress(b"a" * 5_000_000))
    error_of(upload(theirs, content[:33] + packed + content[33:]))
    assert stored(alice) == ""


def test_a_grey_picture_of_16_bits_keeps_its_levels(theirs, alice):
    grey = io.BytesIO()
    Image.new("I;16", (3000, 3000), 128 * 256).save(grey, "PNG")
    upload(theirs, grey.getvalue())
    with Image.open(io.BytesIO(read(stored(alice)))) as picture:
        assert abs(picture.convert("L").getpixel((100, 100)) - 128) < 3


def test_users_who_wait_too_long_for_another_picture_are_asked_to_try_again(theirs, alice, monkeypatch):
    monkeypatch.setattr(pictures, "DECODE_TIMEOUT", 0.01)
    with pictures.DECODE_LOCK:
        error = error_of(upload(theirs, drawn()))
    assert error == "The server is busy with other pictures. Try again in a minute."
    assert messages(upload(theirs, drawn())) == ["Picture updated."]


def test_a_picture_that_cannot_be_read_lets_the_next_one_in(theirs, alice):
    error_of(upload(theirs, drawn("JPEG")[:400]))
    upload(theirs, drawn())
    assert stored(alice)


@pytest.mark.django_db(transaction=True)
def test_one_picture_at_a_time_is_decoded(theirs, monkeypatch):
    at_work, most, draw = [], [], pictures.encode

    def watched(source):
        at_work.append(source)
        most.append(len(at_work))
        time.sleep(0.02)
        at_work.remove(source)
        return draw(source)

    monkeypatch.setattr(pictures, "encode", watched)

    def send():
        upload(theirs, drawn(), follow=False)
        connection.close()

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 6


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
def test_the_largest_picture_takes_the_memory_that_the_limits_promise(kind, size, mode):
    done = subprocess.run(
        [sys.executable, "-c", MEASURE], input=drawn(kind, size, mode), capture_output=True, check=True
    )
    assert int(done.stdout) < 320_000

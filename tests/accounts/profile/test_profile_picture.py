"""/account/picture/: which pictures are accepted, and how they are served."""

from __future__ import annotations

import html
import io
import struct
import tracemalloc
import zipfile
import zlib

import pytest
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from PIL import Image

from accounts import pictures
from accounts.models import User
from tests.accounts.people import history, messages, signed_in
from tests.rows import make_staff

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("media_folder")]


def drawn(kind="PNG", size=(800, 600), mode="RGB", **options):
    target = io.BytesIO()
    Image.new(mode, size, 128 if mode in {"L", "P", "I;16"} else None).save(target, kind, **options)
    return target.getvalue()


def upload(client, content, name="me.png", kind="image/png", follow=True):
    return client.post("/account/picture/change/", {"picture": SimpleUploadedFile(name, content, kind)}, follow=follow)


def stored(user):
    user.refresh_from_db()
    return user.profile_image.name


def read(name):
    with default_storage.open(name) as file:
        return file.read()


def files():
    try:
        folders, _ = default_storage.listdir("profile-images")
    except FileNotFoundError:
        return []
    return [name for folder in folders for name in default_storage.listdir(f"profile-images/{folder}")[1]]


@pytest.fixture
def alices_client(alice):
    return signed_in(alice)


@pytest.mark.django_db(transaction=True)
def test_a_picture_is_reencoded_and_stored_under_a_random_name(alices_client, alice):
    exif = Image.Exif()
    exif[0x010E] = "taken at home, 52.52 N 13.40 E"
    response = upload(
        alices_client, drawn("JPEG", (3000, 1500), exif=exif, comment=b"hello"), "C:\\me & you.jpg", "image/jpeg"
    )
    assert messages(response) == ["Picture updated."]
    name = stored(alice)
    assert "me" not in name.rsplit("/", 1)[1]
    content = read(name)
    with Image.open(io.BytesIO(content)) as picture:
        assert (picture.format, picture.size) == ("WEBP", (512, 256))
        assert not picture.getexif()
    assert b"taken at home" not in content
    assert history(alice)[0].values == [{"field": "picture", "old": "–", "new": "set"}]


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        ("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("PNG", "RGBA"), ("PNG", "P"), ("PNG", "1"), ("PNG", "LA"),
        ("PNG", "I;16"), ("GIF", "P"), ("WEBP", "RGBA"),
    ],
)  # fmt: skip
def test_every_common_kind_is_taken(alices_client, alice, kind, mode):
    upload(alices_client, drawn(kind, mode=mode))
    with Image.open(io.BytesIO(read(stored(alice)))) as picture:
        assert picture.format == "WEBP"


def test_a_picture_that_lies_on_its_side_stands_up(alices_client, alice):
    exif = Image.Exif()
    exif[0x0112] = 6
    upload(alices_client, drawn("JPEG", (400, 200), exif=exif))
    with Image.open(io.BytesIO(read(stored(alice)))) as picture:
        assert picture.size == (200, 400)


def test_the_picture_is_served_by_our_own_view_with_its_type(alices_client, alice):
    upload(alices_client, drawn())
    response = alices_client.get("/account/picture/")
    assert response["Content-Type"] == "image/webp"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Cache-Control"] == "private, no-cache"
    assert response["Content-Disposition"] == "inline"
    assert b"".join(response.streaming_content).startswith(b"RIFF")


def test_others_see_it_only_if_they_are_staff_who_may_see_users(alices_client, alice, bob, client):
    upload(alices_client, drawn())
    url = f"/users/{alice.pk}/picture/"
    seen = signed_in(make_staff("steve", "view_user")).get(url)
    assert b"".join(seen.streaming_content)
    assert signed_in(bob).get(url).status_code == 403
    assert client.get(url).status_code == 302
    assert signed_in(bob).get("/account/picture/").status_code == 404
    assert client.get(f"/media/{stored(alice)}").status_code == 404


@pytest.mark.django_db(transaction=True)
def test_a_new_picture_takes_the_place_of_the_old_file_and_removing_it_leaves_none(alices_client, alice):
    upload(alices_client, drawn())
    first = stored(alice)
    upload(alices_client, drawn("JPEG"))
    assert stored(alice) != first
    assert len(files()) == 1
    response = alices_client.post("/account/picture/remove/", follow=True)
    assert messages(response) == ["Picture removed."]
    assert files() == []
    assert alices_client.get("/account/picture/").status_code == 404
    assert messages(alices_client.post("/account/picture/remove/", follow=True)) == []


def test_a_file_that_is_gone_is_not_found(alices_client, alice):
    User.objects.filter(pk=alice.pk).update(profile_image="profile-images/1/gone.webp")
    assert alices_client.get("/account/picture/").status_code == 404


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_that_claims(width, height):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


def with_a_zip_behind():
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as bundle:
        bundle.writestr("evil.class", b"x" * 100)
    return drawn() + archive.getvalue()


REFUSED = {
    "empty": b"",
    "text": b"I am no picture.",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
    "html": b"<!doctype html><title>x</title>",
    "pdf": b"%PDF-1.7\n",
    "cut short": drawn("JPEG")[:400],
    "only the first bytes": b"\x89PNG\r\n\x1a\n",
    "broken chunks": drawn()[:60] + b"\xff" * 60,
    "too large a file": drawn() + b"\0" * (pictures.MAX_FILE_SIZE + 1),
    "30,000 pixels a side": png_that_claims(30_000, 30_000),
    "20,000 pixels a side": png_that_claims(20_000, 100),
    "too many pixels in all": png_that_claims(9_000, 9_000),
    "no pixels at all": png_that_claims(0, 0),
    "a picture and a program": drawn("GIF", mode="P") + b"<?php system($_GET['c']); ?>",
    "a picture and a page": drawn("JPEG") + b"<HTML><SCRIPT>alert(1)</SCRIPT>",
    "a picture and an archive": with_a_zip_behind(),
    "a comment that is a page": drawn("JPEG", comment=b"<script>alert(1)</script>"),
    "a tiff": drawn("TIFF"),
    "a bmp": drawn("BMP"),
    "an icon": drawn("ICO", (64, 64)),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_picture_or_more_than_one_is_an_error_and_nothing_is_stored(alices_client, alice, kind):
    response = upload(alices_client, REFUSED[kind])
    assert response.status_code == 200
    (error,) = response.context["picture_form"].errors["picture"]
    assert error in html.unescape(response.content.decode())
    assert stored(alice) == ""
    assert files() == []


def test_nothing_chosen_is_an_error_at_the_field(alices_client):
    response = alices_client.post("/account/picture/change/", {})
    assert response.context["picture_form"].errors["picture"] == ["Choose a picture."]
    response = alices_client.post("/account/picture/change/", {"picture": "just text"})
    assert response.context["picture_form"].errors["picture"] == ["Choose a picture."]


def test_fifty_megabytes_are_rejected_without_reading_them_into_memory(alices_client, alice, settings):
    settings.FILE_UPLOAD_HANDLERS = ["django.core.files.uploadhandler.TemporaryFileUploadHandler"]
    content = b"\xff\xd8\xff" + b"\0" * 50_000_000
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    response = upload(alices_client, content)
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    assert response.context["picture_form"].errors["picture"] == ["This picture is too large. Use one of at most 5 MB."]
    # The test's own request holds the body a few times over; our code must not add another copy of it.
    assert peak < 4 * len(content)
    assert files() == []


def test_only_posts_change_a_picture(alices_client):
    assert alices_client.get("/account/picture/change/").status_code == 405
    assert alices_client.get("/account/picture/remove/").status_code == 405


@pytest.mark.parametrize("path", ["change", "remove"])
def test_visitors_change_nothing(client, db, path):
    assert client.post(f"/account/picture/{path}/").status_code == 302

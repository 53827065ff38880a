"""/account/picture/: which pictures are accepted, and how they are served."""

from __future__ import annotations

import html
import io
import struct
import tracemalloc
import zipfile
import zlib

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from PIL import Image

from accounts import pictures
from accounts.erasure import erase
from accounts.models import User
from accounts.services import set_picture
from config.base.history import Author
from config.base.models import ConcurrentDeletion
from tests.accounts.people import history, messages, signed_in
from tests.parallel import in_parallel
from tests.rows import make_staff

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("media_folder")]


def image_file(kind="PNG", size=(800, 600), mode="RGB", **options):
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


def stored_files():
    try:
        folders, _ = default_storage.listdir("profile-images")
    except FileNotFoundError:
        return []
    return [name for folder in folders for name in default_storage.listdir(f"profile-images/{folder}")[1]]


@pytest.mark.django_db(transaction=True)
def test_a_picture_is_reencoded_and_stored_under_a_random_name(alice_client, alice):
    exif = Image.Exif()
    exif[0x010E] = "taken at home, 52.52 N 13.40 E"
    response = upload(
        alice_client, image_file("JPEG", (3000, 1500), exif=exif, comment=b"hello"), "C:\\me & you.jpg", "image/jpeg"
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
def test_common_formats_and_modes_are_accepted(alice_client, alice, kind, mode):
    upload(alice_client, image_file(kind, mode=mode))
    with Image.open(io.BytesIO(read(stored(alice)))) as picture:
        assert picture.format == "WEBP"


def test_a_picture_is_rotated_as_its_exif_data_says(alice_client, alice):
    exif = Image.Exif()
    exif[0x0112] = 6
    upload(alice_client, image_file("JPEG", (400, 200), exif=exif))
    with Image.open(io.BytesIO(read(stored(alice)))) as picture:
        assert picture.size == (200, 400)


def test_the_picture_is_served_by_a_view_with_its_content_type(alice_client, alice):
    upload(alice_client, image_file())
    response = alice_client.get("/account/picture/")
    assert response["Content-Type"] == "image/webp"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Cache-Control"] == "private, no-cache"
    assert response["Content-Disposition"] == "inline"
    assert b"".join(response.streaming_content).startswith(b"RIFF")


def test_only_the_user_and_staff_who_can_view_users_see_a_picture(alice_client, alice, bob, client):
    upload(alice_client, image_file())
    url = f"/users/{alice.pk}/picture/"
    seen = signed_in(make_staff("steve", "view_user")).get(url)
    assert b"".join(seen.streaming_content)
    assert signed_in(bob).get(url).status_code == 403
    assert client.get(url).status_code == 302
    assert signed_in(bob).get("/account/picture/").status_code == 404
    assert client.get(f"/media/{stored(alice)}").status_code == 404


@pytest.mark.django_db(transaction=True)
def test_replacing_or_removing_a_picture_deletes_the_old_file(alice_client, alice):
    upload(alice_client, image_file())
    first = stored(alice)
    upload(alice_client, image_file("JPEG"))
    assert stored(alice) != first
    assert len(stored_files()) == 1
    response = alice_client.post("/account/picture/remove/", follow=True)
    assert messages(response) == ["Picture removed."]
    assert stored_files() == []
    assert alice_client.get("/account/picture/").status_code == 404
    assert messages(alice_client.post("/account/picture/remove/", follow=True)) == []


@pytest.mark.django_db(transaction=True)
def test_several_uploads_at_once_leave_one_file(alice):
    clients = [signed_in(alice) for _ in range(4)]
    responses = in_parallel(4, lambda number: upload(clients[number], image_file(size=(8, 8)), follow=False))
    assert [response.status_code for response in responses] == [302] * 4
    assert [f"profile-images/{alice.pk}/{name}" for name in stored_files()] == [stored(alice)]


@pytest.mark.django_db(transaction=True)
def test_no_picture_is_stored_for_a_user_erased_during_the_upload(alice_client, alice, sue, monkeypatch):
    encode = pictures.encode

    def slow_encode(source):
        erase(alice, Author(sue))
        return encode(source)

    monkeypatch.setattr(pictures, "encode", slow_encode)
    assert upload(alice_client, image_file(), follow=False).status_code == 404
    assert (stored(alice), stored_files()) == ("", [])


def test_no_picture_is_stored_for_a_deleted_user(alice):
    User.objects.filter(pk=alice.pk).delete()
    with pytest.raises(ConcurrentDeletion):
        set_picture(alice, ContentFile(image_file(), "me.webp"), Author(alice))
    assert (stored(alice), stored_files()) == ("", [])


def test_a_missing_file_is_not_found(alice_client, alice):
    User.objects.filter(pk=alice.pk).update(profile_image="profile-images/1/gone.webp")
    assert alice_client.get("/account/picture/").status_code == 404


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_with_claimed_size(width, height):
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + png_chunk(b"IEND", b"")


def png_followed_by_zip():
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as bundle:
        bundle.writestr("evil.class", b"x" * 100)
    return image_file() + archive.getvalue()


REFUSED = {
    "empty": b"",
    "text": b"This isn't a picture.",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
    "html": b"<!doctype html><title>x</title>",
    "pdf": b"%PDF-1.7\n",
    "cut short": image_file("JPEG")[:400],
    "only the first bytes": b"\x89PNG\r\n\x1a\n",
    "broken chunks": image_file()[:60] + b"\xff" * 60,
    "too large a file": image_file() + b"\0" * (pictures.MAX_FILE_SIZE + 1),
    "30,000 pixels a side": png_with_claimed_size(30_000, 30_000),
    "20,000 pixels a side": png_with_claimed_size(20_000, 100),
    "too many pixels in all": png_with_claimed_size(9_000, 9_000),
    "no pixels at all": png_with_claimed_size(0, 0),
    "a picture and a program": image_file("GIF", mode="P") + b"<?php system($_GET['c']); ?>",
    "a picture and a page": image_file("JPEG") + b"<HTML><SCRIPT>alert(1)</SCRIPT>",
    "a picture and an archive": png_followed_by_zip(),
    "a comment that is a page": image_file("JPEG", comment=b"<script>alert(1)</script>"),
    "a tiff": image_file("TIFF"),
    "a bmp": image_file("BMP"),
    "an icon": image_file("ICO", (64, 64)),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_files_that_are_not_just_a_picture_are_rejected(alice_client, alice, kind):
    response = upload(alice_client, REFUSED[kind])
    assert response.status_code == 200
    (error,) = response.context["picture_form"].errors["picture"]
    assert error in html.unescape(response.content.decode())
    assert stored(alice) == ""
    assert stored_files() == []


def test_a_form_without_a_file_is_a_field_error(alice_client):
    response = alice_client.post("/account/picture/change/", {})
    assert response.context["picture_form"].errors["picture"] == ["Choose a picture."]
    response = alice_client.post("/account/picture/change/", {"picture": "just text"})
    assert response.context["picture_form"].errors["picture"] == ["Choose a picture."]


def test_a_50_mb_file_is_rejected_without_being_read_into_memory(alice_client, alice, settings):
    settings.FILE_UPLOAD_HANDLERS = ["django.core.files.uploadhandler.TemporaryFileUploadHandler"]
    content = b"\xff\xd8\xff" + b"\0" * 50_000_000
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    response = upload(alice_client, content)
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    assert response.context["picture_form"].errors["picture"] == ["This picture is too large. Use one of at most 5 MB."]
    # The test client's request itself has several copies of the body. The view must not add another one.
    assert peak < 4 * len(content)
    assert stored_files() == []


def test_changing_a_picture_requires_post(alice_client):
    assert alice_client.get("/account/picture/change/").status_code == 405
    assert alice_client.get("/account/picture/remove/").status_code == 405


@pytest.mark.parametrize("path", ["change", "remove"])
def test_visitors_are_redirected_to_sign_in(client, db, path):
    assert client.post(f"/account/picture/{path}/").status_code == 302

"""How a profile picture leaves the house: by our own view, with the type we gave it, for those who may see it."""

from __future__ import annotations

from django.http import FileResponse, Http404

from accounts import pictures
from accounts.models import User


def picture_response(user: User) -> FileResponse:
    """The account's picture. Raises Http404 if it has none, or its file is gone."""
    if not user.profile_image:
        raise Http404
    try:
        stored = user.profile_image.open("rb")
    except FileNotFoundError:
        raise Http404 from None
    response = FileResponse(stored, content_type=pictures.CONTENT_TYPE)
    response["Content-Disposition"] = "inline"
    response["X-Content-Type-Options"] = "nosniff"
    # The name in its URL does not change with the picture: a browser may keep it, but asks each time.
    response["Cache-Control"] = "private, no-cache"
    return response

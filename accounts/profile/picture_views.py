from __future__ import annotations

from django.http import FileResponse, Http404

from accounts import pictures
from accounts.models import User


def picture_response(user: User) -> FileResponse:
    """Raises Http404 if the user has no picture, or its file is missing."""
    if not user.profile_image:
        raise Http404
    try:
        stored = user.profile_image.open("rb")
    except FileNotFoundError:
        raise Http404 from None
    response = FileResponse(stored, content_type=pictures.CONTENT_TYPE)
    response["Content-Disposition"] = "inline"
    response["X-Content-Type-Options"] = "nosniff"
    # The URL stays the same when the picture changes, so browsers must revalidate.
    response["Cache-Control"] = "private, no-cache"
    return response

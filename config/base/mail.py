"""Which addresses can receive email, and errors when sending it."""

from __future__ import annotations

import logging
import unicodedata
from email.errors import MessageError
from smtplib import SMTPRecipientsRefused

from django.core.exceptions import ValidationError
from django.core.mail.message import sanitize_address
from django.core.validators import EmailValidator

from config.base.text import BLANKS

# RFC 5321, section 4.5.3.1, and erratum 1690: for the address with its domain in ASCII.
MAX_ADDRESS_LENGTH = 254
MAX_LOCAL_PART_LENGTH = 64
# SMTP replies that ask to try again later (RFC 5321, section 4.2.1).
TEMPORARY = range(400, 500)
# Sending a message may raise these: connection errors and SMTP errors (SMTPException is an OSError), and addresses or headers
# that can't be encoded (UnicodeError is a ValueError).
MAIL_ERRORS = (OSError, ValueError, MessageError)

validate_email = EmailValidator("Enter a valid email address.")


def validate_mailable(address: str) -> None:
    """Reject an address that Django can't send email to, although EmailValidator may accept it.

    The local part must be ASCII: Django's email backend doesn't support SMTPUTF8.
    """
    validate_email(address)
    local, _, domain = address.rpartition("@")
    if not (local.isascii() and local.isprintable()):
        raise ValidationError(
            "Use only unaccented letters, digits and punctuation before the @.", code="invalid_local_part"
        )
    try:
        sent_to = f"{local}@{ascii_domain(domain)}"
        sanitize_address(address, "utf-8")
    except ValueError:
        raise ValidationError(validate_email.message, code="invalid") from None
    if len(local) > MAX_LOCAL_PART_LENGTH or len(sent_to) > MAX_ADDRESS_LENGTH:
        raise ValidationError(
            f"This address is too long. Use at most {MAX_LOCAL_PART_LENGTH} characters before the @ and {MAX_ADDRESS_LENGTH} in all.",
            code="max_length",
        )


def ascii_domain(domain: str) -> str:
    """The domain in IDNA form. Raises ValueError if it has none, or isn't in its normal form."""
    if any(unicodedata.category(character)[0] in "CZ" or character in BLANKS for character in domain):
        raise ValueError("invisible character")
    encoded = domain.encode("idna")
    if not domain.isascii() and encoded.decode("idna") != domain:
        raise ValueError("not the normal form")
    return encoded.decode("ascii")


def is_temporary(error: Exception) -> bool:
    if isinstance(error, SMTPRecipientsRefused):
        return any(code in TEMPORARY for code, _ in error.recipients.values())
    return isinstance(error, OSError)


def log_failure(logger: logging.Logger, what: str, error: Exception) -> None:
    # Errors about an address contain it, and addresses don't belong in the log.
    about_an_address = isinstance(error, SMTPRecipientsRefused) or not isinstance(error, OSError)
    logger.error("%s could not be sent: %s", what, type(error).__name__, exc_info=not about_an_address)

"""Which addresses mail can be sent to, and what goes wrong when one cannot be reached."""

from __future__ import annotations

import logging
import unicodedata
from email.errors import MessageError
from smtplib import SMTPRecipientsRefused

from django.core.exceptions import ValidationError
from django.core.mail.message import sanitize_address
from django.core.validators import EmailValidator

from config.base.text import BLANKS

# RFC 5321, section 4.5.3.1, and its erratum 1690: the address as it is sent, with its domain in ASCII.
MAX_ADDRESS_LENGTH = 254
MAX_LOCAL_PART_LENGTH = 64
# Replies of a mail server that asks to try again later (RFC 5321, section 4.2.1).
TEMPORARY = range(400, 500)
# What sending one message may raise: no connection or a refusal (SMTPException is an OSError), an address or a header that
# cannot be written (UnicodeError is a ValueError).
MAIL_ERRORS = (OSError, ValueError, MessageError)

validate_email = EmailValidator("Enter a valid email address.")


def validate_mailable(address: str) -> None:
    """Refuse an address that Django cannot send mail to, although its own rule may let it pass.

    `address` is in its normal form. The local part is ASCII: SMTPUTF8 is not supported by Django's mail backend.
    """
    validate_email(address)
    local, _, domain = address.rpartition("@")
    if not (local.isascii() and local.isprintable()):
        raise ValidationError(
            "Use only letters without accents, digits and punctuation before the @.", code="invalid_local_part"
        )
    try:
        sent_to = f"{local}@{ascii_domain(domain)}"
        sanitize_address(address, "utf-8")
    except ValueError:
        raise ValidationError(validate_email.message, code="invalid") from None
    if len(local) > MAX_LOCAL_PART_LENGTH or len(sent_to) > MAX_ADDRESS_LENGTH:
        raise ValidationError(
            f"This address is too long. It can have {MAX_LOCAL_PART_LENGTH} characters before the @ and {MAX_ADDRESS_LENGTH} in all.",
            code="max_length",
        )


def ascii_domain(domain: str) -> str:
    """The domain as it is looked up. Raises ValueError for one that has none, or that is another spelling of a domain."""
    if any(unicodedata.category(character)[0] in "CZ" or character in BLANKS for character in domain):
        raise ValueError("invisible character")
    encoded = domain.encode("idna")
    if not domain.isascii() and encoded.decode("idna") != domain:
        raise ValueError("not the normal form")
    return encoded.decode("ascii")


def is_temporary(error: Exception) -> bool:
    """Whether a later try may succeed: the mail server was away or asked to try again, and the address may be fine."""
    if isinstance(error, SMTPRecipientsRefused):
        return any(code in TEMPORARY for code, _ in error.recipients.values())
    return isinstance(error, OSError)


def log_failure(logger: logging.Logger, what: str, error: Exception) -> None:
    """Log that `what` could not be sent. An error about an address quotes it, and addresses are not for the log."""
    about_an_address = isinstance(error, SMTPRecipientsRefused) or not isinstance(error, OSError)
    logger.error("%s could not be sent: %s", what, type(error).__name__, exc_info=not about_an_address)

"""Malformed credentials, as headers or as the query of the original URI that a gateway sends."""

from __future__ import annotations

from apikeys.secrets import new_secret

GOOD = new_secret()
OTHER = new_secret()
BODY = GOOD[5:]


def bearer(text):
    return {"Authorization": text}


def key_header(text):
    return {"X-API-Key": text}


HEADERS = {
    "empty": key_header(""),
    "blank": key_header("   "),
    "tab": key_header("\t"),
    "dash": key_header("-"),
    "word": key_header("secret"),
    "null word": key_header("null"),
    "undefined": key_header("undefined"),
    "template": key_header("{{ key }}"),
    "shell variable": key_header("$API_KEY"),
    "prefix only": key_header("gate_"),
    "no prefix": key_header(BODY),
    "underscore and body": key_header(f"_{BODY}"),
    "wrong prefix": key_header(f"gaet_{BODY}"),
    "upper-case prefix": key_header(f"GATE_{BODY}"),
    "longer prefix": key_header(f"mygate_{BODY}"),
    "two underscores": key_header(f"gate__{BODY}"),
    "hyphen for underscore": key_header(f"gate-{BODY}"),
    "one short": key_header(GOOD[:-1]),
    "one long": key_header(f"{GOOD}0"),
    "first letter missing": key_header(GOOD[1:]),
    "wrong checksum": key_header(GOOD[:-6] + "000000"),
    "checksum of another": key_header(GOOD[:-6] + OTHER[-6:]),
    "checksum missing": key_header(GOOD[:-6]),
    "checksum only": key_header(f"gate_{GOOD[-6:]}"),
    "all upper case": key_header(f"gate_{BODY.upper()}1"),
    "all zeros": key_header(f"gate_{'0' * 49}"),
    "reversed": key_header(GOOD[::-1]),
    "doubled": key_header(GOOD * 2),
    "two, with a comma": key_header(f"{GOOD},{OTHER}"),
    "two, with comma and blank": key_header(f"{GOOD}, {OTHER}"),
    "the same twice, with a comma": key_header(f"{GOOD},{GOOD}"),
    "comma at the end": key_header(f"{GOOD},"),
    "comma alone": key_header(","),
    "two, with a blank": key_header(f"{GOOD} {OTHER}"),
    "two, with a semicolon": key_header(f"{GOOD};{OTHER}"),
    "in quotes": key_header(f'"{GOOD}"'),
    "in angle brackets": key_header(f"<{GOOD}>"),
    "blank inside": key_header(f"{GOOD[:20]} {GOOD[20:]}"),
    "bearer inside": key_header(f"Bearer {GOOD}"),
    "name and value": key_header(f"key={GOOD}"),
    "percent-encoded": key_header(GOOD.replace("_", "%5F")),
    "percent-encoded NUL": key_header(f"{GOOD}%00"),
    "NUL": key_header(f"{GOOD[:30]}\0{GOOD[31:]}"),
    "NUL at the end": key_header(f"{GOOD}\0"),
    "control character": key_header(f"{GOOD[:30]}\x07{GOOD[31:]}"),
    "vertical tab": key_header(f"{GOOD}\x0b"),
    "soft hyphen": key_header(f"{GOOD[:30]}\xad{GOOD[30:]}"),
    "no-break space": key_header(f"{GOOD}\xa0"),
    "Latin-1 look-alike": key_header(f"{GOOD[:30]}\xd8{GOOD[31:]}"),
    "Cyrillic a": key_header("g\u0430te_" + BODY),
    "full-width letters": key_header("\uff47\uff41\uff54\uff45_" + BODY),
    "full-width digit": key_header(f"{GOOD[:30]}\uff11{GOOD[31:]}"),
    "zero-width space": key_header(f"{GOOD}\u200b"),
    "right-to-left override": key_header(f"\u202e{GOOD}"),
    "9 kB": key_header("gate_" + "a" * 9_000),
    "9 kB of commas": key_header("," * 9_000),
    "SQL": key_header("' OR '1'='1"),
    "a key's id": key_header("01a21045-1d89-7c68-b006-3235a138e80c"),
    "JSON": key_header('{"key":"key_header"}'),
    "bearer, empty": bearer("Bearer"),
    "bearer, blank": bearer("Bearer  "),
    "bearer, word": bearer("Bearer secret"),
    "bearer, two": bearer(f"Bearer {GOOD}, Bearer {OTHER}"),
    "bearer, comma": bearer(f"Bearer {GOOD},"),
    "bearer twice": bearer(f"Bearer Bearer {GOOD}"),
    "bearer, wrong checksum": bearer(f"Bearer {GOOD[:-1]}_"),
    "bearer with parameters": bearer(f"Bearer {GOOD} realm=x"),
    "bearer, and another key": {**bearer(f"Bearer {GOOD}"), **key_header(OTHER)},
    "bearer, and an empty key": {**bearer(f"Bearer {GOOD}"), **key_header("")},
    "bearer, and half of it": {**bearer(f"Bearer {GOOD}"), **key_header(GOOD[:20])},
}
QUERIES = {
    "key in the query": f"api_key={GOOD}",
    "key in the query, another name": f"q=1&token_of_mine={GOOD}",
    "key in the query, encoded": f"x={GOOD.replace('_', '%5F')}",
    "key as a query": GOOD,
    "key after a semicolon": f"a=1;apikey={GOOD}",
    "other key in the query": "access_token=abc",
    "encoded name": "api%5Fkey=abc",
}

"""More than sixty malformed credentials, each as the headers and the original URI that a gateway would send."""

from __future__ import annotations

from apikeys.secrets import new_secret

GOOD = new_secret()
OTHER = new_secret()
BODY = GOOD[5:]


def bearer(text):
    return {"Authorization": text}


def x(text):
    return {"X-API-Key": text}


HEADERS = {
    "empty": x(""),
    "blank": x("   "),
    "tab": x("\t"),
    "dash": x("-"),
    "word": x("secret"),
    "null word": x("null"),
    "undefined": x("undefined"),
    "template": x("{{ key }}"),
    "shell variable": x("$API_KEY"),
    "prefix only": x("gate_"),
    "no prefix": x(BODY),
    "underscore and body": x(f"_{BODY}"),
    "wrong prefix": x(f"gaet_{BODY}"),
    "upper-case prefix": x(f"GATE_{BODY}"),
    "longer prefix": x(f"mygate_{BODY}"),
    "two underscores": x(f"gate__{BODY}"),
    "hyphen for underscore": x(f"gate-{BODY}"),
    "one short": x(GOOD[:-1]),
    "one long": x(f"{GOOD}0"),
    "first letter missing": x(GOOD[1:]),
    "wrong checksum": x(GOOD[:-6] + "000000"),
    "checksum of another": x(GOOD[:-6] + OTHER[-6:]),
    "checksum missing": x(GOOD[:-6]),
    "checksum only": x(f"gate_{GOOD[-6:]}"),
    "all upper case": x(f"gate_{BODY.upper()}1"),
    "all zeros": x(f"gate_{'0' * 49}"),
    "reversed": x(GOOD[::-1]),
    "doubled": x(GOOD * 2),
    "two, with a comma": x(f"{GOOD},{OTHER}"),
    "two, with comma and blank": x(f"{GOOD}, {OTHER}"),
    "the same twice, with a comma": x(f"{GOOD},{GOOD}"),
    "comma at the end": x(f"{GOOD},"),
    "comma alone": x(","),
    "two, with a blank": x(f"{GOOD} {OTHER}"),
    "two, with a semicolon": x(f"{GOOD};{OTHER}"),
    "in quotes": x(f'"{GOOD}"'),
    "in angle brackets": x(f"<{GOOD}>"),
    "blank inside": x(f"{GOOD[:20]} {GOOD[20:]}"),
    "bearer inside": x(f"Bearer {GOOD}"),
    "name and value": x(f"key={GOOD}"),
    "percent-encoded": x(GOOD.replace("_", "%5F")),
    "percent-encoded NUL": x(f"{GOOD}%00"),
    "NUL": x(f"{GOOD[:30]}\0{GOOD[31:]}"),
    "NUL at the end": x(f"{GOOD}\0"),
    "control character": x(f"{GOOD[:30]}\x07{GOOD[31:]}"),
    "vertical tab": x(f"{GOOD}\x0b"),
    "soft hyphen": x(f"{GOOD[:30]}\xad{GOOD[30:]}"),
    "no-break space": x(f"{GOOD}\xa0"),
    "Latin-1 look-alike": x(f"{GOOD[:30]}\xd8{GOOD[31:]}"),
    "Cyrillic a": x("g\u0430te_" + BODY),
    "full-width letters": x("\uff47\uff41\uff54\uff45_" + BODY),
    "full-width digit": x(f"{GOOD[:30]}\uff11{GOOD[31:]}"),
    "zero-width space": x(f"{GOOD}\u200b"),
    "right-to-left override": x(f"\u202e{GOOD}"),
    "9 kB": x("gate_" + "a" * 9_000),
    "9 kB of commas": x("," * 9_000),
    "SQL": x("' OR '1'='1"),
    "a key's id": x("01a21045-1d89-7c68-b006-3235a138e80c"),
    "JSON": x('{"key":"x"}'),
    "bearer, empty": bearer("Bearer"),
    "bearer, blank": bearer("Bearer  "),
    "bearer, word": bearer("Bearer secret"),
    "bearer, two": bearer(f"Bearer {GOOD}, Bearer {OTHER}"),
    "bearer, comma": bearer(f"Bearer {GOOD},"),
    "bearer twice": bearer(f"Bearer Bearer {GOOD}"),
    "bearer, wrong checksum": bearer(f"Bearer {GOOD[:-1]}_"),
    "bearer with parameters": bearer(f"Bearer {GOOD} realm=x"),
    "bearer, and another key": {**bearer(f"Bearer {GOOD}"), **x(OTHER)},
    "bearer, and an empty key": {**bearer(f"Bearer {GOOD}"), **x("")},
    "bearer, and half of it": {**bearer(f"Bearer {GOOD}"), **x(GOOD[:20])},
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

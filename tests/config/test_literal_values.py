"""Values of settings are literal: no character is special in the environment, in a file or in .env."""

from __future__ import annotations

import pytest
from django.core.exceptions import ImproperlyConfigured

from tests.config.settings_file import read_settings

HOSTILE = [
    "$ecret-0123456789abcdef",
    "$SECRET_KEY",
    "${SECRET_KEY}",
    "$$twice",
    "$",
    r"\$escaped\n\t\\",
    "a#b # c",
    "#first",
    "100%41%%",
    'it\'s "quoted"',
    "a=b=c",
    "p@ss:w/rd?&;",
    "Größe-ß",
]
SECRETS = ["SECRET_KEY", "GATEWAY_SECRET", "ADMIN_PASSWORD", "DEFAULT_FROM_EMAIL"]


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("name", SECRETS)
def test_a_value_from_the_environment_is_literal(name, value, tmp_path):
    assert read_settings(tmp_path, **{name: value})[name] == value


@pytest.mark.parametrize("value", HOSTILE)
def test_a_value_from_a_file_is_literal(value, tmp_path):
    path = tmp_path / "secret"
    path.write_text(f"{value}\n", encoding="utf-8")
    settings = read_settings(tmp_path, GATEWAY_SECRET=None, GATEWAY_SECRET_FILE=str(path))
    assert settings["GATEWAY_SECRET"] == value


@pytest.mark.parametrize("line", ["{}", "'{}'", '"{}"', " {} ", "'{}' \r"])
@pytest.mark.parametrize("value", HOSTILE)
def test_a_value_from_an_env_file_is_literal(value, line, tmp_path):
    path = tmp_path / "env"
    path.write_text(f"GATEWAY_SECRET={line.format(value)}\n", encoding="utf-8", newline="")
    settings = read_settings(tmp_path, GATEWAY_SECRET=None, ENV_FILE=str(path))
    assert settings["GATEWAY_SECRET"] == value


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("API_KEY_PEPPERS", "$new,$old", ["$new", "$old"]),
        ("API_KEY_PEPPERS", " $new , old#1 ", ["$new", "old#1"]),
        ("SECRET_KEY_FALLBACKS", "$SECRET_KEY,b", ["$SECRET_KEY", "b"]),
        ("ALLOWED_HOSTS", "a.test, b.test", ["a.test", "b.test"]),
        ("RATE_LIMITED_PATHS", "$a,,b", ["$a", "b"]),
    ],
)
def test_list_entries_are_literal_and_stripped(name, text, expected, tmp_path):
    assert read_settings(tmp_path, **{name: text})[name] == expected


def test_an_oauth_secret_is_literal(tmp_path):
    settings = read_settings(tmp_path, OAUTH_GITHUB_CLIENT_ID="$id", OAUTH_GITHUB_CLIENT_SECRET="$SECRET_KEY")
    assert settings["SOCIALACCOUNT_PROVIDERS"]["github"]["APPS"] == [{"client_id": "$id", "secret": "$SECRET_KEY"}]


@pytest.mark.parametrize("value", HOSTILE)
def test_the_postgresql_password_is_literal(value, tmp_path):
    database = read_settings(tmp_path, POSTGRES_SERVER="db", POSTGRES_PASSWORD=value)["DATABASES"]["default"]
    assert database["PASSWORD"] == value


def test_the_postgresql_server_can_be_an_address_or_a_socket(tmp_path):
    for server in ("::1", "/var/run/postgresql"):
        assert read_settings(tmp_path, POSTGRES_SERVER=server)["DATABASES"]["default"]["HOST"] == server


@pytest.mark.parametrize(
    ("written", "password"),
    [
        ("$ecret", "$ecret"),
        ("p#w", "p#w"),
        ("p@w", "p@w"),
        ("it's", "it's"),
        ("100%", "100%"),
        ("p%2Fw%40%25%23%24", "p/w@%#$"),
    ],
)
def test_passwords_in_urls_are_decoded(written, password, tmp_path):
    settings = read_settings(
        tmp_path,
        DATABASE_URL=f"postgres://u:{written}@db:5433/name",
        EMAIL_URL=f"smtp+tls://u:{written}@mail.test:587",
        REDIS_URL=f"redis://u:{written}@cache:6380/2",
    )
    database = settings["DATABASES"]["default"]
    assert (database["USER"], database["PASSWORD"], database["HOST"]) == ("u", password, "db")
    assert (database["NAME"], database["PORT"]) == ("name", 5433)
    assert (settings["EMAIL_HOST_PASSWORD"], settings["EMAIL_HOST"]) == (password, "mail.test")
    assert redis_options(settings["REDIS_URL"]) == ("u", password, "cache", 6380, 2)


def redis_options(url):
    from redis import ConnectionPool  # only needed here

    options = ConnectionPool.from_url(url).connection_kwargs
    return tuple(options[name] for name in ("username", "password", "host", "port", "db"))


def test_a_database_url_can_have_several_hosts(tmp_path):
    database = read_settings(tmp_path, DATABASE_URL="postgres://u:p@a:5432,b:5433/name")["DATABASES"]["default"]
    assert (database["HOST"], database["PORT"]) == ("a,b", "5432,5433")


@pytest.mark.parametrize("url", ["sqlite://:memory:", "sqlite:///:memory:", "sqlite://"])
def test_sqlite_in_memory_creates_no_file(url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read_settings(tmp_path / "var", DATABASE_URL=url)["DATABASES"]["default"]["NAME"] == ":memory:"
    assert [path.name for path in tmp_path.iterdir()] == ["var"]


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("DATABASE_URL", "postgres://u:p/w@db/name"),
        ("DATABASE_URL", "postgres://u:5/w@db/name"),
        ("DATABASE_URL", "postgres://u:p[w@db/name"),
        ("DATABASE_URL", "mysql://u:p@db/name"),
        ("DATABASE_URL", "$POSTGRES"),
        ("REDIS_URL", "redis://u:p/w@cache"),
        ("REDIS_URL", "localhost:6379"),
        ("EMAIL_URL", "smtp+tls://u:p?w@mail.test:587"),
        ("EMAIL_URL", ""),
        ("EMAIL_URL", "mail.test"),
    ],
)
def test_an_invalid_url_is_rejected_without_showing_it(name, url, tmp_path):
    with pytest.raises(ImproperlyConfigured, match=rf"^{name} isn't a valid URL\. It must start with") as caught:
        read_settings(tmp_path, **{name: url})
    assert "p/w" not in str(caught.value)


def env_file(tmp_path, text):
    path = tmp_path / "env"
    path.write_bytes(text.encode())
    return {"ENV_FILE": str(path), "ADMIN_NAME": None}


@pytest.mark.parametrize(
    "text",
    [
        "ADMIN_NAME=Ada Byron",
        "export ADMIN_NAME=Ada Byron",
        "  ADMIN_NAME = Ada Byron  ",
        "\ufeffADMIN_NAME=Ada Byron\r\n",
        "# a comment\n\n   # another\nADMIN_NAME='Ada Byron'\n",
        "ADMIN_NAME=\nADMIN_NAME=Ada Byron\n",
        'export\tADMIN_NAME="Ada Byron"',
    ],
)
def test_common_forms_of_env_files_are_read(text, tmp_path):
    assert read_settings(tmp_path, **env_file(tmp_path, text))["ADMIN_NAME"] == "Ada Byron"


def test_the_environment_overrides_an_env_file(tmp_path):
    given = env_file(tmp_path, "ADMIN_NAME=file\nADMIN_EMAIL=a@example.com\n") | {"ADMIN_NAME": "environment"}
    settings = read_settings(tmp_path, **given)
    assert (settings["ADMIN_NAME"], settings["ADMIN_EMAIL"]) == ("environment", "a@example.com")


@pytest.mark.parametrize("line", ["GATEWAY_SECRET: abc", "GATEWAY_SECRET", "GATEWAY-SECRET=abc", "=abc", "A=b\0c"])
def test_an_invalid_line_is_rejected_by_number_without_showing_it(line, tmp_path):
    with pytest.raises(
        ImproperlyConfigured, match=r"env, line 2: use NAME=value, or start a comment with #\."
    ) as caught:
        read_settings(tmp_path, **env_file(tmp_path, f"LOG_LEVEL=INFO\n{line}\n"))
    assert "abc" not in str(caught.value)


def test_a_missing_env_file_is_an_error(tmp_path):
    with pytest.raises(ImproperlyConfigured, match="nowhere”, which can't be read: No such file or directory"):
        read_settings(tmp_path, ENV_FILE=str(tmp_path / "nowhere"))


def test_an_empty_env_file_name_means_none(tmp_path):
    assert read_settings(tmp_path, ENV_FILE="")["GATEWAY_SECRET"]

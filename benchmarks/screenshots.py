"""Take the screenshots in docs/ in Chromium: `make screenshots`.

Starts a server with sample data, and signs in as its superuser.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from benchmarks.verification import python, serving
from benchmarks.verification_load import Target

PICTURES = Path(__file__).resolve().parent.parent / "docs" / "screenshots"
ADMIN, PASSWORD = "ada", "only for screenshots"
HEIGHT = 1000
# The file's name, the page, and part of the URL of the first link to follow there.
WIDE = (
    ("overview", "/admin/", ""),
    ("users", "/users/", ""),
    ("user", "/users/?q=alan_castro", "/users/"),
    ("tier", "/admin/tiers/tier/?q=basic", "/change/"),
    ("keys", "/admin/apikeys/apikey/", ""),
    ("usage", "/admin/usage/", ""),
    ("requests", "/admin/usage/requests/?verdict=denied", ""),
)
ON_PHONES = (("overview-phone", "/admin/", ""), ("requests-phone", "/admin/usage/requests/", ""))


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        environment = fresh_environment(directory)
        for command in ("migrate", "bootstrap", "demo", "fold_usage", "collectstatic --noinput"):
            python(["manage.py", *command.split()], environment)
        server = serving(Target("Gatehouse"), ["-c", "python:config.gunicorn", "config.asgi"], environment)
        with server as target, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            take(browser, target.url, WIDE, width=1280, scheme="light")
            take(browser, target.url, WIDE[:1], width=1280, scheme="dark", suffix="-dark")
            take(browser, target.url, ON_PHONES, width=375, scheme="light")


def fresh_environment(directory: str) -> dict[str, str]:
    env = Path(directory) / "env"
    subprocess.run([sys.executable, "-m", "config.write_env", env], check=True)
    return {
        "ENV_FILE": str(env), "DATABASE_URL": "", "REDIS_URL": "", "VAR_DIR": directory, "ENVIRONMENT": "",
        "ADMIN_NAME": "Ada Admin", "ADMIN_USERNAME": ADMIN, "ADMIN_EMAIL": "ada@example.com", "ADMIN_PASSWORD": PASSWORD,
    }  # fmt: skip


def take(
    browser: Browser, url: str, shots: tuple[tuple[str, str, str], ...], *, width: int, scheme: str, suffix: str = ""
) -> None:
    page = browser.new_page(base_url=url, viewport={"width": width, "height": HEIGHT}, color_scheme=scheme)
    page.goto("/accounts/login/")
    page.locator("[name=login]").fill(ADMIN)
    page.locator("[name=password]").fill(PASSWORD)
    page.locator("[name=password]").press("Enter")
    page.wait_for_url(lambda address: "login" not in address)
    for name, path, link in shots:
        page.goto(path)
        if link:
            page.locator(f"main tbody a[href*='{link}']").first.click()
            page.wait_for_load_state()
        page.screenshot(path=PICTURES / f"{name}{suffix}.png")
        print(f"{name}{suffix}.png")
    page.close()


if __name__ == "__main__":
    main()

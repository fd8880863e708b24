"""Make pin-and-phone.png: the PIN page beside the sandbox's phone page, from a demo that is being served.

    python example_project/manage.py demo        # in another terminal
    python docs/images/make.py [--site http://127.0.0.1:8000] [--phone http://127.0.0.1:8750]

Needs Playwright and Debian's chromium. Orders one PIN for the demo's user. A fresh demo shows it alone.
"""

from __future__ import annotations

import argparse
import base64
import sys
from pathlib import Path
from string import Template
from typing import Any

from playwright.sync_api import sync_playwright

TARGET = Path(__file__).with_name("pin-and-phone.png")
USERNAME, PASSWORD, NUMBER = "demo", "flat white 67", "+447700900067"
WINDOW = {"width": 560, "height": 620}
PHONE = {"width": 400, "height": 795}  # of which the phone takes its upper part
SHEET = Template("""<!doctype html><meta charset="utf-8"><title>PIN and phone</title><style>
body { display: inline-flex; align-items: center; gap: 48px; margin: 0; padding: 48px; background: #dfe5ea; }
figure { margin: 0; overflow: hidden; background: #fff; box-shadow: 0 2px 4px #0002, 0 16px 40px #0003; }
img { display: block; }
.window { border-radius: 10px; }
.window p { margin: 0; padding: 9px; background: #cbd3da; color: #35424d; text-align: center; font: 13px system-ui; }
.phone { border: 12px solid #1b252c; border-radius: 44px; }
</style>
<figure class="window"><p>$address</p><img src="$pin" width="$window_width" alt=""></figure>
<figure class="phone"><img src="$phone" width="$phone_width" alt=""></figure>""")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--site", default="http://127.0.0.1:8000")
    parser.add_argument("--phone", default="http://127.0.0.1:8750")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    given = parser.parse_args()
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=given.chromium, args=["--no-sandbox", "--disable-gpu"])
        login = _pin_page(browser, given.site)
        messages = _phone_page(browser, given.phone)
        login.get_by_label("PIN").fill(messages.locator(".message strong").last.inner_text())
        sheet = browser.new_page(viewport={"width": 1300, "height": 800})
        sheet.set_content(
            SHEET.substitute(
                address="cafe.example/accounts/verify/",
                pin=_as_url(login.screenshot()),
                phone=_as_url(messages.locator(".phone").screenshot()),
                window_width=WINDOW["width"],
                phone_width=PHONE["width"],
            )
        )
        sheet.locator("body").screenshot(path=TARGET)
        browser.close()
    sys.stdout.write(f"{TARGET}: {TARGET.stat().st_size // 1024} KiB\n")


def _pin_page(browser: Any, site: str) -> Any:
    page = browser.new_page(viewport=WINDOW)
    page.goto(f"{site}/orders/")
    page.get_by_label("Username").fill(USERNAME)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Continue").click()
    page.get_by_label("PIN").wait_for()
    return page


def _phone_page(browser: Any, phone: str) -> Any:
    page = browser.new_page(viewport=PHONE)
    page.goto(f"{phone}/?to={NUMBER.replace('+', '%2B')}")
    page.get_by_text("Live").wait_for()
    return page


def _as_url(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()


if __name__ == "__main__":
    main()

"""A page in a headless Chromium: a script clicks in it, and what it tells comes back with errors and requests."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
WATCH = """
window.told = { errors: [] };
window.addEventListener("error", function (e) { told.errors.push(String(e.message)); });
["error", "warn"].forEach(function (kind) {
  console[kind] = function () { told.errors.push(Array.prototype.join.call(arguments, " ")); };
});
"""
TELL = """
window.addEventListener("load", function () {
  try { (function (told) { %s })(window.told); } catch (error) { told.errors.push(String(error)); }
  setTimeout(function () {
    told.requests = performance.getEntriesByType("resource").map(function (e) { return e.name; });
    var pre = document.createElement("pre");
    pre.id = "told";
    pre.textContent = JSON.stringify(told);
    document.body.appendChild(pre);
  }, 300);
});
"""


def browse(page: Path, script: str, *, width: int = 1280) -> dict[str, Any]:
    """Open a page, run a script in it, and read what it put into ``told``.

    Args:
        page: stays as it is; a copy beside it is opened.
        script: JavaScript; may set fields of ``told``.
        width: of the window, pixels.

    Returns:
        ``told``, with ``errors`` (of scripts and the console) and ``requests`` (addresses that were asked for).
    """
    text = page.read_text(encoding="utf-8")
    tell = TELL % script
    allowed = " ".join(f"'sha256-{b64encode(sha256(one.encode()).digest()).decode()}'" for one in (WATCH, tell))
    text = text.replace("script-src ", f"script-src {allowed} ", 1)  # the page's own policy forbids all but its script
    text = text.replace("<title>", f"<script>{WATCH}</script><title>", 1)
    text = text.replace("</body>", f"<script>{tell}</script></body>", 1)
    copy = page.with_name(f"browsed_{page.name}")
    copy.write_text(text, encoding="utf-8")
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=4000",
        f"--window-size={width},900", "--dump-dom", copy.as_uri(),
    ]  # fmt: skip
    try:
        dom = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
    finally:
        copy.unlink()
    found = re.search(r'<pre id="told">(.*?)</pre>', dom, re.DOTALL)
    assert found, "the script never told anything"
    return json.loads(html.unescape(found.group(1)))

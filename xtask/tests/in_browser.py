"""The judge's page with a keyboard, and the page of results on a phone and a desktop.

    in_browser.py XTASK RESULTS

XTASK is the program, RESULTS a folder with records of summaries and a page, beside others with pages;
nothing is written there. Speaks WebDriver with `chromedriver`, and needs nothing but Python's own library.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

KEYS = {"ArrowLeft": "\ue012", "ArrowRight": "\ue014", "Control": "\ue009"}
WIDTHS = [(390, 844), (1280, 900)]
WAIT_SECONDS = 120


class Browser:
    """One window of a headless browser."""

    def __init__(self, port, profile):
        self.base = f"http://127.0.0.1:{port}"
        arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            f"--user-data-dir={profile}",
        ]
        options = {"args": arguments}
        for name in ["chromium", "google-chrome"]:
            if shutil.which(name):
                options["binary"] = shutil.which(name)
                break
        wanted = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}}
        self.base += f"/session/{self.ask('/session', wanted)['sessionId']}"

    def ask(self, path, body=None, method=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, method=method)
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=WAIT_SECONDS) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            sys.exit(f"{path}: {json.load(error)['value']['message']}")

    def devtools(self, command, **parameters):
        self.ask("/goog/cdp/execute", {"cmd": command, "params": parameters})

    def size(self, width, height):
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def scheme(self, name):
        feature = {"name": "prefers-color-scheme", "value": name}
        self.devtools("Emulation.setEmulatedMedia", features=[feature])

    def open(self, url):
        self.ask("/url", {"url": url})

    def run(self, script):
        return self.ask("/execute/sync", {"script": f"return {script}", "args": []})

    def text(self):
        return self.run("document.body.innerText")

    def press(self, *keys):
        """Presses keys, holding all but the last."""
        values = [KEYS.get(key, key) for key in keys]
        down = [{"type": "keyDown", "value": value} for value in values]
        up = [{"type": "keyUp", "value": value} for value in reversed(values)]
        keyboard = {"type": "key", "id": "keyboard", "actions": down + up}
        self.ask("/actions", {"actions": [keyboard]})

    def click(self, selector):
        found = self.ask("/element", {"using": "css selector", "value": selector})
        self.ask(f"/element/{next(iter(found.values()))}/click", {})


@contextmanager
def browser(folder):
    driver = subprocess.Popen(
        ["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True
    )
    window = None
    try:
        port = next(
            found[1]
            for line in driver.stdout
            if (found := re.search(r"started successfully on port (\d+)", line))
        )
        window = Browser(port, folder / "profile")
        yield window
    finally:
        if window is not None:
            window.ask("", method="DELETE")
        driver.terminate()
        driver.wait()


@contextmanager
def judging(xtask, results, judge):
    command = [xtask, "judge", "--results", results, "--judge", judge]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield server.stdout.readline().strip()
    finally:
        server.terminate()
        server.wait()


def check(condition, words):
    if not condition:
        sys.exit(f"FAILED: {words}")


def fits(window, words):
    wide = window.run("[document.documentElement.scrollWidth, innerWidth]")
    check(wide[0] <= wide[1], f"{words}: {wide[0]} pixels on a window of {wide[1]}")


def shows(window, words):
    """Waits for a page with these words that is ready for keys."""
    end = time.monotonic() + WAIT_SECONDS
    ready = (
        "document.readyState === 'complete' && "
        f"document.body.innerText.includes({json.dumps(words)})"
    )
    while not window.run(ready):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def votes(results):
    path = results / "votes.jsonl"
    return path.read_text() if path.exists() else ""


def judged(window, results, how, expected):
    """Gives one vote, which must be appended to those before, and shows the next article."""
    before = votes(results)
    progress = window.run("document.querySelector('.about').textContent")
    done, total = map(int, re.search(r"Article (\d+) of (\d+)", progress).groups())
    how()
    next_words = f"All {total} articles" if done == total else f"{done + 1} of {total}"
    check(shows(window, next_words), f"after vote {done} the page says “{next_words}”")
    after = votes(results)
    check(after.startswith(before), "votes are appended to those before")
    check(after.count("\n") == before.count("\n") + 1, "a vote is one line")
    vote = json.loads(after.splitlines()[-1])
    check(vote["choice"] == expected, f"{vote['choice']} instead of {expected}")
    return vote


def judge(xtask, window, results):
    with judging(xtask, results, "ada") as url:
        check(re.match(r"http://127\.0\.0\.1:\d+/$", url), f"{url} is of this machine")
        window.open(url)
        for width, height in WIDTHS:
            window.size(width, height)
            fits(window, "the judge's page")
            seen = window.run(
                "[...document.querySelectorAll('.pair section, form')]"
                ".every(one => one.getBoundingClientRect().top < innerHeight)"
            )
            check(seen, f"both summaries are in sight at {width} pixels")
        page = window.run("document.documentElement.outerHTML")
        for name in ["moments", "dense", "local"]:
            check(name not in page, f"the page is blind, but says {name}")
        window.press("Control", "1")
        check(votes(results) == "", "a key with Control is no vote")

        def article():
            return window.run("document.activeElement.scrollTop")

        window.run("document.activeElement.scrollBy(0, 1)")
        check(article() > 0, "the article has the focus, and keys move it")

        given = [
            judged(window, results, lambda: window.press("1"), "left"),
            judged(window, results, lambda: window.press("2"), "right"),
            judged(window, results, lambda: window.press("0"), "neither"),
            judged(window, results, lambda: window.press("ArrowLeft"), "left"),
            judged(window, results, lambda: window.press("ArrowRight"), "right"),
            judged(window, results, lambda: window.click("button[value=neither]"), "neither"),
        ]
    with judging(xtask, results, "ada") as url:
        window.open(url)
        check(f"Article {len(given) + 1} of" in window.text(), "a judge goes on")
        while "Which summary" in window.text():
            given.append(judged(window, results, lambda: window.press("1"), "left"))
        check("All" in window.text(), "the page ends")
        window.press("1")
        check(votes(results).count("\n") == len(given), "after the end there is no vote")
    orders = {tuple(vote["order"]) for vote in given}
    check(len(orders) == 2, "either summary stands on the left")
    articles = [vote["article"] for vote in given]
    check(articles != sorted(articles), "articles come in an order of chance")
    with judging(xtask, results, "bob") as url:
        window.open(url)
        others = judged(window, results, lambda: window.press("0"), "neither")
        check(others["judge"] == "bob", "each judge votes for themselves")
    print(f"{len(given) + 1} votes, by keys and by a click")


def page(window, results):
    window.open((results / "index.html").resolve().as_uri())
    for width, height in WIDTHS:
        window.size(width, height)
        papers = set()
        for scheme in ["light", "dark"]:
            window.scheme(scheme)
            fits(window, f"the page of results, {scheme}")
            papers.add(window.run("getComputedStyle(document.body).backgroundColor"))
        check(len(papers) == 2, "light and dark differ")
    lost = window.run(
        "[...document.querySelectorAll('a[href^=\"#\"]')].map(one => one.getAttribute('href'))"
        ".filter(one => !document.querySelector(one))"
    )
    check(lost == [], f"links lead nowhere: {lost}")
    loaded = window.run("performance.getEntriesByType('resource').filter(one =>"
                        " !one.name.startsWith('data:')).map(one => one.name)")
    check(loaded == [], f"the page loads {loaded}")
    print("the page of results fits on a phone and on a desktop")


def tables(window, results):
    """No table of the page, folded or not, is wider than a window of 1,400 pixels."""
    window.open((results / "index.html").resolve().as_uri())
    window.size(1400, 900)
    wide = window.run(
        "(document.querySelectorAll('details').forEach(one => one.open = true),"
        " [...document.querySelectorAll('.scroll')]"
        ".filter(one => one.scrollWidth > one.clientWidth)"
        ".map(one => [one.scrollWidth, one.textContent.slice(0, 80)]))"
    )
    check(wide == [], f"tables of {results} are too wide: {wide}")


def main():
    xtask, results = sys.argv[1], Path(sys.argv[2])
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        folder = Path(folder)
        copy = folder / "results"
        records = Path("records", "summarisation")
        shutil.copytree(results / records, copy / records)
        with browser(folder) as window:
            judge(xtask, window, copy)
            page(window, results)
            for other in sorted(results.parent.iterdir()):
                tables(window, other)


main()

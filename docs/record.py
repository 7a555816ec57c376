#!/usr/bin/env python3
"""Makes docs/session.svg and docs/page.png: what a user sees, recorded from real programs.

    cargo build --release -p rendezvous && docs/record.py

session.svg is what a terminal shows while somebody types at the server's console; page.png is the live
page in Chromium during a run (Debian's chromium-driver). Look at both before committing them.
"""

import atexit
import base64
import fcntl
import html
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import tempfile
import termios
import time
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PROGRAM = os.environ.get("PROGRAM", os.path.join(ROOT, "target/release/rendezvous"))
COLUMNS = 100
HANG = 60


class Terminal:
    """A program on a terminal that is higher than anything is long, so that nothing scrolls away."""

    def __init__(self, shown, command):
        self.lines, self.row, self.column, self.style = [[]], 0, 0, ""
        self.rest, self.told = "", ""
        self.feed(f"$ {shown}\r\n")
        pid, self.fd = pty.fork()
        if pid == 0:
            env = dict(os.environ, TERM="xterm-256color", XDG_STATE_HOME=tempfile.mkdtemp())
            for name in [name for name in env if name.startswith("DP_") or name == "RUST_LOG"]:
                del env[name]
            os.execve(command[0], command, env)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 500, COLUMNS, 0, 0))

    def until(self, pattern):
        """Shows what the program says until a line of it matches; gives the match."""
        begin = time.monotonic()
        while True:
            found = re.search(pattern, self.told)
            if found:
                self.told = self.told[found.end():]
                return found
            if time.monotonic() - begin > HANG:
                sys.exit(f"nothing matched {pattern!r} in {self.told!r}")
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    text = os.read(self.fd, 1 << 16).decode()
                except OSError:
                    sys.exit(f"it ended before {pattern!r}: {self.told!r}")
                self.told += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)
                self.feed(text)

    def type(self, line):
        for key in line:
            os.write(self.fd, key.encode())
            time.sleep(0.02)
        os.write(self.fd, b"\r")

    def drain(self, seconds=0.3):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if select.select([self.fd], [], [], 0.05)[0]:
                try:
                    self.feed(os.read(self.fd, 1 << 16).decode())
                except OSError:
                    return

    def feed(self, text):
        text = self.rest + text
        self.rest = ""
        while text:
            escape = re.match(r"\x1b\[([0-9;?]*)([a-zA-Z])", text)
            if escape:
                self.control(escape[1], escape[2])
                text = text[escape.end():]
            elif text[0] == "\x1b" and len(text) < 16 and not re.match(r"\x1b[^\[]", text):
                self.rest = text
                return
            else:
                self.put(text[0])
                text = text[1:]

    def put(self, char):
        if char == "\r":
            self.column = 0
        elif char == "\n":
            self.row += 1
        elif char == "\t":
            self.column = self.column // 8 * 8 + 8
        elif char == "\b":
            self.column = max(0, self.column - 1)
        elif char >= " ":
            if self.column == COLUMNS:
                self.row, self.column = self.row + 1, 0
            line = self.line()
            line.extend([(" ", "")] * (self.column + 1 - len(line)))
            line[self.column] = (char, self.style)
            self.column += 1

    def line(self):
        while len(self.lines) <= self.row:
            self.lines.append([])
        return self.lines[self.row]

    def control(self, parameters, command):
        numbers = [int(number) for number in parameters.split(";") if number.isdigit()]
        count = max(1, numbers[0] if numbers else 1)
        if command == "m":
            self.styled(numbers or [0])
        elif command == "K":
            line = self.line()
            del line[0 if numbers == [2] else self.column:]
        elif command == "J":
            del self.line()[self.column:]
            del self.lines[self.row + 1:]
        elif command == "A":
            self.row = max(0, self.row - count)
        elif command == "B":
            self.row += count
        elif command == "C":
            self.column = min(COLUMNS, self.column + count)
        elif command == "D":
            self.column = max(0, self.column - count)
        elif command == "G":
            self.column = count - 1

    def styled(self, numbers):
        names = {1: "bold", 2: "dim", 31: "red", 32: "green", 33: "yellow", 34: "blue", 35: "magenta",
                 36: "cyan", 90: "dim", 91: "red", 92: "green", 93: "yellow", 94: "blue", 96: "cyan"}
        for number in numbers:
            if number in (0, 22, 39):
                self.style = ""
            elif number in names:
                self.style = f"{self.style} {names[number]}".strip()


STYLE = """
  .screen { fill: #f6f8fa; stroke: #d0d7de } text { fill: #1f2328; font: 13px ui-monospace,
  SFMono-Regular, 'DejaVu Sans Mono', Menlo, Consolas, monospace; white-space: pre }
  .bold { font-weight: bold } .dim { fill: #656d76 } .red { fill: #cf222e } .green { fill: #1a7f37 }
  .yellow { fill: #9a6700 } .blue { fill: #0969da } .magenta { fill: #8250df } .cyan { fill: #1b7c83 }
  @media (prefers-color-scheme: dark) {
  .screen { fill: #0d1117; stroke: #30363d } text { fill: #e6edf3 }
  .dim { fill: #8d96a0 } .red { fill: #ff7b72 } .green { fill: #3fb950 } .yellow { fill: #d29922 }
  .blue { fill: #58a6ff } .magenta { fill: #bc8cff } .cyan { fill: #39c5cf } }
"""
WIDTH, HEIGHT, MARGIN = 7.83, 18, 16


def svg(lines, title):
    """The lines as a picture that follows the reader's light or dark."""
    texts = []
    for row, line in enumerate(lines):
        column = 0
        while column < len(line):
            style = line[column][1]
            end = column
            while end < len(line) and line[end][1] == style:
                end += 1
            text = "".join(char for char, _ in line[column:end])
            blank = len(text) - len(text.lstrip())
            text = text.strip()
            if text:
                # Its width is said, so that any font keeps the columns.
                at = f'x="{MARGIN + (column + blank) * WIDTH:.1f}" y="{MARGIN + (row + 1) * HEIGHT - 5}"'
                length = f'textLength="{len(text) * WIDTH:.1f}" lengthAdjust="spacingAndGlyphs"'
                kind = f' class="{style}"' if style else ""
                texts.append(f"<text {at} {length}{kind}>{html.escape(text)}</text>")
            column = end
    width, height = 2 * MARGIN + COLUMNS * WIDTH, 2 * MARGIN + len(lines) * HEIGHT
    size = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">\n'
        f"<title>{html.escape(title)}</title>\n<style>{STYLE}</style>\n"
        f'<rect class="screen" x="0.5" y="0.5" width="{width - 1:.0f}" height="{height - 1:.0f}" rx="8"/>\n'
        + "\n".join(texts) + "\n</svg>\n"
    )


def client(address, name, workers):
    command = [PROGRAM, "client", "--server", address, "--id", name, "--workers", str(workers)]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def server(shown, options):
    terminal = Terminal(shown, [PROGRAM, "server", "--bind", "127.0.0.1:0", *options])
    return terminal, terminal.until(r"listening on (\S+)\s")[1]


def session():
    options = "--workers 4 --frequency 10 --below 10000000"
    terminal, address = server(f"rendezvous server {options}", options.split())
    clients = [client(address, name, 2) for name in ("lab1", "lab2")]
    terminal.until("ready to run")
    for line, answer in [("/workers", r"(?s)lab2/2.*idle"), ("/run", r"(?m)^ok")]:
        terminal.drain()
        terminal.type(line)
        terminal.until(answer)
    terminal.drain()
    terminal.type("/run")
    terminal.until("workers done")
    terminal.drain(0.8)
    clients[1].kill()
    for line, answer in [("/run", r"(?m)^failed"), ("/quit", "error: .*")]:
        terminal.until(answer)
        terminal.drain()
        terminal.type(line)
    terminal.drain(1.5)
    lines = terminal.lines
    while not "".join(char for char, _ in lines[-1]).strip():
        lines.pop()
    with open(os.path.join(ROOT, "docs/session.svg"), "w", encoding="utf-8") as file:
        file.write(svg(lines, "A session at the server's console"))
    for one in clients:
        one.kill()


def webdriver(port, method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, method=method)
    with urllib.request.urlopen(request, timeout=HANG) as answer:
        return json.load(answer)["value"]


def page():
    options = ["--workers", "40", "--page", "127.0.0.1:0", "--below", "400000000", "--ranges", "40000",
               "--frequency", "20"]
    terminal, address = server("", options)
    url = terminal.until(r"page at (\S+)\s")[1]
    clients = [client(address, f"lab{number}", 5) for number in range(1, 9)]
    terminal.until("ready to run")
    driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True)
    atexit.register(driver.terminate)
    for line in driver.stdout:
        started = re.search(r"successfully on port (\d+)", line)
        if started:
            port = started[1]
            break
    arguments = ["--headless", "--no-sandbox", "--hide-scrollbars", "--window-size=1280,1040",
                 "--user-data-dir=" + tempfile.mkdtemp()]
    wanted = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": {"args": arguments}}}}
    window = "/session/" + webdriver(port, "POST", "/session", wanted)["sessionId"]
    webdriver(port, "POST", window + "/url", {"url": url})
    terminal.type("/run")
    script = "return Number(document.querySelector('#latency').dataset.points)"
    begin = time.monotonic()
    while webdriver(port, "POST", window + "/execute/sync", {"script": script, "args": []}) < 12:
        if time.monotonic() - begin > HANG:
            sys.exit("the charts do not move")
        terminal.drain(0.2)
    picture = base64.b64decode(webdriver(port, "GET", window + "/screenshot"))
    with open(os.path.join(ROOT, "docs/page.png"), "wb") as file:
        file.write(picture)
    webdriver(port, "DELETE", window)
    for one in clients:
        one.kill()


if __name__ == "__main__":
    if not os.access(PROGRAM, os.X_OK):
        sys.exit(f"there is no {PROGRAM}: cargo build --release -p rendezvous")
    for what in sys.argv[1:] or ["session", "page"]:
        {"session": session, "page": page}[what]()

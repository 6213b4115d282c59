"""`jaxconv explore`: the page is made, whole, small and by itself; what it is told wrong is said."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import subprocess
import sys
import webbrowser
from pathlib import Path

import pytest

from jaxconv import cli
from jaxconv.explore import command
from jaxconv.explore.page import as_html
from jaxconv.explore.translate import javascript
from jaxconv.terminal import output
from pages import Tree


def test_the_page_is_small_and_by_itself():
    text = as_html("n=9&k=3")
    assert len(text.encode()) < 150_000
    tree = Tree(text)
    links = [value for _, attributes in tree.elements for key, value in attributes.items() if key in ("src", "href")]
    assert links == ["data:,"]
    assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)|@import|url\((?!#)", text) == []
    (script,) = re.findall(r"<script>(.*)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text


def test_an_address_cannot_end_the_script():
    assert as_html("</script><script>alert(1)").count("<script>") == 1


def test_the_command_writes_the_page_and_opens_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(webbrowser, "open", lambda url: pytest.fail("opened"))
    file = tmp_path / "page.html"
    assert cli.main(["explore", "--output", str(file), "--size", "10x11", "--kernel", "3", "--stride", "2"]) == 0
    assert capsys.readouterr().out == f"{file}\n"
    assert file.read_text(encoding="utf-8") == as_html("n=10x11&k=3&s=2&d=1&p=0")
    assert os.listdir(tmp_path) == ["page.html"]


@pytest.mark.parametrize("display", [True, False])
def test_without_a_file_it_is_opened_where_there_is_a_display(display, tmp_path, monkeypatch, capsys):
    opened = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    monkeypatch.setattr(command, "has_display", lambda: display)
    monkeypatch.setattr(command.tempfile, "tempdir", str(tmp_path))
    assert cli.main(["explore"]) == 0
    path = Path(capsys.readouterr().out.strip())
    assert path.read_text(encoding="utf-8") == as_html()
    assert opened == ([path.as_uri()] if display else [])


@pytest.mark.parametrize(
    ("options", "address"),
    [
        ("", ""),
        ("--size 10", "n=10&k=3&s=1&d=1&p=0"),
        ("--size 10x11 --kernel 3x5 --stride 2x1 --padding 1:2x0 --dilation 2", "n=10x11&k=3x5&s=2x1&d=2&p=1:2x0"),
        ("--padding SAME --groups 4 --transposed", "n=9&k=3&s=1&d=1&p=SAME&c=4&f=4&g=4&t=1"),
        ("--padding -1", "n=9&k=3&s=1&d=1&p=-1"),
    ],
)
def test_options_become_the_address(options, address, tmp_path, monkeypatch, capsys):
    told = []
    monkeypatch.setattr(command, "as_html", lambda address: told.append(address) or "")
    words = options.replace("--padding -1", "--padding=-1").split()
    assert cli.main(["explore", "--output", str(tmp_path / "page.html"), *words]) == 0
    assert told == [address]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--size 0", "`--size` must be one number or two, like 9 or 10x11, from 1 to 32; got '0'."),
        ("--size 9x9x9", "`--size` must be one number or two"),
        ("--size nine", "`--size` must be one number or two"),
        ("--size 33", "from 1 to 32; got '33'."),
        ("--kernel 3x3", "`--kernel` must be a number from 1 to 12; got '3x3'."),
        ("--stride 0", "`--stride` must be a number from 1 to 8; got '0'."),
        ("--dilation 2.5", "`--dilation` must be a number from 1 to 8; got '2.5'."),
        ("--padding SAMEE", "or one of VALID, SAME, SAME_LOWER, CAUSAL, FULL; got 'SAMEE'."),
        ("--padding 1x1", "`--padding` must be numbers from -16 to 32"),
        ("--padding 99", "`--padding` must be numbers from -16 to 32"),
        ("--groups 2x2", "`--groups` must be a number from 1 to 64; got '2x2'."),
        ("--output none/page.html", "--output must name a file in a folder that exists; got none/page.html"),
    ],
)
def test_what_is_wrong_is_said(options, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["explore", *options.split()]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("jaxconv explore: ")
    assert said in captured.err
    assert captured.out == ""


def test_a_full_disk_leaves_the_old_page(tmp_path, monkeypatch, capsys):
    file = tmp_path / "page.html"
    file.write_text("old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(output.os, "fsync", full)
    assert cli.main(["explore", "--output", str(file)]) == 2
    assert "--output could not be written: [Errno 28] No space left on device" in capsys.readouterr().err
    assert file.read_text() == "old"
    assert os.listdir(tmp_path) == ["page.html"]


def test_it_needs_no_jax(tmp_path):
    program = "import sys; from jaxconv import cli; print(cli.main(sys.argv[1:]), 'jax' in sys.modules)"
    arguments = [sys.executable, "-c", program, "explore", "--output", str(tmp_path / "page.html")]
    assert subprocess.run(arguments, check=True, capture_output=True, text=True).stdout.endswith("0 False\n")


# ------------------------------------------------------------------------------------------------- translation


def test_what_is_not_understood_is_refused():
    def power(n):
        return n**2

    def keyword(n):
        return sorted(n, key=len)

    def formatted(n):
        return f"{n:.3f}"

    for function in (power, keyword, formatted):
        with pytest.raises(NotImplementedError, match="no JavaScript for"):
            javascript(function)

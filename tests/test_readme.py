"""What README shows is true: its code runs, its commands stand there as promised, its error message is the real one."""

import re
import tomllib
from pathlib import Path

import jax.numpy as jnp
import pytest

from jaxconv import conv

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_code_blocks_run_in_order():
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) >= 2
    namespace: dict = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), namespace)


def test_first_screen_shows_the_two_commands():
    first_screen = README.splitlines()[:24]
    assert "pip install uv && uv run jaxconv verify" in first_screen
    assert "pip install uv && uv run pytest" in first_screen


def test_error_message_is_the_real_one():
    quoted = re.search(r"^    (conv: `kernel` must fit.*?\.)\n\n", README, re.DOTALL | re.MULTILINE)
    assert quoted is not None
    with pytest.raises(ValueError, match="must fit") as caught:
        conv(jnp.ones((1, 1, 3)), jnp.ones((1, 1, 5)))
    assert " ".join(quoted[1].split()) == str(caught.value)


def test_every_file_of_the_room_list_exists():
    rooms = README.split("## The rooms")[1].split("##")[0]
    named = re.findall(r"[a-z_]+\.py|[a-z_]+/", rooms)
    assert named
    for name in named:
        assert (Path(__file__).parent.parent / "jaxconv" / name).exists(), name


def test_citation_is_of_this_version():
    root = Path(__file__).parent.parent
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = (root / "jaxconv" / "CITATION.cff").read_text(encoding="utf-8")
    fields = dict(re.findall(r"^(\S[^:]*): *(.*)$", citation, re.MULTILINE))
    assert {"cff-version", "message", "title", "authors"} <= fields.keys(), "what the format requires"
    assert fields["version"] == project["version"]
    assert fields["license"] == project["license"]
    assert f"- name: {project['authors'][0]['name']}" in citation
    bibtex = re.search(r"```bibtex\n(.*?)```", README, re.DOTALL)[1]
    assert f"version = {{{project['version']}}}" in bibtex
    assert bibtex.replace("{", "").replace("}", "").count(fields["title"].strip('"')) == 1

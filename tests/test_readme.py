"""What README shows is true: its code runs, its commands stand there as promised, its error message is the real one."""

import importlib.util
import re
import shlex
import tomllib
from pathlib import Path

import jax.numpy as jnp
import pytest

from jaxconv import cli, conv

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_code_blocks_run_in_order(tmp_path, monkeypatch, capsys):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) >= 2
    namespace: dict = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), namespace)
    matplotlib.pyplot.close("all")
    assert "flipped along axis 0" in capsys.readouterr().out, "what the block's remark promises"
    assert (tmp_path / "reads.png").stat().st_size > 1000


def test_first_screen_shows_the_two_commands():
    first_screen = README.splitlines()[:24]
    assert "pip install uv && uv run jaxconv verify" in first_screen
    assert "pip install uv && uv run pytest" in first_screen


def test_every_link_leads_somewhere():
    headings = {re.sub(r"[^a-z0-9 -]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.*)$", README, re.M)}
    links = re.findall(r"\]\(([^)\s]+)\)", README)
    assert len(links) > 10
    for link in links:
        file, _, anchor = link.partition("#")
        assert not file or (ROOT / file).exists(), link
        assert not anchor or anchor in headings, link


def test_shell_commands_are_known(capsys):
    """`jaxconv size` runs as it stands; every other command's subcommand, module, extra or folder is there."""
    blocks = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    commands = [part for block in blocks for line in block.splitlines() for part in line.split(" && ")]
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for extra in re.findall(r"'\.\[(\w+)\]'", README):
        assert extra in extras, extra
    for command in commands:
        words = shlex.split(command)
        match words:
            case ["jaxconv", *arguments]:
                assert cli.main(arguments) == 0
                assert "receptive field: 11 inputs, moving by 4, the first from -5" in capsys.readouterr().out
            case ["python", "-m", module, *_]:
                assert importlib.util.find_spec(module), command
            case ["uv", "run", "jaxconv", name]:
                with pytest.raises(SystemExit) as left:
                    cli.main([name, "--help"])
                assert left.value.code == 0
            case ["pip", "install", _] | ["uv", "run", "pytest"] | ["jupyter", "lab", "notebooks"]:
                pass
            case _:
                pytest.fail(f"not looked at: {command}")


def test_error_message_is_the_real_one():
    quoted = re.search(r"^    (conv: `kernel` must fit.*?\.)\n\n", README, re.DOTALL | re.MULTILINE)
    assert quoted is not None
    with pytest.raises(ValueError, match="must fit") as caught:
        conv(jnp.ones((1, 1, 3)), jnp.ones((1, 1, 5)))
    assert " ".join(quoted[1].split()) == str(caught.value)


def test_the_rooms_are_the_modules():
    rooms = README.split("## The rooms")[1].split("##")[0]
    named = set(re.findall(r"[a-z_]+\.py|[a-z_]+/", rooms))
    there = {p.name + "/" * p.is_dir() for p in (ROOT / "jaxconv").iterdir() if p.is_dir() or p.suffix == ".py"}
    assert named == {name for name in there if not name.startswith("__")}


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

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
PAGES = {path.relative_to(ROOT).as_posix(): path for path in [ROOT / "README.md", *ROOT.glob("jaxconv/**/README.md")]}


@pytest.mark.parametrize("page", PAGES)
def test_code_blocks_run_in_order(page, capsys):
    namespace: dict = {}
    for block in re.findall(r"```python\n(.*?)```", PAGES[page].read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(block, page, "exec"), namespace)
    if page == "README.md":
        assert len(namespace) > 10, "the blocks have names to run"
        assert "flipped along axis 0" in capsys.readouterr().out, "what the block's remark promises"


def test_it_is_a_page():
    assert len(README.splitlines()) <= 130
    assert len(README.split()) <= 1000


def test_first_screen_shows_the_two_commands():
    first_screen = README.splitlines()[:24]
    assert "pip install uv && uv run jaxconv verify" in first_screen
    assert "pip install uv && uv run pytest" in first_screen


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", PAGES[page].read_text(encoding="utf-8")):
        file, _, anchor = link.partition("#")
        target = PAGES[page].parent / file if file else PAGES[page]
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^a-z0-9 -]", "", each.lower()).replace(" ", "-") for each in headings}, link


def test_shell_commands_are_known():
    """Every command's subcommand, module and extra is there."""
    text = "".join(path.read_text(encoding="utf-8") for path in PAGES.values())
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    commands = [part for block in blocks for line in block.splitlines() for part in line.split(" && ")]
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for extra in re.findall(r"'\.\[([\w,]+)\]'", text):
        assert set(extra.split(",")) <= extras.keys(), extra
    for command in commands:
        words = shlex.split(command)
        match words:
            case ["jaxconv", "size", *arguments]:
                assert cli.main(["size", *arguments]) == 0
            case ["python", "-m", module, *_]:
                assert importlib.util.find_spec(module), command
            case ["uv", "run", "jaxconv", name]:
                with pytest.raises(SystemExit) as left:
                    cli.main([name, "--help"])
                assert left.value.code == 0
            case ["pip", "install", _] | ["uv", "run", "pytest"]:
                pass
            case _:
                pytest.fail(f"not looked at: {command}")


def test_error_message_is_the_real_one():
    page = PAGES["jaxconv/convolution/README.md"].read_text(encoding="utf-8")
    quoted = re.search(r"^    (conv: `kernel` must fit.*?\.)\n\n", page, re.DOTALL | re.MULTILINE)
    assert quoted is not None
    with pytest.raises(ValueError, match="must fit") as caught:
        conv(jnp.ones((1, 1, 3)), jnp.ones((1, 1, 5)))
    assert " ".join(quoted[1].split()) == str(caught.value)


def test_citation_is_of_this_version():
    root = Path(__file__).parent.parent
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = (root / "jaxconv" / "CITATION.cff").read_text(encoding="utf-8")
    fields = dict(re.findall(r"^(\S[^:]*): *(.*)$", citation, re.MULTILINE))
    assert {"cff-version", "message", "title", "authors"} <= fields.keys(), "what the format requires"
    assert fields["version"] == project["version"]
    assert fields["license"] == project["license"]
    assert f"- name: {project['authors'][0]['name']}" in citation

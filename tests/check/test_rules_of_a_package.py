"""Every custom rule of a package: found by `custom_rules`, checked by `jaxconv check --all`."""

import json

import pytest

from jaxconv.check import custom_rules
from jaxconv.cli import main

RULES = """
import functools, jax, jax.numpy as jnp

@jax.custom_vjp
def square(x):
    return x * x
square.defvjp(lambda x: (x * x, x), lambda x, g: ({factor} * x * g,))

@jax.jit
@jax.custom_jvp
def sine(x):
    return jnp.sin(x)
sine.__wrapped__.defjvp(lambda at, by: (jnp.sin(*at), jnp.cos(*at) * by[0]))

class Layer:
    @staticmethod
    @jax.custom_vjp
    def double(x):
        return 2 * x
    double.__wrapped__.defvjp(lambda x: (2 * x, None), lambda _, g: (2 * g,))

def plain(x):
    return square(x) + 1
"""
GIVEN = """
import jax.numpy as jnp
x = jnp.asarray([0.3, -1.2])
ARGUMENTS = {"rules:square": (x,), "rules:sine": lambda: (x,), "rules:plain": {"args": (x,), "transforms": False}}
"""


@pytest.fixture
def package(tmp_path, monkeypatch, request):
    """A package of a name of its own: modules are imported once."""
    name = f"wild_{abs(hash(request.node.name))}"
    factor = getattr(request, "param", 2)
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("from ." + "rules import square")
    (tmp_path / name / "rules.py").write_text(RULES.replace("{factor}", str(factor)))
    (tmp_path / name / "broken.py").write_text("import nothing_of_this_name")
    (tmp_path / f"{name}_arguments.py").write_text(GIVEN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    return name


def test_the_rules_of_a_package_are_found(package):
    found = custom_rules(package)
    assert list(found) == [f"{package}.rules:Layer.double", f"{package}.rules:sine", f"{package}:square"]
    assert float(found[f"{package}:square"](3.0)) == 9


@pytest.mark.parametrize(("package", "status"), [(2, 0), (3, 1)], indirect=["package"])
def test_check_all(package, status, capsys, tmp_path):
    options = ["check", "--all", package, "--args", f"{package}_arguments", "--directions", "1", "--no-transforms"]
    assert main([*options, "--json", str(tmp_path / "all.json")]) == status
    out = capsys.readouterr().out
    assert "needs arguments" in out
    functions = json.loads((tmp_path / "all.json").read_text())["functions"]
    outcomes = {each["name"].rpartition(":")[2]: each["outcome"] for each in functions}
    wrong = "right" if status == 0 else "WRONG"
    assert outcomes == {"Layer.double": "needs arguments", "sine": "right", "square": wrong, "plain": wrong}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--all", "no_package_of_this_name"], "can be imported"),
        (["--all", "json", "--args", "no_module_of_this_name"], "ARGUMENTS"),
        (["--all", "json", "--args", "json"], "ARGUMENTS"),
        (["jaxconv:conv", "--all", "json"], "--all"),
    ],
)
def test_a_bad_call_of_check_all_is_said(options, words, capsys):
    assert main(["check", *options]) == 2
    assert words in capsys.readouterr().err


def test_a_call_without_a_function_is_refused(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["check"])
    assert stopped.value.code == 2
    assert "--all PACKAGE" in capsys.readouterr().err


def test_bad_input():
    with pytest.raises(TypeError, match="`package`"):
        custom_rules(3)
    with pytest.raises(ValueError, match="`package`"):
        custom_rules("no_package_of_this_name")

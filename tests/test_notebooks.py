"""The notebooks: stored without outputs, and running from top to bottom in the interpreter of these tests."""

from __future__ import annotations

import base64
import html
import io
import os
import re
import sys
import tomllib
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

AXES = {  # labels that the pictures of a notebook must carry, and at least so many pictures
    "01_sizes": (3, ["input j (position)", "output p (position)", "position, in its own layer's count"]),
    "02_convolution_and_its_gradients": (
        5,
        [
            "input j (position)",
            "kernel gradient dw[q] (tap)",
            "input gradient dx[j] (position)",
            "filter tap k (position)",
        ],
    ),
    "03_gated_recurrence": (3, ["time t (steps); the gradient travels from right to left", "(powers of ten)"]),
    "04_training_on_digits": (4, ["training (steps)", "loss (nats per image)", "JAX's own over hand-written (ratio"]),
    "06_from_one_core_to_many_devices": (
        2,
        ["position j of the whole axis", "shard r", "sent by each device (KiB per step)"],
    ),
    "07_any_model_unchanged": (1, ["loss (nats per image)", "time of a step (ms)", "temporary arrays (MiB)"]),
    "05_check_your_own_rule": (
        1,
        ["the rule gave: args[0]", "right: args[1]", "across: axis 1 (24)", "down: axis 0 (6)", "powers of ten"],
    ),
}

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


# ------------------------------------------------------------------------------------------------- as they are stored


def test_the_notebooks_hold_the_nine_exercises():
    texts = [nbformat.read(path, as_version=4) for path in NOTEBOOKS]
    text = "\n".join(cell.source for notebook in texts for cell in notebook.cells if cell.cell_type == "markdown")
    assert re.findall(r"^## Exercise (\d+)", text, re.MULTILINE) == [str(number) for number in range(1, 10)]


@each_notebook
def test_is_valid_and_stripped(path):
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    nbformat.validate(notebook)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.metadata.language_info == {"name": "python"}
    for cell in notebook.cells:
        assert cell.metadata == {}, cell.id
    for cell in code_cells(notebook):
        assert cell.outputs == [], cell.id
        assert cell.execution_count is None, cell.id


@each_notebook
def test_ends_in_asserts_and_one_closing_line(path):
    last = nbformat.read(path, as_version=4).cells[-1]
    assert last.cell_type == "code"
    assert "assert " in last.source
    assert last.source.count("print(") == 1
    assert last.source.splitlines()[-1].startswith("print(")


def test_the_extra_installs_what_they_import():
    """Also what they reach through the library: `smallest_failure` needs hypothesis."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    installed = [*project["dependencies"], *project["optional-dependencies"]["notebooks"], "IPython", "jaxconv"]
    names = {re.match(r"[\w-]+", each)[0].replace("scikit-learn", "sklearn").replace("-", "_") for each in installed}
    code = "\n".join(cell.source for path in NOTEBOOKS for cell in code_cells(nbformat.read(path, as_version=4)))
    imported = set(re.findall(r"^(?:from|import) (\w+)", code, re.MULTILINE)) - set(sys.stdlib_module_names)
    assert imported <= names
    assert "smallest_failure" not in code or "hypothesis" in names


# ------------------------------------------------------------------------------------------------------ as they run


PICTURES_WITH_TEXT = """
%config InlineBackend.figure_formats = ["png", "svg"]
import matplotlib
matplotlib.rcParams["svg.fonttype"] = "none"
"""


@pytest.fixture
def run_notebook(tmp_path, monkeypatch):
    """A function that executes a notebook with this interpreter, away from the user's settings and the checkout."""
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    pytest.importorskip("matplotlib")
    pytest.importorskip("optax")
    pytest.importorskip("sklearn")
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager

    class ThisInterpreter(AsyncKernelManager):
        """The kernel that ipykernel starts with sys.executable, whichever kernels are installed on the machine."""

        def __init__(self, **options):
            super().__init__(kernel_spec_manager=KernelSpecManager(kernel_dirs=[]), **options)

    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "JAX_PLATFORMS": "cpu",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "IPYTHONDIR": str(tmp_path),
    }

    def run(path):
        notebook = nbformat.read(path, as_version=4)
        notebook.cells.insert(0, nbformat.v4.new_code_cell(PICTURES_WITH_TEXT))
        client = nbclient.NotebookClient(
            notebook,
            kernel_name="python3",
            kernel_manager_class=ThisInterpreter,
            timeout=300,
            resources={"metadata": {"path": str(tmp_path)}},
        )
        client.create_kernel_manager()
        assert client.km.kernel_spec.argv[0] == sys.executable
        client.execute(env=environment)
        return notebook

    return run


def images(notebook):
    """The pictures among the outputs, as arrays of pixels (height, width, channels) between 0 and 1."""
    from matplotlib.image import imread

    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    encoded = [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    return [imread(io.BytesIO(base64.b64decode(each)), format="png") for each in encoded]


def labels(notebook):
    """All text in the pictures, which are drawn a second time as SVG for that."""
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    drawn = [output.data["image/svg+xml"] for output in outputs if "image/svg+xml" in output.get("data", {})]
    return [html.unescape(text) for each in drawn for text in re.findall(r"<text[^>]*>([^<]*)</text>", each)]


def printed(cells, name):
    outputs = [output for cell in cells for output in cell.outputs]
    return "".join(output.text for output in outputs if output.output_type == "stream" and output.name == name)


@pytest.mark.slow
@each_notebook
def test_runs_from_top_to_bottom(path, run_notebook):
    notebook = run_notebook(path)  # raises CellExecutionError where a cell does
    assert re.fullmatch(r".+\n", printed(notebook.cells[-1:], "stdout"))  # the closing line
    assert "Warning" not in printed(code_cells(notebook), "stderr")
    pictures = images(notebook)
    least, expected = AXES.get(path.stem, (1, []))
    assert len(pictures) >= least
    for label in expected:
        assert any(label in text for text in labels(notebook)), label
    for picture in pictures:
        assert min(picture.shape[:2]) > 100
        assert picture[..., :3].std() > 0.02, "the picture is blank"

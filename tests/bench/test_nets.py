"""`jaxconv bench nets`: what a net is, and that every contestant computes the same. No time is asserted."""

import json
import re

import jax
import numpy as np
import pytest
from jax import lax

from jaxconv import cli
from jaxconv.bench.nets import run
from jaxconv.bench.nets.catalogue import NETS
from jaxconv.bench.nets.graph import Graph
from jaxconv.bench.processes import here

nets_jax, nets_shared = here("nets_jax"), here("nets_shared")

pytestmark = pytest.mark.unoptimised


def tiny(axes=2):
    """Every operation once."""
    g = Graph("tiny", 2, (3, *[9] * axes))
    y = g.relu(g.conv(0, 4, 3, stride=2))
    kept = g.add(y, g.conv(y, 4, 3, groups=4, gain=0.5))
    y = g.upsample(g.pool(kept, 3, stride=2, padding=1), 2)
    y = g.concat(g.conv(y, 4, 2, padding=0), kept)
    g.dense(g.mean(y), 5)
    return g


def flat(graph, conv, layout):
    """Loss and gradients as a contestant saves them."""
    call = {**graph.call(), "layout": layout}
    loss, gradients = nets_jax.differentiated(call, jax.jit(nets_jax.step(call, conv)), nets_jax.inputs(call))
    return np.concatenate([[loss], *(g.ravel() for g in gradients)])


@pytest.mark.parametrize(
    ("name", "layers", "millions"),
    [
        ("mnist", 3, 0.0194), ("vgg11", 9, 9.2), ("resnet50", 54, 25.5), ("resnext50", 54, 25.0),
        ("mobilenet_v2", 53, 3.5), ("convnext_tiny", 59, 28.6), ("unet", 18, 2.1), ("resnet1d", 21, 11.0),
    ],
)  # fmt: skip
def test_a_net_has_the_layers_and_weights_it_is_known_for(name, layers, millions):
    call = NETS[name]().call()
    weights = [node["w"] for node in call["nodes"] if "w" in node]
    assert len(weights) == layers
    assert sum(np.prod(w) for w in weights) / 1e6 == pytest.approx(millions, rel=0.03)
    assert json.loads(json.dumps(call))["nodes"][-1]["op"] == call["nodes"][-1]["op"]  # it goes through a pipe


@pytest.mark.parametrize("name", NETS)
def test_its_shapes_are_those_that_jax_makes(name):
    graph = NETS[name]()
    values = []
    noted = {op: lambda node, *of, f=f, **options: values.append(f(node, *of, **options)) or values[-1]
             for op, f in nets_jax.operations("channels_first", nets_jax.convolution).items()}  # fmt: skip
    call = graph.call()
    weights = [jax.ShapeDtypeStruct(shape, "float32") for node in graph.nodes if "w" in node
               for shape in (node["w"] if node["op"] == "conv" else node["w"][::-1], node["w"][:1])]  # fmt: skip
    x = jax.ShapeDtypeStruct(tuple(call["x"]), "float32")
    jax.eval_shape(lambda x, weights: nets_shared.walk(call, x, weights, noted), x, weights)
    assert [value.shape for value in values] == [(graph.batch, *shape) for shape in graph.shapes[1:]]


@pytest.mark.slow
@pytest.mark.parametrize(("axes", "layout"), [(2, "channels_last"), (1, "channels_first")])
def test_ours_and_lax_agree_on_every_operation(axes, layout):
    graph = tiny(axes)
    apart = run.agreement(graph, flat(graph, run.convolution, layout), flat(graph, nets_jax.convolution, layout))
    assert apart["gradients_apart"] < 1e-5


def test_what_differs_is_named():
    graph = tiny()
    numbers = sum(np.prod(node["w"]) + node["w"][0] for node in graph.nodes if "w" in node)
    right = np.random.default_rng(0).uniform(1, 2, 1 + numbers)
    wrong = right.copy()
    wrong[1 + 4 * 3 * 9 + 4] *= 1.1  # the first number of node 3's w
    with pytest.raises(run.Disagree, match=r"gradient of node 3, conv \(4, 1, 3, 3\)"):
        run.agreement(graph, right, wrong)
    wrong[0] = np.nan
    with pytest.raises(run.Disagree, match="loss nan"):
        run.agreement(graph, right, wrong)


class Slow:
    """A contestant for whom one layout takes twice as long, and another no end."""

    def __init__(self, seconds):
        self.seconds, self.built = seconds, []

    def build(self, call):
        self.built.append(call["layout"])
        return {"compile": len(self.built)}

    def run(self, number):
        if self.seconds[self.built[-1]] is None:
            raise TimeoutError
        return number * self.seconds[self.built[-1]]


def test_the_faster_layout_is_taken_and_stays_built():
    first = Slow({"channels_first": 1.0, "channels_last": 2.0})
    assert run.fastest(first, {}, run.LAYOUTS) == {"layout": "channels_first", "compile": 3}
    assert first.built[-1] == "channels_first"
    last = Slow({"channels_first": None, "channels_last": 2.0})
    assert run.fastest(last, {}, run.LAYOUTS) == {"layout": "channels_last", "compile": 2}
    with pytest.raises(TimeoutError):
        run.fastest(Slow({"channels_first": None, "channels_last": None}), {}, run.LAYOUTS)


def test_a_graph_refuses_what_does_not_fit():
    g = Graph("wrong", 1, (3, 8, 8))
    y = g.conv(0, 4, 3, stride=2)
    with pytest.raises(ValueError, match=r"got \(3, 8, 8\) and \(4, 4, 4\)"):
        g.add(0, y)
    with pytest.raises(ValueError, match="must have one size"):
        g.concat(0, y)
    with pytest.raises(ValueError, match="groups"):
        g.conv(y, 6, 3, groups=4)


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (["dw3x3"], "a net must be one of mnist, .*; got dw3x3"),
        (["--against", "flax"], "some of lax, torch; got flax"),
        (["--dtype", "bfloat16"], "leave them out with nets"),
    ],
)
def test_a_wrong_call_is_status_2_and_one_line(arguments, rule, capsys):
    assert cli.main(["bench", "nets", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(rule, error)


@pytest.fixture
def only_tiny(monkeypatch):
    monkeypatch.setitem(NETS, "tiny", tiny)


@pytest.mark.slow
def test_a_run_without_peers_writes_its_table(only_tiny, tmp_path, capsys):
    written, page = tmp_path / "nets.json", tmp_path / "nets.md"
    command = ["bench", "nets", "tiny", "--quick", "--against", ",", "--json", str(written), "--markdown", str(page)]
    assert cli.main([*command, "--layout", "channels_last"]) == 0
    assert "tiny" in capsys.readouterr().out
    outcome = json.loads(written.read_text())
    assert outcome["entries"][0]["layout"] == "channels_last"
    assert outcome["entries"][0]["seconds"] > 0
    assert "| tiny |" in page.read_text()


def test_a_net_of_lax_alone_is_accelerated(only_tiny, tmp_path):
    written = tmp_path / "nets.json"
    command = ["bench", "nets", "tiny", "--quick", "--accelerate", "--against", ",", "--layout", "channels_last"]
    assert cli.main([*command, "--json", str(written)]) == 0
    entry = json.loads(written.read_text())["entries"][0]
    assert entry["facts"]["accelerate"]["gradients_apart"] < 1e-5
    assert entry["ratios"]["accelerate"]["pairs"] == 3


def test_accelerate_is_for_nets(capsys):
    assert cli.main(["bench", "dw3x3", "--accelerate"]) == 2
    assert "--accelerate is for nets" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_against_lax(only_tiny, tmp_path):
    written = tmp_path / "nets.json"
    assert cli.main(["bench", "nets", "tiny", "--quick", "--json", str(written)]) == 0
    entry = json.loads(written.read_text())["entries"][0]
    assert entry["facts"]["lax"]["gradients_apart"] < 1e-5
    assert entry["ratios"]["lax"]["pairs"] == 3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mnist", "mobilenet_v2", "convnext_tiny", "unet", "resnet1d"])
def test_ours_and_lax_agree_on_a_whole_net(name, monkeypatch):
    graph = NETS[name]()
    graph.batch = 1
    monkeypatch.setattr(nets_jax, "operations", smooth)
    apart = run.agreement(
        graph, *(flat(graph, conv, "channels_last") for conv in (run.convolution, nets_jax.convolution))
    )
    assert apart["gradients_apart"] <= run.bounds(graph)[0]


def smooth(layout, conv, operations=nets_jax.operations):
    """The operations with a derivative everywhere.

    One relu of an input within rounding of 0 changes a gradient of these nets by up to 1 %, and hides what conv does.
    """

    def pool(node, x):
        space, k, edge = nets_jax._space(x, layout == "channels_last"), node["window"], node["padding"]

        def on_space(here, elsewhere):
            return [here if axis in space else elsewhere for axis in range(x.ndim)]

        window, stride, pads = on_space(k, 1), on_space(node["stride"], 1), on_space((edge, edge), (0, 0))
        return lax.reduce_window(x, 0.0, lax.add, window, stride, pads) / k ** len(space)

    return {**operations(layout, conv), "relu": lambda node, x: jax.nn.silu(x), "pool": pool}

"""oneDNN inside jaxlib: the three maps to the last bit, also in a loop; and what the guard refuses."""

import platform
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import oracles
from cases import CASES, FEW, assert_same, by_id, integers
from jaxconv._jax import onednn as of_jaxlib
from jaxconv.algorithms import onednn
from jaxconv.algorithms.reference import MAPS
from jaxconv.sizes.geometry import Geometry

pytestmark = pytest.mark.unoptimised

needs_onednn = pytest.mark.skipif(of_jaxlib.missing() is not None, reason=of_jaxlib.missing() or "")


def by_loops(which, geometry, a, b):
    """What is right, rounded once."""
    options = {name: getattr(geometry, name) for name in ("stride", "padding", "dilation", "groups", "layout")}
    sizes = {MAPS[1]: {"input_size": geometry.input_size}, MAPS[2]: {"kernel_size": geometry.kernel_size}}
    return getattr(oracles, which)(a, b, **options, **sizes.get(which, {})).astype(a.dtype)


def assert_exact(geometry, x, w, g):
    """On whole numbers right to the last bit; the three maps in one program, none of them refused."""
    operands = dict(zip(MAPS, ((x, w), (g, w), (x, g)), strict=True))
    for which in MAPS:
        assert onednn.unsupported(facts(which, geometry, x, w)) is None

    @jax.jit
    def all_of(operands):
        return {which: getattr(onednn, which)(*operands[which], geometry) for which in MAPS}

    assert_same(all_of(operands), {which: by_loops(which, geometry, *operands[which]) for which in MAPS})


def facts(which, geometry, x, w):
    """Those of a `Problem` that the guard asks for."""
    filters, channels = w.shape[:2] if geometry.channels_first else w.shape[:-3:-1]
    return SimpleNamespace(
        which=which,
        geometry=geometry,
        channels=channels,
        filters=filters // geometry.groups,
        batch=len(x),
        dtype=str(x.dtype),
        partitioned=False,
    )


@needs_onednn
@pytest.mark.short(*(f"^{case.id}$" for case in FEW))
@pytest.mark.parametrize("case", **by_id(case for case in CASES if case.axes < 4 and 0 not in case.x_shape))
def test_the_three_maps(case):
    geometry = Geometry.of("conv", case.input_size, case.kernel_size, **case.options)
    x, w, g = integers(0, case.x_shape, case.w_shape, case.y_shape)
    x, g = (each.reshape(-1, *each.shape[-case.axes - 1 :]) for each in (x, g))
    assert_exact(geometry, x, w, g)


@needs_onednn
@pytest.mark.short("layer[0246]")
@pytest.mark.parametrize(
    ("x", "w", "options"),
    [
        ((2, 9, 8, 32), (3, 3, 32, 16), {"padding": 1}),
        ((2, 9, 8, 16), (3, 3, 16, 32), {"padding": 1, "stride": 2}),
        ((1, 8, 7, 32), (1, 1, 32, 16), {"stride": (2, 1)}),
        ((2, 8, 9, 32), (3, 5, 8, 32), {"padding": (1, 4), "dilation": (1, 2), "groups": 4}),
        ((2, 8, 9, 16), (3, 5, 1, 16), {"padding": (1, 2), "stride": (1, 3), "groups": 16}),
        ((1, 14, 14, 3), (7, 7, 3, 16), {"padding": 3, "stride": 2}),
        ((1, 4, 6, 5, 16), (3, 3, 1, 16, 8), {"padding": (1, 1, 0), "stride": (1, 2, 1)}),
        ((2, 40, 16), (31, 16, 16), {"padding": (15,)}),
    ],
    ids=[f"layer{i}" for i in range(8)],
)
def test_as_many_channels_as_a_vector_holds(x, w, options):
    geometry = Geometry.of("conv", x[1:-1], w[:-2], layout="channels_last", **options)
    assert_exact(geometry, *integers(0, x, w, (x[0], *geometry.output_size, w[-1]), most=2))


@needs_onednn
@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
def test_in_a_loop(layout):
    geometry = Geometry.of("conv", (5, 4), (3, 3), padding=1, layout=layout)
    x, w = integers(0, (2, 3, 5, 4), (3, 3, 3, 3), most=1)
    if layout == "channels_last":
        x, w = jnp.moveaxis(x, 1, -1), jnp.moveaxis(w, (0, 1), (-1, -2))
    made = jax.lax.scan(lambda y, _: (onednn.conv(y, w, geometry), None), x, None, 3)[0]
    for _ in range(3):
        x = by_loops("conv", geometry, x, w)
    assert_same(made, x)


@needs_onednn
@pytest.mark.parametrize("which", MAPS)
def test_nan_stays_in_the_sums_that_have_it(which):
    """In one element of what windows slide over, of the last image; and where no window reads."""
    geometry = Geometry.of("conv", (11, 8), (2, 3), stride=(3, 2), padding=[(1, 0), (0, 0)], layout="channels_last")
    x, w, g = integers(0, (2, 11, 8, 8), (2, 3, 8, 16), (2, *geometry.output_size, 16))
    a, b = {MAPS[0]: (x, w), MAPS[1]: (g, w), MAPS[2]: (x, g)}[which]
    a = np.array(a)
    a[-1, 1, 1, 0] = np.nan
    if which != MAPS[1]:
        a[:, 1::3] = np.nan  # between windows of two rows, three apart, the first of them half in the padding
    made = jax.jit(lambda a, b: getattr(onednn, which)(a, b, geometry))(a, b)
    right = by_loops(which, geometry, a, b)
    np.testing.assert_array_equal(np.isnan(made), np.isnan(right))
    assert not np.isnan(right).all()


@needs_onednn
def test_export_refuses_it():
    """JAX does: the target has no promise of staying."""
    geometry = Geometry.of("conv", (5,), (3,))
    x, w = jnp.ones((1, 2, 5)), jnp.ones((3, 2, 3))
    with pytest.raises(ValueError, match="custom call"):
        jax.export.export(jax.jit(lambda x, w: onednn.conv(x, w, geometry)))(x, w)


# ------------------------------------------------------------------------------------------------------- the guard

SMALL = Geometry.of("conv", (9, 8), (3, 3), stride=2)
FACTS = {
    **{"which": "conv", "geometry": SMALL, "channels": 3, "filters": 4, "batch": 2},
    **{"dtype": "float32", "partitioned": False},
}


def refused(**changes):
    return onednn.unsupported(SimpleNamespace(**{**FACTS, **changes}))


@pytest.fixture
def here(monkeypatch):
    """A machine and a jaxlib that have oneDNN, whatever runs this."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(of_jaxlib, "JAXLIB", of_jaxlib.TESTED[-1])
    monkeypatch.setattr(jax, "device_count", lambda: 1)


@pytest.mark.usefixtures("here")
def test_what_may_be_called_is_not_refused():
    assert all(refused(which=which) is None for which in MAPS)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"dtype": "float64"}, "float32 alone, not float64"),
        ({"dtype": "bfloat16"}, "float32 alone, not bfloat16"),
        ({"dtype": "complex64"}, "float32 alone"),
        ({"partitioned": True}, "one device"),
        ({"batch": 0}, "empty"),
        ({"channels": 0}, "empty"),
        ({"filters": 0}, "empty"),
        ({"geometry": Geometry.of("conv", (3, 3, 3, 3), (2, 2, 2, 2))}, "three spatial axes, not 4"),
        ({"batch": 1 << 24}, "numbers"),
        ({"which": "conv_input_vjp", "geometry": Geometry.of("conv", (32, 32), (8, 8), stride=8)}, "phases"),
    ],
    ids=lambda each: "-".join(map(str, each.values()))[:40] if isinstance(each, dict) else "",
)
def test_the_guard_refuses(changes, why):
    assert why in refused(**changes)


@pytest.mark.usefixtures("here")
def test_the_guard_refuses_symbolic_sizes():
    (batch,) = jax.export.symbolic_shape("batch")
    assert "numbers" in refused(batch=batch)


@pytest.mark.usefixtures("here")
def test_the_guard_refuses_a_mesh():
    """Also of one device, inside `jax.shard_map`."""
    why = []
    auto = (jax.sharding.AxisType.Auto,)
    mesh = jax.make_mesh((1,), ("i",), auto, devices=jax.devices()[:1])
    spec = jax.sharding.PartitionSpec("i")
    f = jax.shard_map(lambda x: why.append(refused()) or x, mesh=mesh, in_specs=spec, out_specs=spec)
    jax.eval_shape(f, jnp.ones(1))
    assert "one device" in why[0]


@pytest.mark.usefixtures("here")
def test_the_guard_refuses_other_machines_and_versions(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 2)
    assert "one device" in refused()
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    for version in ("0.12.0", "0.12.1", "0.9.0", "1.0"):
        monkeypatch.setattr(of_jaxlib, "JAXLIB", version)
        assert version in refused()
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert "aarch64" in refused()
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert "darwin" in refused()

"""Receptive fields: known networks, random stacks against sets that are simulated, and against real Jacobians."""

from __future__ import annotations

import pickle
import random
from fractions import Fraction
from itertools import product
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from jaxconv import conv, conv_transpose
from jaxconv.sizes.arithmetic import output_size, same_padding, transpose_output_size
from jaxconv.sizes.receptive import (
    ReceptiveField,
    TransposedWindow,
    Window,
    merge_receptive_fields,
    receptive_field,
    unread_inputs,
)
from oracles import Windows

pytestmark = pytest.mark.unoptimised

Layers = list[Window | TransposedWindow]

# The numbers of these networks are those of the Distill article's table.
ALEXNET = [Window(11, 4), Window(3, 2), Window(5, 1, 2), Window(3, 2), *[Window(3, 1, 1)] * 3, Window(3, 2)]
VGG16 = [layer for convs in (2, 2, 3, 3, 3) for layer in (*[Window(3, 1, 1)] * convs, Window(2, 2))]
RESNET_STEM = [Window(7, 2, 3), Window(3, 2, (0, 1))]
RESNET50 = RESNET_STEM + [
    layer
    for blocks, stride in ((3, 2), (4, 2), (6, 2), (3, 1))
    for block in range(1, blocks + 1)
    for layer in (Window(1), Window(3, stride if block == blocks else 1, 1), Window(1))
]


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([], (1, 1, 0)),
        ([Window(1)], (1, 1, 0)),
        ([Window(7, 2, 3), Window(3, 2, 1)], (11, 4, -5)),
        (RESNET_STEM, (11, 4, -3)),
        (RESNET50, (483, 32, -239)),
        (ALEXNET, (195, 32, -64)),
        (VGG16, (212, 32, -90)),
        ([Window(2, dilation=2**i, padding="CAUSAL") for i in range(10)], (1024, 1, -1023)),
        ([Window(3, padding="FULL", dilation=2)], (5, 1, -4)),
        ([Window(3, padding="VALID", stride=2)], (3, 2, 0)),
        ([Window(4, padding="SAME"), Window(4, padding="SAME_LOWER")], (7, 1, -3)),
        ([Window(2, 2, "SAME"), Window(1, 3, "SAME_LOWER")], (2, 6, 0)),  # here it never depends on the size
        ([Window(3, padding=(2, 0))], (3, 1, -2)),
        ([Window(3, padding=[(2, 0)])], (3, 1, -2)),
        ([Window(3, padding=-2, stride=3)], (3, 3, 2)),
        ([Window(1, 10**9), Window(10**9, 10**9, dilation=10**9)], (10**27 - 10**18 + 1, 10**18, 0)),
        ([Window((3, 5)), Window(3, 2, (1, 0))], ((5, 7), (2, 2), (-1, 0))),
        ([Window(3), Window(3, padding=[(2, 0), (0, 1)])], ((5, 5), (1, 1), (-2, 0))),
        ([Window(3, padding=(1, 2, 3))], ((3, 3, 3), (1, 1, 1), (-1, -2, -3))),
        ([Window(3, (2,))], ((3,), (2,), (0,))),
        ([TransposedWindow(1)], (1, 1, 0)),
        ([TransposedWindow(3, dilation=2, padding=1)], (5, 1, -3)),
        ([TransposedWindow(2, 2), Window(2, 2)], (1, 1, 0)),
        ([TransposedWindow(2, 2)], (Fraction(3, 2), Fraction(1, 2), Fraction(-1, 2))),
        ([TransposedWindow(4, 2, "SAME")], (Fraction(5, 2), Fraction(1, 2), -1)),  # (-1, 0), (0, 1), (0, 1) …
        ([TransposedWindow(4, 2, 1, 1, 1), TransposedWindow(1)], (Fraction(5, 2), Fraction(1, 2), -1)),
        ([Window(2, 2), TransposedWindow(2, 2)], (3, 1, -1)),
        ([TransposedWindow((2, 1), (2, 1))], ((Fraction(3, 2), 1), (Fraction(1, 2), 1), (Fraction(-1, 2), 0))),
    ],
)
def test_examples(layers: Layers, expected: tuple) -> None:
    field = receptive_field(layers)
    assert field == expected
    assert (field.size, field.stride, field.start) == expected


def test_numbers_are_integers_where_every_output_reads_alike() -> None:
    alike = receptive_field([TransposedWindow(3, 2), Window(5, 2)])
    turns = receptive_field([Window(2, 2), TransposedWindow(2, 2)])
    assert {type(number) for number in alike} == {int}
    assert {type(number) for number in turns} == {Fraction}
    assert [turns.interval(p) for p in range(4)] == [(0, 1), (0, 1), (2, 3), (2, 3)]


# ------------------------------------------------------------------------------------------ against simulated sets


def padding_before(layer: Window | TransposedWindow) -> int:
    return layer.padding[0] if isinstance(layer.padding, tuple) else layer.padding


def layer_reads(layer: Window | TransposedWindow, p: int) -> set[int]:
    """What output p of one layer reads, from the definition: search all taps."""
    k, s, d, lo = layer.kernel, layer.stride, layer.dilation, padding_before(layer)
    if isinstance(layer, Window):
        return {s * p + d * q - lo for q in range(k)}
    return {(p + lo - d * q) // s for q in range(k) if (p + lo - d * q) % s == 0}


def stack_reads(layers: Layers, p: int) -> list[set[int]]:
    """The positions that output p of the stack reads, in the array before each layer."""
    positions, levels = {p}, []
    for layer in reversed(layers):
        positions = {j for output in positions for j in layer_reads(layer, output)}
        levels.append(positions)
    return levels[::-1]


def random_stack(rng: random.Random, deepest: int, transposed: float = 0.5) -> Layers:
    layers: Layers = []
    for _ in range(rng.randint(1, deepest)):
        k, s, d = rng.randint(1, 4), rng.choice((1, 1, 2, 2, 3, 4)), rng.randint(1, 4)
        pads = (rng.randint(-2, 4), rng.randint(0, 3))
        made = TransposedWindow if rng.random() < transposed else Window
        layers.append(made(k, s, pads, d))
    return layers


def hull(positions: set[int]) -> tuple[int, int] | None:
    return (min(positions), max(positions)) if positions else None


def check_field(field: ReceptiveField, layers: Layers, hulls: list[tuple[int, int] | None]) -> None:
    """`hulls` of two periods at least: the exact intervals, and start and size as tight as they can be."""
    strides = {
        kind: prod(layer.stride for layer in layers if type(layer) is kind) for kind in (Window, TransposedWindow)
    }
    stride = Fraction(strides[Window], strides[TransposedWindow])
    start = min(h[0] - p * stride for p, h in enumerate(hulls) if h)
    size = max(h[1] - p * stride for p, h in enumerate(hulls) if h) + 1 - start
    assert [field.interval(p) for p in range(len(hulls))] == hulls
    assert field == (size, stride, start)
    alike = all(h == (start + p * stride, start + p * stride + size - 1) for p, h in enumerate(hulls))
    assert alike == isinstance(field.stride, int)


@pytest.mark.parametrize("seed", range(20))
def test_random_stacks_against_simulated_sets(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(40):
        layers = random_stack(rng, deepest=4, transposed=rng.choice((0.0, 0.3, 0.6, 1.0)))
        period = prod(layer.stride for layer in layers if isinstance(layer, TransposedWindow))
        hulls = [hull(stack_reads(layers, p)[0]) for p in range(2 * period + 1)]
        if any(hulls):
            check_field(receptive_field(layers), layers, hulls)
        else:
            with pytest.raises(ValueError, match="`layers` must leave an output that reads an input"):
                receptive_field(layers)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("name", ["VALID", "SAME", "SAME_LOWER", "CAUSAL", "FULL"])
def test_named_padding_is_what_the_sizes_give(name: str, transposed: bool) -> None:
    """A name means the pairs that the finite layer uses, for every size, or is refused where sizes differ."""
    for k, s, d in product(range(1, 6), range(1, 4), range(1, 4)):
        sizes = [s * m for m in range(1, 9)] if transposed else range(1, 25)
        lo = {Windows.of((n,), (k,), s, name, d).lo[0] for n in sizes}
        made = TransposedWindow if transposed else Window
        if len(lo) == 1:
            assert receptive_field([made(k, s, name, d)]) == receptive_field([made(k, s, [(lo.pop(), 0)], d)])
        else:
            assert not transposed
            with pytest.raises(ValueError, match="depends on the input size"):
                receptive_field([Window(k, s, name, d)])


def test_axes_are_independent() -> None:
    rng = random.Random(0)
    for made in (Window, TransposedWindow) * 20:
        layers = [random_stack(rng, 1, made is TransposedWindow)[0] for _ in range(2)]
        options = {name: tuple(getattr(layer, name) for layer in layers) for name in vars(layers[0])}
        first, second = (receptive_field([layer]) for layer in layers)
        both = receptive_field([made(**options)])
        assert both == tuple(zip(first, second, strict=True))
        assert both.interval((3, 5)) == (first.interval(3), second.interval(5))
        assert both.interval(2) == (first.interval(2), second.interval(2))


# ------------------------------------------------------------------------------------------ against Jacobians


def run(layers: Layers, x: Array, weights: list[Array]) -> tuple[Array, list[int]]:
    """The stack on x (1, n), and the size of the array before each layer and after the last."""
    sizes = [x.shape[-1]]
    for layer, w in zip(layers, weights, strict=True):
        apply = conv if isinstance(layer, Window) else conv_transpose
        x = apply(x, w, stride=layer.stride, padding=[layer.padding], dilation=layer.dilation)
        sizes.append(x.shape[-1])
    return x, sizes


def fitting_stack(rng: random.Random, n: int) -> Layers:
    """A random stack of two or three layers, one of them transposed, that leaves outputs of n inputs."""
    while True:
        layers, size = random_stack(rng, 3), n
        try:
            for layer in layers:
                resize = output_size if isinstance(layer, Window) else transpose_output_size
                size = resize(size, layer.kernel, stride=layer.stride, padding=layer.padding, dilation=layer.dilation)
        except ValueError:
            continue
        if len(layers) >= 2 and 4 <= size <= 40 and any(isinstance(layer, TransposedWindow) for layer in layers):
            return layers


def check_support(field: ReceptiveField, layers: Layers, jacobian: np.ndarray, sizes: list[int]) -> int:
    """Each row of the Jacobian against the interval of its output; how many rows lie in the interior."""
    interior = 0
    for p, row in enumerate(jacobian):
        read, interval = set(np.flatnonzero(row).tolist()), field.interval(p)
        assert not read or (interval[0] <= min(read) <= max(read) <= interval[1])
        if all(0 <= j < size for js, size in zip(stack_reads(layers, p), sizes, strict=False) for j in js):
            interior += 1
            assert interval == hull(read)
    return interior


@pytest.mark.slow
def test_support_of_jacobians() -> None:
    """With positive weights no two paths cancel, so an input is read where the derivative is not zero."""
    rng, n, interior, empty = random.Random(5), 20, 0, 0
    for _ in range(10):
        layers = fitting_stack(rng, n)
        weights = [jnp.asarray([[[rng.uniform(0.5, 2.0) for _ in range(layer.kernel)]]]) for layer in layers]
        jacobian = jax.jit(jax.jacrev(lambda x, layers=layers, weights=weights: run(layers, x, weights)[0]))(
            jnp.ones((1, n))
        )
        _, sizes = run(layers, jnp.ones((1, n)), weights)
        field = receptive_field(layers)
        interior += check_support(field, layers, np.asarray(jacobian)[0, :, 0], sizes)
        empty += any(field.interval(p) is None for p in range(sizes[-1]))
    assert interior >= 50
    assert empty >= 1


# ------------------------------------------------------------------------------------------ branches


def test_merge_examples() -> None:
    skip, three, five = receptive_field([]), receptive_field([Window(3, padding=1)]), receptive_field([Window(5)])
    assert merge_receptive_fields(skip, three) == (3, 1, -1)
    assert merge_receptive_fields(three, five) == (6, 1, -1)
    assert merge_receptive_fields(five) == five
    assert merge_receptive_fields(skip, receptive_field([Window((3, 5))])) == ((3, 5), (1, 1), (0, 0))
    up = [receptive_field([TransposedWindow(1, 2, padding)]) for padding in (0, -1)]  # each fills the other's gaps
    assert [field.interval(1) for field in up] == [None, (0, 0)]
    assert [merge_receptive_fields(*up).interval(p) for p in range(4)] == [(0, 0), (0, 0), (1, 1), (1, 1)]
    turns = [receptive_field([Window(1, 2, lo), TransposedWindow(2, 2, lo)]) for lo in (0, 1)]
    assert [[field.interval(p)[0] for p in range(4)] for field in turns] == [[0, 0, 2, 2], [-1, 1, 1, 3]]
    alike = merge_receptive_fields(*turns)  # (-1, 0), (0, 1), (1, 2) …: the turns are over
    assert alike == (2, 1, -1)
    assert isinstance(alike.stride, int)


def test_residual_blocks() -> None:
    """A merged field is what further layers start from: a residual network has the field of its longest path."""
    field = receptive_field(RESNET_STEM)
    for stride in (1, 2, 1):
        skip = receptive_field([Window(1, stride)], after=field)
        main = receptive_field([Window(3, stride, 1), Window(3, padding=1)], after=field)
        field = merge_receptive_fields(skip, main)
    longest = [layer for stride in (1, 2, 1) for layer in (Window(3, stride, 1), Window(3, padding=1))]
    assert field == receptive_field(RESNET_STEM + longest)


def test_random_branches() -> None:
    """Pairs of stacks with equal strides; layers on top of the merged field; both against simulated sets."""
    rng = random.Random(1)
    for _ in range(200):
        trunk, top = random_stack(rng, 2), random_stack(rng, 1)
        branches = [
            [type(trunk[0])(rng.randint(1, 4), 2, (rng.randint(-2, 4), 0), rng.randint(1, 3))] for _ in range(2)
        ]
        period = prod(layer.stride for layer in (*trunk, *branches[0], *top) if isinstance(layer, TransposedWindow))
        reads = [
            [{j for i in stack_reads(top, p)[0] for j in stack_reads(trunk + branch, i)[0]} for branch in branches]
            for p in range(2 * period + 1)
        ]
        hulls = [hull(one | other) for one, other in reads]
        if not all(any(read[i] for read in reads) for i in range(2)):
            continue
        merged = merge_receptive_fields(*(receptive_field(branch, after=receptive_field(trunk)) for branch in branches))
        check_field(receptive_field(top, after=merged), [*trunk, *branches[0], *top], hulls)


def test_fields_by_hand_and_through_pickle() -> None:
    by_hand = ReceptiveField((11, 3), (4, 1), (-5, 0))
    assert by_hand.interval((2, 3)) == ((3, 13), (3, 5))
    assert receptive_field([Window(2, (2, 1))], after=by_hand) == ((15, 4), (8, 1), (-5, 0))
    up = receptive_field([TransposedWindow(1, 2)])
    again = pickle.loads(pickle.dumps(up))
    assert again == up
    assert [again.interval(p) for p in range(3)] == [(0, 0), None, (1, 1)]


# ------------------------------------------------------------------------------------------ unread inputs


def test_unread_inputs() -> None:
    pads = [(lo, hi) for lo, hi in product(range(-2, 4), repeat=2)] + ["SAME", "SAME_LOWER", "CAUSAL", "FULL"]
    for n, k, s, d, padding in product(range(1, 9), range(1, 4), range(1, 5), range(1, 4), pads):
        windows = Windows.of((n,), (k,), s, [padding] if isinstance(padding, tuple) else padding, d)
        if windows.m[0] < 1:
            continue
        read = {j for _, _, (j,) in windows.meetings()}
        expected = (min(read, default=n), n - 1 - max(read, default=-1))
        assert unread_inputs(n, k, stride=s, padding=padding, dilation=d) == expected


def test_unread_inputs_per_axis() -> None:
    assert unread_inputs((10, 11), 3, stride=2) == ((0, 1), (0, 0))
    assert unread_inputs(10, (3,), padding=[(-2, -1)]) == ((2, 1),)
    assert unread_inputs(2, 2, dilation=5, padding=2) == (2, 2)
    assert unread_inputs(10**9, 3, stride=7) == (0, 3)


# ------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: receptive_field([Window(3), Window(3, 2, "SAME")]),
            ValueError,
            "receptive_field, layers[1]: `padding` must be (lo, hi) pairs here: 'SAME' depends on the input size (see "
            "same_padding); got padding='SAME', kernel=3, stride=2, dilation=1 on spatial axis 0.",
        ),
        (
            lambda: receptive_field([Window(3, padding="SAMED")]),
            ValueError,
            "receptive_field, layers[0]: `padding` must be one of 'VALID', 'SAME', 'SAME_LOWER', 'CAUSAL', 'FULL'; got "
            "padding='SAMED': did you mean 'SAME'?",
        ),
        (
            lambda: receptive_field([Window(0)]),
            ValueError,
            "receptive_field, layers[0]: `kernel` must be at least 1; got kernel=0.",
        ),
        (
            lambda: receptive_field([Window(3, True)]),
            TypeError,
            "receptive_field, layers[0]: `stride` must be an integer; got stride=True (bool).",
        ),
        (
            lambda: receptive_field([Window((3, 3)), Window((3, 3, 3))]),
            ValueError,
            "receptive_field, layers[1]: `kernel` must be one integer or one per spatial axis (2); got "
            "kernel=(3, 3, 3).",
        ),
        (
            lambda: receptive_field([Window(())]),
            ValueError,
            "receptive_field, layers[0]: `kernel` must name at least one axis; got kernel=().",
        ),
        (
            lambda: receptive_field([Window(3), 3]),  # type: ignore[list-item]
            TypeError,
            "receptive_field, layers[1]: a layer must be a Window or a TransposedWindow; got 3 (int).",
        ),
        (
            lambda: receptive_field(3),  # type: ignore[arg-type]
            TypeError,
            "receptive_field: `layers` must be a sequence of layers; got layers=3.",
        ),
        (
            lambda: receptive_field([], after=(1, 1, 0)),  # type: ignore[arg-type]
            TypeError,
            "receptive_field: `after` must be a ReceptiveField or None; got after=(1, 1, 0).",
        ),
        (
            lambda: receptive_field([TransposedWindow(3, 2, output_padding=2)]),
            ValueError,
            "receptive_field, layers[0]: `output_padding` must be smaller than the stride; got output_padding=2, "
            "stride=2 on spatial axis 0.",
        ),
        (
            lambda: receptive_field([TransposedWindow(3, 2, "SAME", 1, 1)]),
            ValueError,
            "receptive_field, layers[0]: `output_padding` must be 0 with padding='SAME', whose output size is "
            "stride · size; got output_padding=1.",
        ),
        (
            lambda: receptive_field([TransposedWindow(1, 2), Window(1, 2, 1)]),
            ValueError,
            "receptive_field: `layers` must leave an output that reads an input; got layers=[TransposedWindow("
            "kernel=1, stride=2, padding=0, dilation=1, output_padding=0), Window(kernel=1, stride=2, padding=1, "
            "dilation=1)].",
        ),
        (
            lambda: receptive_field([Window(3)]).interval(-1),
            ValueError,
            "interval: `p` must be at least 0; got p=-1.",
        ),
        (
            lambda: ReceptiveField(1.5, 1, 0).interval(0),
            TypeError,
            "ReceptiveField: `size` must be an integer; got size=1.5 (float).",
        ),
        (
            lambda: merge_receptive_fields(receptive_field([]), receptive_field([TransposedWindow(3, 2)])),
            ValueError,
            "merge_receptive_fields: `branches` must have equal strides, or their outputs differ in size; got 1 in "
            "branches[0] and 1/2 in branches[1] on axis 0.",
        ),
        (
            lambda: merge_receptive_fields(receptive_field([Window((1, 2))]), receptive_field([Window((1, 2, 3))])),
            ValueError,
            "merge_receptive_fields: `branches` must agree in their number of axes; got 2 and 3.",
        ),
        (
            lambda: merge_receptive_fields(),
            ValueError,
            "merge_receptive_fields: `branches` must name at least one; got none.",
        ),
        (
            lambda: merge_receptive_fields([Window(3)]),  # type: ignore[arg-type]
            TypeError,
            "merge_receptive_fields: `branches[0]` must be a ReceptiveField; got branches[0]=[Window(kernel=3, "
            "stride=1, padding=0, dilation=1)].",
        ),
        (
            lambda: unread_inputs(5, 7),
            ValueError,
            "unread_inputs: `kernel` must fit into the padded input: a window of 7 needs at least 7 positions; got 5 "
            "on spatial axis 0 (size=5, padding=(0, 0), kernel=7, dilation=1): raise padding by 2 or use a kernel ≤ 5.",
        ),
    ],
)
def test_errors(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value) == message


def test_same_padding_is_the_way_out() -> None:
    """What the error for "SAME" points to."""
    assert receptive_field([Window(3, 2, same_padding(8, 3, stride=2))]) == (3, 2, 0)

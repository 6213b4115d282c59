"""The table that picks a form: what it picks, that the forms agree, and that an exported call holds two."""

import math
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import oracles
from cases import CASES, assert_same, by_id, integers
from jaxconv import conv
from jaxconv._jax import loops, materialize
from jaxconv.algorithms import canonical, depthwise, gemm, layout, patches, phases, planes, shifts, table, taps
from jaxconv.algorithms.problem import Problem
from jaxconv.sizes.geometry import Geometry

WEIGHTS, INPUTS, VALUE = "conv_weight_vjp", "conv_input_vjp", "conv"


def chosen(which, channels, filters, n=(14, 14), k=(3, 3), double=False, mapped=False, half=False, batch=2, **options):
    call = Problem(which, Geometry.of("conv", n, k, **options), channels, filters, batch, double, mapped, half)
    return table.row(call).form


FEW, WIDE = (3, 64), (64, 64)
UNTIL_TUNED = ("patches", "canonical")  # before JAX 0.11 and from then on


@pytest.mark.parametrize(
    ("which", "wide", "options", "first", "tuned", "last"),
    [
        # name, (channels, filters) within a group: with channels first before JAX 0.11 and from then on; channels last,
        # a pair where those differ
        (VALUE, WIDE, {"n": (28, 28), "padding": 1}, "gemm", "canonical", "canonical"),
        (INPUTS, WIDE, {"n": (28, 28), "padding": 1}, "gemm", "canonical", "canonical"),
        (WEIGHTS, WIDE, {"padding": 1}, "gemm", "gemm", ("taps", "canonical")),
        (INPUTS, WIDE, {"stride": 2, "padding": 1}, "gemm", "gemm", "canonical"),
        (INPUTS, WIDE, {"stride": 2, "double": True}, "gemm", "gemm", "gemm"),
        (INPUTS, WIDE, {"stride": 2, "dilation": (1, 2)}, "gemm", "gemm", "gemm"),
        (INPUTS, WIDE, {"stride": (1, 2), "dilation": 2, "n": (28, 28)}, "gemm", "gemm", "gemm"),
        (INPUTS, (64, 7), {"stride": 2, "dilation": 2}, "gemm", "gemm", "canonical"),
        (INPUTS, WIDE, {"n": (64,), "k": (3,), "stride": 2, "dilation": 2}, "gemm", "gemm", "canonical"),
        (INPUTS, FEW, {"k": (7, 7), "stride": 2, "dilation": 2, "n": (64, 64)}, "gemm", "gemm", "gemm"),
        (VALUE, (16, 16), {"padding": 1}, "gemm", "canonical", "canonical"),
        (WEIGHTS, (32, 32), {"padding": 1}, "canonical", "canonical", ("taps", "canonical")),
        (WEIGHTS, (32, 32), {"padding": 1, "batch": 17}, "gemm", "canonical", ("taps", "canonical")),
        (WEIGHTS, (33, 32), {"padding": 1}, "gemm", "canonical", ("taps", "canonical")),
        (WEIGHTS, (32, 32), {"padding": 1, "n": (48, 48)}, "gemm", "canonical", ("taps", "canonical")),
        (WEIGHTS, (31, 32), {"padding": 1}, "canonical", "canonical", "canonical"),
        (WEIGHTS, (32, 31), {"padding": 1}, "gemm", "gemm", "canonical"),
        (WEIGHTS, (32, 31), {"padding": 1, "batch": 8}, "gemm", "canonical", "canonical"),
        (WEIGHTS, (3, 31), {"padding": 1}, "gemm", "canonical", "canonical"),
        (WEIGHTS, (32, 32), {"k": (4, 2), "stride": 2}, "canonical", "gemm", "taps"),
        (WEIGHTS, (32, 32), {"k": (4, 2), "stride": 2, "batch": 8}, "canonical", "canonical", "taps"),
        (WEIGHTS, (32, 65), {"k": (4, 2), "stride": 2}, "canonical", "canonical", "taps"),
        (WEIGHTS, (32, 32), {"k": (5, 2)}, "canonical", "canonical", "canonical"),
        (WEIGHTS, (32, 32), {"dilation": 2}, "gemm", "canonical", "canonical"),
        (WEIGHTS, (32, 32), {"dilation": (2, 1)}, "gemm", "gemm", "gemm"),
        (WEIGHTS, (3, 32), {"dilation": (1, 2)}, "gemm", "gemm", "gemm"),
        (WEIGHTS, (32, 32), {"dilation": (1, 2), "stride": 2}, "gemm", "canonical", "canonical"),
        (WEIGHTS, (32, 32), {"dilation": (2, 1), "stride": 2}, "gemm", "canonical", "taps"),
        (WEIGHTS, WIDE, {"padding": 1, "double": True}, "gemm", "gemm", "canonical"),
        (WEIGHTS, WIDE, {"padding": 1, "n": (56, 56), "batch": 4}, "gemm", "canonical", ("taps", "canonical")),
        (WEIGHTS, WIDE, {"padding": 1, "n": (56, 56), "batch": 3}, "gemm", "gemm", ("taps", "canonical")),
        (WEIGHTS, WIDE, {"padding": 1, "n": (56, 56), "batch": 4, "double": True}, "gemm", "gemm", "canonical"),
        (WEIGHTS, (32, 31), {"padding": 1, "double": True}, "gemm", "canonical", "canonical"),
        (WEIGHTS, (64, 65), {"padding": 1, "n": (56, 56), "batch": 4}, "gemm", "gemm", ("taps", "canonical")),
        # an image that taps would lay out in more than a cache, or than is worth it; arrays that leave the cache
        (WEIGHTS, (32, 32), {"padding": 1, "n": (256, 256)}, "gemm", "gemm", "taps"),
        (WEIGHTS, (32, 7), {"padding": 1, "n": (512, 512)}, "gemm", "gemm", "canonical"),
        (WEIGHTS, (32, 8), {"n": (256, 256), "batch": 8}, "gemm", "gemm", "taps"),
        (WEIGHTS, (32, 7), {"n": (256, 256), "batch": 8}, "gemm", "canonical", "canonical"),
        (WEIGHTS, (32, 32), {"n": (256, 256), "dilation": 2}, "gemm", "gemm", "canonical"),
        (WEIGHTS, (4, 12), {"k": (5, 5), "n": (200, 200), "batch": 8}, "gemm", "gemm", "taps"),
        (WEIGHTS, (4, 12), {"k": (5, 6), "n": (200, 200), "batch": 8}, "gemm", "canonical", "canonical"),
        (WEIGHTS, WIDE, {"padding": 1, "n": (56, 56), "batch": 16}, "gemm", "canonical", ("taps", "canonical")),
        (WEIGHTS, WIDE, {"padding": 1, "n": (56, 56), "batch": 17}, "gemm", "gemm", "taps"),
        (WEIGHTS, (4, 64), {"n": (16384,), "k": (3,), "batch": 4}, "gemm", "gemm", "canonical"),
        (WEIGHTS, (5, 64), {"n": (16384,), "k": (3,), "batch": 4}, "canonical", "canonical", "canonical"),
        (WEIGHTS, WIDE, {"k": (5, 5), "n": (28, 28), "batch": 16}, "gemm", "gemm", "canonical"),
        (WEIGHTS, WIDE, {"k": (5, 5), "n": (28, 28), "batch": 128}, "gemm", "gemm", "taps"),
        (WEIGHTS, WIDE, {"k": (5, 5), "n": (28, 28), "batch": 128, "double": True}, "gemm", "gemm", "canonical"),
        (WEIGHTS, WIDE, {"padding": 1, "n": (512, 512)}, "gemm", "gemm", "gemm"),
        (WEIGHTS, (128, 128), {"n": (64,), "k": (3,)}, "canonical", "canonical", "canonical"),
        # small images
        (VALUE, WIDE, {"padding": 1}, "gemm", "gemm", "canonical"),
        (INPUTS, WIDE, {"padding": 1}, "gemm", "gemm", "canonical"),
        # what JAX 0.10 makes on one core with channels last
        (VALUE, (128, 64), {"padding": 1, "n": (28, 28)}, "gemm", "canonical", ("gemm", "canonical")),
        (INPUTS, (49, 128), {"padding": 2, "dilation": 2, "n": (28, 28)}, "gemm", "canonical", ("gemm", "canonical")),
        (INPUTS, (48, 128), {"padding": 1, "n": (56, 56)}, "gemm", "canonical", "canonical"),
        (VALUE, (128, 65), {"padding": 1, "n": (56, 56)}, "gemm", "canonical", "canonical"),
        (VALUE, WIDE, {"padding": 1, "n": (56, 56)}, "gemm", "canonical", "canonical"),
        (VALUE, (128, 64), {"padding": 1, "n": (27, 28)}, "gemm", "canonical", "canonical"),
        (VALUE, (128, 64), {"padding": 1, "n": (66, 66)}, "gemm", "canonical", "canonical"),
        (VALUE, (128, 64), {"padding": 1, "n": (56, 56), "batch": 1}, "gemm", "canonical", "canonical"),
        (VALUE, (128, 64), {"padding": 1, "n": (56, 56), "stride": 2}, "gemm", "canonical", "canonical"),
        (VALUE, (256, 64), {"k": (3, 2), "n": (56, 56)}, "gemm", "canonical", "canonical"),
        (VALUE, (128, 64), {"padding": 1, "n": (56, 56), "half": True}, "gemm", "canonical", "canonical"),
        (VALUE, (128, 64), {"padding": 1, "n": (56, 56), "double": True}, "gemm", "canonical", "canonical"),
        # few channels, and patches
        (VALUE, FEW, {"k": (7, 7), "stride": 2}, "gemm", "canonical", "canonical"),
        (INPUTS, FEW, {"padding": 1}, "gemm", "gemm", "canonical"),
        (INPUTS, FEW, {"k": (7, 7), "stride": 2, "n": (64, 64)}, "gemm", "gemm", "phases"),
        (INPUTS, FEW, {"k": (7, 7), "stride": 2, "n": (48, 48)}, "gemm", "gemm", "phases"),
        (INPUTS, FEW, {"k": (5, 5), "stride": 2, "n": (64, 64)}, "gemm", "gemm", "phases"),
        (INPUTS, FEW, {"k": (5, 5), "stride": 2, "n": (48, 48)}, "gemm", "gemm", "canonical"),
        (INPUTS, FEW, {"k": (3, 3), "stride": 2, "n": (64, 64)}, "gemm", "gemm", "canonical"),
        (INPUTS, FEW, {"k": (7, 7), "stride": 2}, "gemm", "gemm", "gemm"),
        (INPUTS, FEW, {"k": (7, 7), "stride": 2, "n": (8, 8)}, "canonical", "canonical", "canonical"),
        (INPUTS, FEW, {"k": (7, 7), "stride": 2, "n": (8, 8), "batch": 3}, "gemm", "gemm", "phases"),
        (INPUTS, FEW, {"k": (7, 7), "stride": 2, "n": (8, 8), "double": True}, "gemm", "gemm", "gemm"),
        (INPUTS, FEW, {"k": (3, 3), "stride": 2, "n": (8, 8)}, "gemm", "gemm", "canonical"),
        (INPUTS, (16, 64), {"k": (7, 7), "stride": 2}, "gemm", "gemm", "gemm"),
        (INPUTS, FEW, {"k": (7, 7), "stride": 2, "n": (64, 64), "double": True}, "gemm", "gemm", "gemm"),
        (WEIGHTS, FEW, {"k": (7, 7), "stride": 2}, "canonical", "gemm", "canonical"),
        (WEIGHTS, FEW, {"k": (7, 7), "stride": 2, "n": (224, 224), "batch": 8}, "gemm", "gemm", "taps"),
        (WEIGHTS, (2, 64), {"k": (5, 5), "n": (224, 224), "batch": 8}, "gemm", "gemm", "taps"),
        (WEIGHTS, (1, 64), {"k": (5, 5), "n": (224, 224), "batch": 8}, "gemm", "gemm", "taps"),
        (WEIGHTS, (5, 64), {"k": (5, 5), "n": (224, 224), "batch": 8}, "gemm", "gemm", "taps"),
        (WEIGHTS, FEW, {"k": (7, 7), "stride": 2, "batch": 32}, "gemm", "gemm", "canonical"),
        (WEIGHTS, (3, 63), {"k": (7, 7), "stride": 2, "batch": 32}, "gemm", "canonical", "canonical"),
        (WEIGHTS, (4, 64), {"padding": 1}, "canonical", "canonical", "canonical"),
        (WEIGHTS, (5, 64), {"padding": 1}, "canonical", "canonical", "canonical"),
        (WEIGHTS, (3, 63), {"padding": 1}, "canonical", "canonical", "canonical"),
        (WEIGHTS, FEW, {"padding": 1, "dilation": 2}, "gemm", "canonical", "canonical"),
        (WEIGHTS, FEW, {"padding": 1, "double": True}, "gemm", "canonical", "canonical"),
        (WEIGHTS, FEW, {"padding": 1, "n": (1024, 1024)}, "gemm", "gemm", "taps"),
        (VALUE, FEW, {"k": (7, 7), "stride": 7}, "gemm", "canonical", "canonical"),
        (INPUTS, FEW, {"k": (7, 7), "stride": 7}, "gemm", "gemm", "patches"),
        (INPUTS, FEW, {"k": (2, 2), "stride": 2}, "gemm", "canonical", "patches"),
        (INPUTS, FEW, {"k": (2, 2), "stride": 2, "n": (16, 16)}, "gemm", "gemm", "patches"),
        (WEIGHTS, FEW, {"k": (2, 2), "stride": 2}, "gemm", "canonical", "patches"),
        (WEIGHTS, (16, 16), {"k": (2, 2), "stride": 2}, "gemm", "gemm", "patches"),
        (INPUTS, (1, 64), {"k": (7, 7), "stride": 7, "n": (28, 28)}, "gemm", "gemm", "gemm"),
        (INPUTS, (1, 64), {"k": (13, 13), "stride": 13, "n": (91, 91)}, "gemm", "gemm", "gemm"),
        (INPUTS, (1, 64), {"k": (13, 13), "stride": 12, "n": (91, 91)}, "gemm", "gemm", "gemm"),
        (INPUTS, (1, 64), {"k": (4, 4), "stride": 4}, "gemm", "gemm", "patches"),
        (WEIGHTS, (1, 64), {"k": (7, 7), "stride": 7}, "gemm", "gemm", "patches"),
        (VALUE, FEW, {"n": (14,), "k": (2,), "stride": 2, "double": True}, "gemm", "gemm", "patches"),
        (VALUE, FEW, {"n": (14,), "k": (2,), "stride": 2}, "canonical", "canonical", "canonical"),
        (WEIGHTS, (24, 48), {"k": (2, 2), "stride": 2}, "gemm", "gemm", "taps"),
        (WEIGHTS, (23, 46), {"k": (2, 2), "stride": 2}, "gemm", "gemm", "patches"),
        (WEIGHTS, (24, 49), {"k": (2, 2), "stride": 2}, "gemm", "gemm", "patches"),
        (WEIGHTS, (24, 48), {"k": (1, 2), "stride": 2}, "gemm", "gemm", "patches"),
        # small images by twos, whose rows end within a vector or do not
        (INPUTS, (16, 32), {"stride": 2, "padding": 1}, "canonical", "canonical", "canonical"),
        (INPUTS, (16, 32), {"stride": 2, "padding": 1, "n": (28, 28)}, "gemm", "canonical", "canonical"),
        (INPUTS, (16, 32), {"stride": 2, "padding": 1, "n": (16, 16)}, "gemm", "gemm", "canonical"),
        (INPUTS, (16, 32), {"stride": 3, "padding": 1, "k": (4, 4)}, "gemm", "gemm", "canonical"),
        (INPUTS, (16, 32), {"stride": 2, "padding": 1, "double": True}, "gemm", "gemm", "gemm"),
        # 1x1
        (VALUE, (256, 64), {"k": (1, 1)}, "gemm", "canonical", UNTIL_TUNED),
        (VALUE, (256, 64), {"k": (1, 1), "n": (28, 28)}, "gemm", "gemm", UNTIL_TUNED),
        (INPUTS, (64, 256), {"k": (1, 1), "n": (28, 28)}, "gemm", "gemm", "patches"),
        (INPUTS, (12, 16), {"k": (1, 1), "n": (28, 28)}, "gemm", "gemm", "canonical"),
        (INPUTS, (8, 5), {"k": (1, 1), "n": (28, 28)}, "gemm", "gemm", "patches"),
        (INPUTS, (8, 4), {"k": (1, 1)}, "gemm", "canonical", "canonical"),
        (VALUE, (24, 144), {"k": (1, 1), "n": (28, 28)}, "gemm", "canonical", UNTIL_TUNED),
        (VALUE, (256, 64), {"k": (1, 1), "stride": 2}, "gemm", "gemm", "canonical"),
        (VALUE, (256, 64), {"k": (1, 1), "stride": 2, "half": True}, "gemm", "gemm", "patches"),
        (VALUE, (256, 64), {"k": (1, 1), "half": True}, "gemm", "canonical", UNTIL_TUNED),
        (WEIGHTS, (256, 256), {"k": (1, 1)}, "gemm", "gemm", "patches"),
        (WEIGHTS, (256, 64), {"k": (1, 1)}, "gemm", "gemm", "patches"),
        (WEIGHTS, (256, 64), {"k": (1, 1), "groups": 2}, "gemm", "gemm", "gemm"),
        (WEIGHTS, (256, 64), {"k": (1, 1), "mapped": True}, "gemm", "gemm", "gemm"),
        # few channels and filters
        (VALUE, (3, 16), {"n": (28, 28), "padding": 1}, "gemm", "gemm", "gemm"),
        (VALUE, (4, 16), {"n": (28, 28), "padding": 1}, "gemm", "gemm", "canonical"),
        (VALUE, (3, 17), {"n": (28, 28), "padding": 1}, "gemm", "canonical", "canonical"),
        (VALUE, (3, 16), {"padding": 1, "batch": 1}, "gemm", "canonical", "canonical"),
        (VALUE, (3, 16), {"n": (28, 28), "padding": 1, "double": True}, "gemm", "gemm", "canonical"),
        (VALUE, (3, 16), {"n": (28, 28), "k": (1, 1)}, "gemm", "canonical", UNTIL_TUNED),
        (INPUTS, (12, 4), {"n": (28, 28), "padding": 1}, "gemm", "gemm", "gemm"),
        (INPUTS, (16, 3), {"n": (28, 28), "padding": 1}, "gemm", "gemm", "canonical"),
        (INPUTS, (4, 12), {"n": (28, 28), "k": (5, 5), "stride": 2}, "gemm", "gemm", "gemm"),
        (INPUTS, (4, 12), {"n": (56, 56), "k": (5, 5), "stride": 3}, "gemm", "gemm", "phases"),
        (INPUTS, (5, 9), {"n": (56, 56), "k": (5, 5), "stride": 2}, "gemm", "gemm", "phases"),
        (INPUTS, (16, 32), {"n": (28, 28), "k": (5, 5), "stride": 2}, "gemm", "gemm", "gemm"),
        (INPUTS, (16, 33), {"n": (28, 28), "k": (5, 5), "stride": 2}, "gemm", "gemm", "canonical"),
        (INPUTS, (32, 8), {"n": (28, 28), "k": (4, 4), "stride": 2}, "gemm", "gemm", "gemm"),
        (INPUTS, (33, 8), {"n": (28, 28), "k": (4, 4), "stride": 2}, "gemm", "gemm", "canonical"),
        (WEIGHTS, (8, 16), {"n": (28, 28), "padding": 1, "batch": 7}, "gemm", "gemm", "taps"),
        (WEIGHTS, (8, 16), {"n": (28, 28), "padding": 1, "batch": 8}, "gemm", "canonical", "canonical"),
        (WEIGHTS, (7, 16), {"n": (28, 28), "padding": 1, "batch": 3}, "gemm", "gemm", "canonical"),
        (WEIGHTS, (8, 17), {"n": (28, 28), "padding": 1}, "gemm", "gemm", "canonical"),
        # the same on one axis
        (VALUE, (64, 8), {"n": (512,), "k": (3,)}, "gemm", "gemm", "canonical"),
        (VALUE, (64, 9), {"n": (512,), "k": (3,)}, "canonical", "canonical", "canonical"),
        (VALUE, (1, 512), {"n": (512,), "k": (10,)}, "gemm", "gemm", "canonical"),
        (VALUE, (1, 512), {"n": (512,), "k": (11,)}, "canonical", "canonical", "canonical"),
        (VALUE, (3, 16), {"n": (2048,), "k": (5,)}, "gemm", "gemm", "gemm"),
        (INPUTS, (8, 64), {"n": (512,), "k": (3,)}, "gemm", "gemm", "canonical"),
        (WEIGHTS, (64, 8), {"n": (512,), "k": (3,)}, "gemm", "gemm", "canonical"),
        (WEIGHTS, (15, 8), {"n": (512,), "k": (3,)}, "canonical", "canonical", "canonical"),
        # a kernel longer than what it slides over
        (VALUE, WIDE, {"n": (7, 7), "k": (9, 9), "padding": 4}, "gemm", "canonical", ("gemm", "canonical")),
        (INPUTS, (32, 32), {"n": (7, 9), "k": (5, 5)}, "gemm", "canonical", ("gemm", "canonical")),
        (INPUTS, (32, 32), {"n": (9, 9), "k": (5, 5)}, "gemm", "canonical", "canonical"),
        (INPUTS, (3, 64), {"n": (49, 49), "k": (8, 8), "stride": 8}, "gemm", "gemm", "patches"),
        (
            WEIGHTS,
            WIDE,
            {"n": (28, 28), "k": (4, 3), "padding": [(2, 2), (1, 1)]},
            "gemm",
            "canonical",
            ("gemm", "canonical"),
        ),
        (WEIGHTS, (32, 64), {"n": (512,), "k": (4,), "padding": 2}, "canonical", "canonical", "canonical"),
        # what lax is slow at, or tuned for everywhere
        (WEIGHTS, (4, 4), {"groups": 32, "padding": 1}, "gemm", "gemm", "gemm"),
        # groups of few channels: so many terms are added up; of one channel any number
        (VALUE, (1, 1), {"groups": 96, "padding": 1}, "shifts", "shifts", "shifts"),
        (VALUE, (1, 4), {"groups": 8, "k": (31, 31), "n": (31, 31)}, "shifts", "shifts", "shifts"),
        (INPUTS, (1, 1), {"groups": 96, "k": (31, 31), "n": (31, 31)}, "shifts", "shifts", "shifts"),
        (VALUE, (11, 64), {"groups": 4, "padding": 1}, "shifts", "shifts", "shifts"),
        (VALUE, (12, 64), {"groups": 4, "padding": 1}, "gemm", "gemm", "shifts"),
        (VALUE, (17, 1), {"groups": 4, "padding": 1}, "gemm", "gemm", "shifts"),
        (VALUE, (18, 1), {"groups": 4, "padding": 1}, "gemm", "gemm", "gemm"),
        (INPUTS, (64, 11), {"groups": 4, "padding": 1}, "shifts", "shifts", "shifts"),
        (INPUTS, (1, 18), {"groups": 4, "padding": 1}, "gemm", "gemm", "gemm"),
        (INPUTS, (1, 1), {"groups": 4, "stride": 2}, "gemm", "shifts", "shifts"),
        (INPUTS, (1, 1), {"groups": 4, "stride": 2, "n": (14,), "k": (3,)}, "gemm", "gemm", "gemm"),
        (INPUTS, (1, 1), {"groups": 4, "stride": 4, "k": (5, 5)}, "gemm", "shifts", "shifts"),
        (INPUTS, (1, 1), {"groups": 4, "stride": (4, 5), "k": (5, 5)}, "gemm", "gemm", "gemm"),
        (VALUE, (1, 1), {"groups": 4, "stride": 2}, "shifts", "shifts", "shifts"),
        (VALUE, (4, 4), {"groups": 1, "padding": 1}, "gemm", "canonical", "canonical"),
        (WEIGHTS, (1, 4), {"groups": 8, "padding": 1}, "depthwise", "depthwise", "depthwise"),
        (WEIGHTS, (1, 1), {"groups": 8, "n": (32, 32), "k": (31, 31)}, "depthwise", "depthwise", "depthwise"),
        (WEIGHTS, (1, 1), {"groups": 8, "padding": 1, "mapped": True}, "depthwise", "depthwise", "depthwise"),
        (WEIGHTS, (2, 1), {"groups": 8, "padding": 1}, "gemm", "gemm", "gemm"),
        (WEIGHTS, WIDE, {"n": (4, 14, 14), "k": (3, 3, 3)}, "gemm", "gemm", "gemm"),
        (VALUE, FEW, {"n": (4, 14, 14), "k": (2, 2, 2), "stride": 2}, "gemm", "planes", "patches"),
        # three axes, as planes where those are wide and fit
        (VALUE, WIDE, {"n": (4, 14, 14), "k": (3, 3, 3)}, "gemm", "planes", ("gemm", "planes")),
        (VALUE, (64, 65), {"n": (4, 14, 14), "k": (3, 3, 3)}, "gemm", "planes", "planes"),
        (VALUE, (37, 64), {"n": (4, 14, 14), "k": (3, 3, 3)}, "gemm", "planes", "planes"),
        (VALUE, WIDE, {"n": (4, 14, 14), "k": (1, 3, 3)}, "gemm", "planes", "planes"),
        (VALUE, WIDE, {"n": (4, 14, 14), "k": (3, 1, 1)}, "gemm", "gemm", "planes"),
        (INPUTS, WIDE, {"n": (4, 14, 14), "k": (3, 3, 3)}, "gemm", "planes", "planes"),
        (INPUTS, WIDE, {"n": (4, 14, 14), "k": (3, 3, 3), "stride": 2}, "gemm", "gemm", "gemm"),
        (VALUE, (8, 8), {"n": (4, 14, 14), "k": (3, 3, 3)}, "gemm", "gemm", "gemm"),
        (VALUE, (8, 8), {"n": (8, 28, 28), "k": (3, 3, 3)}, "gemm", "planes", "planes"),
        (INPUTS, (8, 8), {"n": (8, 28, 28), "k": (3, 3, 3)}, "gemm", "planes", "planes"),
        (INPUTS, (4, 8), {"n": (8, 28, 28), "k": (3, 3, 3)}, "gemm", "gemm", "gemm"),
        (INPUTS, (16, 16), {"n": (16, 28, 28), "k": (9, 1, 1)}, "gemm", "gemm", "gemm"),
        (VALUE, (64, 65), {"n": (4, 14, 14), "k": (3, 3, 3), "batch": 512}, "gemm", "gemm", ("gemm", "planes")),
        (VALUE, (64, 65), {"n": (64, 64, 64), "k": (3, 3, 3)}, "gemm", "gemm", "gemm"),
        (VALUE, WIDE, {"n": (4, 14, 14), "k": (3, 3, 3), "groups": 2}, "gemm", "gemm", "gemm"),
        (WEIGHTS, (12, 8), {"n": (8, 28, 28), "k": (3, 3, 3)}, "gemm", "planes", "planes"),
        (WEIGHTS, (3, 8), {"n": (8, 28, 28), "k": (3, 3, 3)}, "planes", "planes", "planes"),
        (WEIGHTS, (13, 8), {"n": (8, 28, 28), "k": (3, 3, 3)}, "gemm", "gemm", "gemm"),
        (WEIGHTS, (8, 64), {"n": (8, 28, 28), "k": (1, 1, 1)}, "gemm", "gemm", "patches"),
        (INPUTS, (63, 64), {"n": (8, 28, 28), "k": (1, 1, 1)}, "gemm", "gemm", "patches"),
        (INPUTS, WIDE, {"n": (8, 28, 28), "k": (1, 1, 1)}, "gemm", "planes", "patches"),
        (WEIGHTS, (16, 32), {"n": (8, 28, 28), "k": (3, 3, 3)}, "gemm", "gemm", "planes"),
        (WEIGHTS, (64, 32), {"n": (8, 28, 28), "k": (1, 3, 3)}, "gemm", "gemm", "planes"),
        (WEIGHTS, (3, 8), {"n": (8, 8, 8), "k": (3, 3, 3)}, "gemm", "gemm", "gemm"),
        (WEIGHTS, (3, 8), {"n": (8, 28, 28), "k": (3, 3, 3), "double": True}, "gemm", "gemm", "gemm"),
        (WEIGHTS, (3, 8), {"n": (8, 112, 112), "k": (3, 3, 3), "batch": 64}, "gemm", "gemm", "gemm"),
        (VALUE, WIDE, {"n": (14,), "k": (3,)}, "canonical", "canonical", "canonical"),
        (WEIGHTS, WIDE, {"n": (14,), "k": (3,)}, "canonical", "canonical", "canonical"),
        (VALUE, WIDE, {"n": (14,), "k": (3,), "double": True}, "gemm", "gemm", "gemm"),
        # long kernels: loops between few channels, lax's own where a product would be a program of thousands of lines
        (VALUE, (1, 1), {"n": (4096,), "k": (4096,), "groups": 2}, "shifts", "shifts", "shifts"),
        (VALUE, (8, 64), {"n": (256,), "k": (129,), "groups": 2}, "shifts", "shifts", "shifts"),
        (VALUE, (9, 1), {"n": (256,), "k": (129,), "groups": 2}, "canonical", "canonical", "canonical"),
        (INPUTS, (64, 8), {"n": (256,), "k": (129,), "groups": 2}, "shifts", "shifts", "shifts"),
        (INPUTS, (64, 9), {"n": (256,), "k": (129,), "groups": 2}, "canonical", "canonical", "canonical"),
        (INPUTS, (9, 9), {"n": (256,), "k": (129,), "groups": 2, "stride": 2}, "shifts", "shifts", "shifts"),
        (INPUTS, (9, 9), {"n": (256,), "k": (129,), "groups": 2, "stride": 129}, "gemm", "gemm", "gemm"),
        (WEIGHTS, (1, 9), {"n": (256,), "k": (129,), "groups": 2}, "depthwise", "depthwise", "depthwise"),
        (WEIGHTS, (8, 8), {"n": (256,), "k": (129,), "groups": 2}, "depthwise", "depthwise", "depthwise"),
        (WEIGHTS, (2, 9), {"n": (256,), "k": (129,), "groups": 2}, "canonical", "canonical", "canonical"),
        (VALUE, (1, 1), {"n": (256,), "k": (129,)}, "shifts", "shifts", "shifts"),
        (WEIGHTS, (1, 1), {"n": (256,), "k": (129,)}, "canonical", "canonical", "canonical"),
        (VALUE, (1, 2), {"n": (256,), "k": (129,)}, "canonical", "canonical", "canonical"),
    ],
)
def test_the_table(which, wide, options, first, tuned, last, monkeypatch):
    found = []
    for order in ("channels_first", "channels_last"):
        for at_the_peak in (False, True):
            monkeypatch.setattr(table, "TUNED", at_the_peak)
            found.append(chosen(which, *wide, layout=order, **options))
    assert found == [first, tuned, *(last if isinstance(last, tuple) else (last, last))]


def in_layout(layout, x, w, *gs):
    """Arrays and a kernel with channels first, in that layout; moved by NumPy, which compiles nothing."""
    if layout == "channels_first":
        return x, w, *gs
    x, w, *gs = map(np.asarray, (x, w, *gs))
    moved = np.moveaxis(x, 1, -1), np.moveaxis(w, (0, 1), (-1, -2)), *(np.moveaxis(g, 1, -1) for g in gs)
    return tuple(map(jax.device_put, moved))


def by_loops(which, geometry, a, b):
    """What is right, rounded once."""
    options = {name: getattr(geometry, name) for name in ("stride", "padding", "dilation", "groups", "layout")}
    sizes = {INPUTS: {"input_size": geometry.input_size}, WEIGHTS: {"kernel_size": geometry.kernel_size}}
    return getattr(oracles, which)(a, b, **options, **sizes.get(which, {})).astype(a.dtype)


def assert_exact(form, geometry, x, w, g, maps=(VALUE, INPUTS, WEIGHTS)):
    """On whole numbers right to the last bit; the form's maps in one program."""
    operands = {VALUE: (x, w), INPUTS: (g, w), WEIGHTS: (x, g)}

    @jax.jit
    def all_of(operands):
        return [getattr(form, which)(*operands[which], geometry) for which in maps]

    assert_same(all_of(operands), [by_loops(which, geometry, *operands[which]) for which in maps])


@pytest.mark.parametrize("case", **by_id(CASES))
def test_the_canonical_form(case):
    geometry = Geometry.of("conv", case.input_size, case.kernel_size, **case.options)
    x, w, g = integers(0, case.x_shape, case.w_shape, case.y_shape)
    x, g = (each.reshape(-1, *each.shape[-case.axes - 1 :]) for each in (x, g))
    assert_exact(canonical, geometry, x, w, g)


@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("n", "k", "options", "longer"),
    [
        ((7,), (9,), {"padding": 4}, (VALUE, INPUTS)),
        ((7,), (4,), {"padding": [(3, 3)]}, (WEIGHTS,)),
        ((3, 6), (4, 2), {"padding": [(3, 1), (-1, 2)]}, (VALUE, WEIGHTS)),
        ((5, 4), (3, 2), {"padding": [(0, 0), (2, 1)], "dilation": (1, 2)}, (WEIGHTS,)),
        ((8, 5), (5, 2), {"padding": [(-1, 0), (1, 0)]}, (INPUTS,)),
        ((4, 9), (5, 3), {"padding": 2, "stride": (1, 2)}, (VALUE,)),
    ],
)
def test_a_kernel_longer_than_what_it_slides_over(n, k, options, longer, layout, dtype):
    """Its padding is an array of its own: XLA's product is tuned for no other."""
    geometry = Geometry.of("conv", n, k, layout=layout, **options)
    shapes = (2, 3, *n), (4, 3, *k), (2, 4, *geometry.output_size)
    x, w, g = in_layout(layout, *(each.astype(dtype) for each in integers(0, *shapes)))
    assert_exact(canonical, geometry, x, w, g)
    for which, operands in ((VALUE, (x, w)), (INPUTS, (g, w)), (WEIGHTS, (x, g))):
        program = jax.make_jaxpr(partial(getattr(canonical, which), geometry=geometry))(*operands)
        assert ("optimization_barrier" in str(program)) == (which in longer)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": (2, 1, 3), "padding": [(1, 0), (-1, 2), (0, 1)]},
        {"stride": (3, 2, 1), "padding": [(-1, 2), (1, 1), (0, 0)]},
        {"dilation": (2, 1, 2), "padding": [(2, 3), (0, 0), (1, 0)]},
    ],
)
@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("apart", [False, True], ids=["together", "by image and tap"])
def test_three_axes_as_planes(options, layout, dtype, apart, monkeypatch):
    monkeypatch.setattr(taps, "short", lambda *_: apart)
    if apart:
        monkeypatch.setattr(planes, "U_BYTES", 0)
    geometry = Geometry.of("conv", (7, 6, 5), (3, 2, 2), layout=layout, **options)
    shapes = (2, 3, 7, 6, 5), (4, 3, 3, 2, 2), (2, 4, *geometry.output_size)
    x, w, g = in_layout(layout, *(each.astype(dtype) for each in integers(0, *shapes)))
    assert_exact(planes, geometry, x, w, g)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"padding": [(1, 0), (-1, 2), (5, 7)]},
        {"dilation": (2, 1, 2), "padding": [(2, 3), (0, 0), (1, 0)], "groups": 2},
    ],
)
@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_dx_of_three_axes_as_the_value_of_the_kernel_turned_round(options, layout, dtype, monkeypatch):
    monkeypatch.setattr(gemm, "TURNED", 0)
    geometry = Geometry.of("conv", (7, 6, 8), (3, 2, 4), layout=layout, **options)
    shapes = (2, 4, 7, 6, 8), (6, 4 // geometry.groups, 3, 2, 4), (2, 6, *geometry.output_size)
    x, w, g = in_layout(layout, *(each.astype(dtype) for each in integers(0, *shapes)))
    assert_exact(gemm, geometry, x, w, g)


STRIDED = [
    ((7,), (3,), {"stride": 3}),
    ((9,), (2,), {"stride": 4, "padding": [(1, 2)]}),
    ((7, 6), (1, 1), {}),
    ((7, 6), (1, 1), {"stride": 2, "padding": [(1, 0), (0, 0)]}),
    ((8, 9), (2, 3), {"stride": (2, 4), "padding": [(-1, 0), (2, -2)]}),
    ((7, 6, 5), (2, 1, 3), {"stride": 3, "padding": [(1, 2), (0, 0), (1, 1)]}),
]
OVERLAPPING = [
    ((9,), (5,), {"stride": 2, "padding": [(2, 1)]}),
    ((8, 9), (7, 3), {"stride": (2, 3), "padding": [(3, 3), (-1, 2)]}),
    ((12, 9), (3, 2), {"stride": (2, 3), "padding": [(0, 5), (-2, 0)], "dilation": (3, 2)}),
    ((7, 6, 5), (3, 2, 4), {"stride": (2, 1, 3), "padding": 1}),
]


def of_channels_last(n, k, options, dtype):
    geometry = Geometry.of("conv", n, k, layout="channels_last", **options)
    return geometry, *(
        each.astype(dtype) for each in integers(0, (4, *n, 2), (*k, 2, 3), (4, *geometry.output_size, 3))
    )


@pytest.mark.parametrize(("n", "k", "options"), STRIDED)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("images", [1, 2, 4])
def test_windows_apart_as_patches(n, k, options, dtype, images, monkeypatch):
    """So many images at a time."""
    geometry, x, w, g = of_channels_last(n, k, options, dtype)
    of_image = math.prod(geometry.output_size) * geometry.taps * 2 * 4
    monkeypatch.setattr(patches, "STEP_BYTES", images * of_image)
    assert_exact(patches, geometry, x, w, g)


@pytest.mark.parametrize("sliced", [False, True])
def test_half_precision_goes_through_a_loop_bit_by_bit(sliced, monkeypatch):
    monkeypatch.setattr(loops, "SLICED", sliced)
    x, g = (each.astype(jnp.bfloat16) for each in integers(0, (6, 2, 3), (6, 4, 3)))
    assert_same(loops.chunked_map(lambda part: part * 2, x, 2), x * 2)
    total = loops.chunked_sum(lambda total, x, g: total + x.sum() * g.sum(), jnp.float32(0), (x, g), 2)
    assert total == sum(float(x[i : i + 2].sum() * g[i : i + 2].sum()) for i in (0, 2, 4))


@pytest.mark.parametrize(
    ("n", "k", "filters", "options"), [((32, 32), (1, 1), 32, {}), ((1024,), (4,), 64, {"padding": 2, "groups": 64})]
)
def test_half_precision_is_neither_widened_nor_copied_as_a_whole(n, k, filters, options, monkeypatch):
    """XLA may not slice bfloat16 within a loop, and then widens the batch before it, or copies its bits."""
    monkeypatch.setattr(depthwise, "STEP_BYTES", 1 << 18)
    geometry = Geometry.of("conv", n, k, **options)
    x, g = jnp.ones((8, 64, *n), jnp.bfloat16), jnp.ones((8, filters, *geometry.output_size), jnp.bfloat16)
    form = gemm if geometry.groups == 1 else depthwise
    compiled = jax.jit(lambda x, g: form.conv_weight_vjp(x, g, geometry)).lower(x, g).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < x.nbytes


@pytest.mark.parametrize("channels", [1, 3, 4, 6])
@pytest.mark.parametrize("slices", [0, 32])
def test_positions_apart_and_together(channels, slices, monkeypatch):
    """Runs of numbers that are vectors, and others, which are sliced or not."""
    monkeypatch.setattr(layout, "MOST_SLICES", slices)
    (x,) = integers(0, (2, 4, 6, 10, channels))
    parts = layout.space_to_depth(x, (2, 3, 5))
    assert_same(parts, x.reshape(2, 2, 2, 2, 3, 2, 5, channels).transpose(0, 1, 3, 5, 2, 4, 6, 7))
    assert_same(layout.depth_to_space(parts, 3), x)


@pytest.mark.parametrize(("filters", "channels"), [(2, 9), (9, 2)])
def test_patches_on_either_side_of_the_product(filters, channels):
    geometry = Geometry.of("conv", (6, 5), (1, 1), layout="channels_last")
    x, g = integers(0, (4, 6, 5, channels), (4, 6, 5, filters))
    assert_same(patches.conv_weight_vjp(x, g, geometry), by_loops(WEIGHTS, geometry, x, g))


@pytest.mark.parametrize(("n", "k", "options"), STRIDED + OVERLAPPING)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_strided_dx_in_phases(n, k, options, dtype):
    assert_exact(phases, *of_channels_last(n, k, options, dtype), (INPUTS,))


@pytest.mark.parametrize(("n", "k", "options"), [case for case in STRIDED + OVERLAPPING if len(case[0]) > 1])
@pytest.mark.parametrize(("dtype", "images"), [("float32", 4), ("float32", 2), ("bfloat16", 1)])
def test_a_dw_tap_by_tap(n, k, options, dtype, images, monkeypatch):
    geometry, x, w, g = of_channels_last(n, k, options, dtype)
    of_image = math.prod(geometry.output_size) * (math.prod(geometry.kernel_size[1:]) * 2 + 3) * 4
    monkeypatch.setattr(taps, "STEP_BYTES", images * of_image)
    together, summed = [], loops.chunked_sum
    monkeypatch.setattr(loops, "summed", lambda *args: together.append(args[-1]) or summed(*args))
    assert_exact(taps, geometry, x, w, g, (WEIGHTS,))
    assert set(together) == {images}


@pytest.mark.parametrize(
    ("x", "w", "options", "forms"),
    [
        ((4, 12, 12, 8), (1, 1, 8, 32), {}, ("patches", "patches")),
        ((4, 12, 12, 8), (1, 1, 8, 32), {"stride": 2}, ("patches", "patches")),
        ((4, 12, 12, 3), (4, 4, 3, 32), {"stride": 4}, ("patches", "patches")),
        ((4, 4, 8, 8, 3), (2, 2, 2, 3, 32), {"stride": 2}, ("patches", "patches")),
        ((2, 15, 14, 3), (7, 7, 3, 8), {"stride": 2, "padding": 3}, ("gemm", "taps")),
        ((1, 49, 48, 3), (7, 7, 3, 32), {"stride": 2, "padding": 3}, ("phases", "canonical")),
        ((2, 13, 12, 3), (4, 4, 3, 9), {"padding": 2}, ("gemm", "canonical" if table.TUNED else "gemm")),
        ((2, 5, 6, 128), (3, 2, 128, 128), {"stride": (1, 2), "padding": 1}, ("canonical", "taps")),
    ],
)
def test_channels_last_through_every_derivative(x, w, options, forms):
    """Where the table serves a form of its own: gradients, a gradient's gradient, and `vmap`, as lax makes them."""
    geometry = Geometry.of("conv", x[1:-1], w[:-2], layout="channels_last", **options)
    x, w, g = integers(0, x, w, (x[0], *geometry.output_size, w[-1]))
    calls = Problem.of(INPUTS, g, w, geometry), Problem.of(WEIGHTS, x, g, geometry)
    assert tuple(table.row(call).form for call in calls) == forms

    def results(form):
        def both(x, w, g):
            return jax.vjp(lambda x, w: conv(x, w, layout="channels_last", lowering=form, **options), x, w)[1](g)

        def twice(x, w, g):
            return jax.vjp(both, x, w, g)[1]((x, w))

        return both(x, w, g), twice(x, w, g), jax.vmap(both, (0, None, 0))(x[:, None], w, g[:, None])

    jax.tree.map(assert_same, results("auto"), results("reference"))


@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
def test_in_a_loop_lax_is_met_in_its_own_layout_alone(layout, monkeypatch):
    """Any other is not tuned there: 80 to 400 times slower."""
    monkeypatch.setattr(table, "TUNED", True)
    x, w = in_layout(layout, jnp.ones((2, 32, 6, 6)), jnp.ones((32, 32, 3, 3)))

    def loss(x, w):
        return jax.lax.scan(lambda y, _: (conv(y, w, padding=1, layout=layout), None), x, None, 2)[0].sum()

    jax.clear_caches()  # traces know nothing of the table
    text = jax.jit(jax.grad(loss, (0, 1))).trace(x, w).lower(lowering_platforms=("cpu",)).as_text()
    layouts = set(re.findall(r"dim_numbers = ([^ ]+.*?),\s*window", text))
    assert layouts == {"[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]"}
    jax.clear_caches()


@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
def test_gradients_example_by_example_make_no_grouped_convolution(layout):
    x, w = jnp.ones((4, 1, 32, 6, 6)), jnp.ones((32, 32, 3, 3))
    if layout == "channels_last":
        x, w = jnp.moveaxis(x, 2, -1), jnp.moveaxis(w, (0, 1), (-1, -2))
    each = jax.vmap(jax.grad(lambda w, x: (conv(x, w, padding=1, layout=layout) ** 2).sum()), (None, 0))
    text = jax.jit(each).trace(w, x).lower(lowering_platforms=("cpu",)).as_text()
    assert "dot_general" in text
    assert set(re.findall(r"feature_group_count = (\d+)", text)) <= {"1"}


def test_every_row_says_why():
    for row in table.CPU:
        assert row.form in (
            "reference",
            "canonical",
            "planes",
            "patches",
            "phases",
            "shifts",
            "depthwise",
            "taps",
            "gemm",
        )
        assert row.because


@pytest.mark.parametrize(
    "options", [{}, {"stride": (2, 1)}, {"stride": (1, 3), "dilation": (2, 1), "padding": 2}, {"groups": 3}]
)
@pytest.mark.parametrize("size", [1, 400, 1 << 22])
@pytest.mark.parametrize("positions", [1, 256])
def test_pieces_with_a_remainder(options, size, positions, monkeypatch):
    """Images in pieces along one axis and one, two or all at a time."""
    monkeypatch.setattr(gemm, "PIECE_BYTES", size)
    monkeypatch.setattr(gemm, "POSITIONS", positions)
    geometry = Geometry.of("conv", (11, 9), (3, 3), **options)
    groups = options.get("groups", 1)
    x, w, g = integers(0, (2, 6, 11, 9), (6, 6 // groups, 3, 3), (2, 6, *geometry.output_size))
    assert_exact(gemm, geometry, x, w, g)


@pytest.mark.parametrize("paired", [False, True])
def test_a_dw_of_two_images_at_a_time_or_one(paired, monkeypatch):
    monkeypatch.setattr(gemm, "PAIRED", paired)
    monkeypatch.setattr(gemm, "POSITIONS", 1)
    geometry = Geometry.of("conv", (7, 6), (3, 2), padding=1)
    x, g = integers(0, (4, 3, 7, 6), (4, 5, *geometry.output_size))
    assert gemm._in_pairs(x, geometry) == paired
    assert_same(gemm.conv_weight_vjp(x, g, geometry), by_loops(WEIGHTS, geometry, x, g))


@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
@pytest.mark.parametrize(
    ("dtype", "n", "k", "options"),
    [
        ("float32", (12, 7), (3, 2), {"padding": ((2, 1), (0, 3))}),
        ("bfloat16", (11, 9), (2, 3), {"stride": (3, 2), "dilation": (2, 1)}),
        ("float32", (9, 8), (3, 3), {"padding": ((-1, 0), (1, -2))}),
        ("float32", (16,), (4,), {"stride": 2, "padding": 3}),
        ("bfloat16", (5, 4, 6), (2, 2, 3), {"padding": 1}),
    ],
)
@pytest.mark.parametrize("size", [1, 1 << 11])
def test_a_depthwise_dw_in_steps_and_blocks(layout, dtype, n, k, options, size, monkeypatch):
    """Image by image or a few at a time, of a number that has divisors and a prime: the same to the bit."""
    monkeypatch.setattr(depthwise, "STEP_BYTES", size)
    geometry = Geometry.of("conv", n, k, groups=3, layout=layout, **options)
    for batch in (6, 7):
        x, g = (a.astype(dtype) for a in integers(batch, (batch, 3, *n), (batch, 6, *geometry.output_size), most=1))
        if layout == "channels_last":
            x, g = jnp.moveaxis(x, 1, -1), jnp.moveaxis(g, 1, -1)
        made = jax.jit(lambda x, g: depthwise.conv_weight_vjp(x, g, geometry))(x, g)
        assert_same(made, by_loops(WEIGHTS, geometry, x, g))


@pytest.mark.parametrize(("batch", "most", "images"), [(6, 3, 3), (6, 1, 2), (6, 6, 6), (5, 1, 5)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_channels_of_some_images_are_moved_at_a_time(batch, most, images, dtype, monkeypatch):
    """Two at least, or all where the batch is odd."""
    monkeypatch.setattr(gemm, "POSITIONS", 1)
    monkeypatch.setattr(gemm, "MOVED_BYTES", most * (4 * 30 + 6 * 20) * 4)
    geometry = Geometry.of("conv", (6, 5), (3, 2), groups=2, layout="channels_last")
    x, g = (each.astype(dtype) for each in integers(0, (batch, 6, 5, 4), (batch, 4, 4, 6)))
    together, summed = [], loops.chunked_sum
    monkeypatch.setattr(loops, "summed", lambda *args: together.append(args[-1]) or summed(*args))
    made = jax.jit(lambda x, g: gemm.conv_weight_vjp(x, g, geometry))(x, g)
    assert_same(made, by_loops(WEIGHTS, geometry, x, g))
    assert together[0] == (images if images < batch else 1)


def test_large_batches_of_few_channels_in_steps(monkeypatch):
    """An image or a few at a time, where together they are new memory in every call."""
    monkeypatch.setattr(shifts, "MOST_BYTES", 1 << 12)
    geometry = Geometry.of("conv", (8, 8), (3, 3), padding=1, groups=2)
    x, w = integers(0, (6, 4, 8, 8), (2, 2, 3, 3))
    together, mapped = [], loops.chunked_map
    monkeypatch.setattr(loops, "mapped", lambda *args: together.append(args[-1]) or mapped(*args))
    for images in (1, 3, 6):
        monkeypatch.setattr(shifts, "STEP_BYTES", images * (4 * 100 + 2 * 64) * 4)
        assert_same(shifts.conv(x, w, geometry), by_loops(VALUE, geometry, x, w))
    assert together == [1, 3, 6]


def test_the_steps_of_a_depthwise_dw_stay_in_a_cache():
    """Of 8 MB at most, two images at least where that can be; one image that is larger is a step of its own. With
    channels first one step instead of two.
    """

    def steps(batch, n=(64, 64), layout="channels_last"):  # 1 MiB an image
        geometry = Geometry.of("conv", n, (3, 3), padding=1, groups=64, layout=layout)
        shape = (batch, 64, *n) if layout == "channels_first" else (batch, *n, 64)
        return depthwise._steps(jax.ShapeDtypeStruct(shape, "float32"), geometry)

    assert [steps(batch) for batch in (1, 8, 10, 16, 18, 64, 11)] == [1, 1, 2, 2, 3, 8, 1]
    assert [steps(batch, layout="channels_first") for batch in (10, 16, 18, 64, 11)] == [1, 1, 3, 8, 1]
    assert steps(4, (320, 64)) == 2
    assert steps(4, (1024, 64)) == 4


SHIFTED = [
    ((7,), (3,), {"stride": 2, "padding": 1}),
    ((9,), (4,), {"padding": [(3, -1)]}),
    ((6, 7), (1, 1), {}),
    ((6, 7), (3, 2), {"padding": [(2, 1), (0, 3)], "dilation": (2, 1)}),
    ((9, 8), (2, 3), {"stride": (3, 2), "padding": [(-1, 0), (1, -2)]}),
    ((11, 8), (3, 3), {"stride": (2, 3), "padding": [(6, -1), (5, 3)], "dilation": (3, 2)}),
    ((4, 6, 5), (2, 2, 3), {"padding": 1, "dilation": (1, 2, 1)}),
]


@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
@pytest.mark.parametrize(("n", "k", "options"), SHIFTED)
@pytest.mark.parametrize(
    ("channels", "filters", "dtype", "most", "barriers"),
    [
        (1, 1, "float32", 25, True),
        (1, 3, "float32", 25, True),
        (3, 2, "float32", 2, False),
        (3, 2, "bfloat16", 3, True),
    ],
)
def test_groups_of_few_channels(layout, n, k, options, channels, filters, dtype, most, barriers, monkeypatch):
    """Sums of shifted arrays in one loop and in several, which barriers keep apart or branches."""
    monkeypatch.setattr(shifts, "TERMS", most)
    monkeypatch.setattr(shifts, "FEWEST", 1)
    monkeypatch.setattr(materialize, "BARRIERS", barriers)
    geometry = Geometry.of("conv", n, k, groups=3, layout=layout, **options)
    shapes = (2, 3 * channels, *n), (3 * filters, channels, *k), (2, 3 * filters, *geometry.output_size)
    x, w, g = in_layout(layout, *(each.astype(dtype) for each in integers(0, *shapes)))
    assert_exact(shifts, geometry, x, w, g, (VALUE, INPUTS))


@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
def test_terms_of_one_loop_fit_a_cache(layout):
    """As many as registers hold, or with channels last as a cache does, shared equally."""

    def terms(count, row):
        parts = shifts._parts(range(count), row, 4, layout == "channels_first")
        assert [term for part in parts for term in part] == list(range(count))
        return [len(part) for part in parts]

    assert terms(25, 192) == [25]
    assert terms(49, 192) == [24, 25]
    assert terms(36, 640) == ([18, 18] if layout == "channels_first" else [9, 9, 9, 9])
    assert terms(9, 8192) == [9]
    assert terms(0, 8192) == []


@pytest.mark.parametrize("channels", [1, 64])
def test_both_sides_take_the_first_axis(channels):
    """Few input channels keep all taps on the side of x; many move the first axis to g, which makes fewer copies."""
    geometry = Geometry.of("conv", (9, 9), (3, 3))
    split = gemm._split(2, channels, 64, geometry, 4, "y")
    assert (split.rows is None) == (channels == 1)


def test_one_product_where_windows_do_not_overlap():
    """Also with a single input channel: a program of a few lines, not one for every phase of the stride."""
    geometry = Geometry.of("conv", (32, 32), (16, 16), stride=16)
    w, g = integers(0, (8, 1, 16, 16), (2, 8, 2, 2))
    dx = jax.make_jaxpr(lambda g, w: gemm.conv_input_vjp(g, w, geometry))(g, w)
    assert str(dx).count("dot_general") == 1
    assert_same(gemm.conv_input_vjp(g, w, geometry), by_loops(INPUTS, geometry, g, w))


def test_an_exported_call_is_each_platforms_own():
    """On a CPU the product, elsewhere lax's convolution."""
    x, w = jnp.ones((1, 4, 6)), jnp.ones((4, 1, 3))
    programs = {
        platform: jax.export.export(jax.jit(lambda x, w: conv(x, w, groups=4)), platforms=[platform])(
            x, w
        ).mlir_module()
        for platform in ("cpu", "cuda", "tpu")
    }
    assert {platform for platform, text in programs.items() if "stablehlo.convolution" in text} == {"cuda", "tpu"}

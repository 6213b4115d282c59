"""`jaxconv size`: layers in words, sizes by formula, the smallest input that works, messages that name the layer."""

import io
import re
import shlex
import subprocess
import sys
from itertools import product

import pytest

from jaxconv import Geometry, cli, output_shape
from jaxconv.sizes.arithmetic import output_size, transpose_output_size
from jaxconv.sizes.layer_words import read_layer, read_shape
from jaxconv.sizes.layers_in_words import smallest_input, walk


def chain(shape, *texts):
    size = read_shape(shape)
    return size, [read_layer(text, len(size) - 1) for text in texts]


def test_resnet_stem():
    first, second = walk(*chain("3x224x224", "64 7x7 s2 p3", "pool 3x3 s2 p1"))
    assert first.shape == (64, 112, 112)
    assert first.weights == 64 * 3 * 49
    assert first.formulas == ("⌊(n + lo + hi − d(k − 1) − 1)/s⌋ + 1 = ⌊(224 + 3 + 3 − 1·(7 − 1) − 1)/2⌋ + 1 = 112",)
    assert second.shape == (64, 56, 56)
    assert second.weights == 0
    assert tuple(second.field) == ((11, 11), (4, 4), (-5, -5))


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("8 3x3 s2", {"stride": 2}),
        ("8 k3 p1", {"padding": 1}),
        ("8 3×3 p1:2x0", {"padding": [(1, 2), (0, 0)]}),
        ("conv 8 3x3 d2 pSAME", {"dilation": 2, "padding": "SAME"}),
        ("8 3x3 s2x1 g2 p-1", {"stride": (2, 1), "groups": 2, "padding": -1}),
        ("8 3x3 pFULL", {"padding": "FULL"}),
    ],
)
def test_words_are_the_options(words, options):
    (step,) = walk(*chain("4x20x21", words))
    assert step.shape == output_shape((4, 20, 21), (8, 4 // options.get("groups", 1), 3, 3), **options)


def test_transposed_layer():
    (step,) = walk(*chain("6x9", "up 4 k3 s2 p1 o1"))
    assert step.shape == (4, transpose_output_size(9, 3, stride=2, padding=1, output_padding=1))
    assert step.formulas[0].endswith("= 2·(9 − 1) + 1·(3 − 1) + 1 − 1 − 1 + 1 = 18")
    assert step.multiply_adds == 6 * 4 * (9 * 3 - 1)  # one tap of one output falls into the padding


@pytest.mark.parametrize(
    "texts",
    [
        ("64 7x7 s2", "pool 3x3 s2", "64 5x5"),
        ("8 3x3 d2", "up 4 k2 s2", "8 5x5 s3 p1"),
        ("8 3x3 pSAME s2", "8 4x4"),
        ("8 2x2 p3", "8 9x9"),
        ("up 4 k4 s3 p5", "8 3x3"),
        ("up 4 k3 pFULL",),
        ("up 4 k3 pSAME s2", "8 7x7"),
        ("up 4 4x4 s2 p9",),
        ("pool 3x3 s2 ceil", "4 3x3"),
        ("pool 2x2 s3 p1 ceil", "pool k5 s4 d2 ceil", "up 4 k2 s2"),
        ("pool 3x3 s2 pSAME ceil", "4 k4"),
        ("4 k3", "upsample s2", "8 k7"),
        ("upsample s3 linear", "8 k7 s2", "pool global", "4 k1"),
    ],
)
def test_smallest_input_is_the_smallest(texts):
    """The size said works, and no smaller one does."""

    def works(size):
        try:
            return bool(list(walk(*chain(f"3x{size}x{size}", *texts))))
        except ValueError:
            return False

    _, layers = chain("3x1x1", *texts)
    smallest = smallest_input(layers, 0)
    assert [works(size) for size in range(1, smallest + 1)] == [False] * (smallest - 1) + [True]


def test_pooling_that_rounds_up_against_its_windows():
    """A window more where it hangs over by less than a stride, none that begins behind the input."""
    for n, k, s, d, lo, hi in product(range(1, 8), range(1, 4), range(1, 5), range(1, 3), range(3), range(3)):
        window = d * (k - 1) + 1
        count = len([p for p in range(99) if s * p + window < n + lo + hi + s and s * p < n + lo])
        text = f"pool k{k} s{s} d{d} p{lo}:{hi} ceil"
        if count:
            (step,) = walk(*chain(f"3x{n}", text))
            assert step.shape == (3, count), text
            read = [j for p in range(count) for j in range(s * p - lo, s * p - lo + window, d) if 0 <= j < n]
            assert (step.multiply_adds, step.with_padding) == (3 * len(read), 3 * count * k), text
        else:
            with pytest.raises(ValueError, match="must fit into the padded input but for"):
                list(walk(*chain(f"3x{n}", text)))


def test_pooling_that_rounds_up_says_how(capsys):
    assert cli.main(["size", "64x112x112", "pool 3x3 s2 ceil"]) == 0  # GoogLeNet's
    out = capsys.readouterr().out
    assert "→ 64 × 56 × 56" in out
    assert "m = ⌈(n + lo + hi − d(k − 1) − 1)/s⌉ + 1 = ⌈(112 + 0 + 0 − 1·(3 − 1) − 1)/2⌉ + 1 = 56" in out
    assert "receptive field: 3 inputs, moving by 2, the first from 0" in out
    assert cli.main(["size", "1x3", "pool k1 s2 p0:1 ceil"]) == 0
    assert cli.main(["size", "1x3", "pool k1 s3 p0:2 ceil"]) == 0
    limited = (
        "m = ⌊(n + lo − 1)/s⌋ + 1 = ⌊(3 + 0 − 1)/3⌋ + 1 = 1: rounded up it were 3, but no window begins in the padding"
    )
    assert limited in capsys.readouterr().out


def test_global_pooling_and_upsampling():
    pooled, last = walk(*chain("512x7x9", "pool global", "10 1x1"))
    assert (pooled.shape, pooled.multiply_adds, pooled.weights) == ((512, 1, 1), 512 * 63, 0)
    assert last.field.size == (7, 9)
    assert last.shape == (10, 1, 1)
    nearest, linear, double = walk(*chain("8x5x6", "upsample s2", "upsample s3x1 linear", "upsample s1x2"))
    assert [step.shape for step in (nearest, linear, double)] == [(8, 10, 12), (8, 30, 12), (8, 30, 24)]
    assert (nearest.multiply_adds, nearest.weights) == (0, 0)
    assert nearest.formulas == ("s·m = 2·5 = 10", "s·m = 2·6 = 12")
    # Of every three outputs two lie between inputs and read two; the first and the last lie outside, and read one.
    assert linear.multiply_adds == 8 * 12 * (10 * (2 + 1 + 2) - 2)
    assert linear.weights == 0


def test_a_global_pooling_leaves_no_room():
    with pytest.raises(ValueError, match="layer 2") as caught:
        list(walk(*chain("3x8x8", "pool global", "4 3x3")))
    assert str(caught.value).endswith(" No input works for the whole chain: a global pooling leaves a size of 1.")


def test_taps_on_padding_are_counted_apart(capsys):
    """The 118 million of the usual tables for ResNet's first layer, and the fewer that meet an input."""
    assert cli.main(["size", "3x224x224", "64 7x7 s2 p3", "64 1x1"]) == 0
    out = capsys.readouterr().out
    assert "116,214,528 multiply-adds (118,013,952 with the taps on padding), 9,408 weights" in out
    assert "\n      51,380,224 multiply-adds, 4,096 weights" in out, "nothing is padded"
    assert "total    167,594,752 multiply-adds (169,394,176 with the taps on padding), 13,504 weights" in out


def test_a_layer_that_does_not_fit_says_which_and_what_would():
    with pytest.raises(ValueError, match="layer 3") as caught:
        list(walk(*chain("3x20x24", "64 7x7 s2", "pool 3x3 s2", "64 5x5")))
    assert str(caught.value) == (
        "jaxconv size: layer 3, '64 5x5', gets 64x3x4: `kernel` must fit into the padded input: a window of 5 needs at "
        "least 5 positions; got 3 on spatial axis 0 (size=3, padding=(0, 0), kernel=5, dilation=1): raise padding by 2 "
        "or use a kernel ≤ 3. The smallest input that works for the whole chain: 27x27."
    )


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (
            ["3x8x8", "8 3x3 q2"],
            "layer '8 3x3 q2': a word must be a number of filters, a kernel 3x3, k s p d g o with numbers, or one of "
            "conv, pool, up, upsample, ceil, global, linear; got 'q2'.",
        ),
        (["3x8x8", "8 3x3 ceil"], "`ceil` must go with pooling, pool; got '8 3x3 ceil'."),
        (["3x8x8", "pool 3x3 linear"], "`linear` must go with upsampling, upsample; got 'pool 3x3 linear'."),
        (["3x8x8", "pool global 3x3"], "`pool global` must have no kernel; got 'pool global 3x3'."),
        (["3x8x8", "pool global s2"], "`pool global` must have no stride; got 'pool global s2'."),
        (["3x8x8", "upsample"], "`upsample` must have a stride, by how much the sizes grow, like s2; got 'upsample'."),
        (["3x8x8", "upsample s2 p1"], "`upsample` must have no padding; got 'upsample s2 p1'."),
        (["3x8x8", "4 upsample s2"], "`upsample` must have no number of filters; got '4 upsample s2'."),
        (["3x8x8", "4 k" + "9" * 5000], "a word must be a number of filters"),
        (["3x" + "9" * 5000, "4 k3"], "the input must be channels and sizes, like 3x224x224; got '3x999"),
        (["3x8x8", "8"], "layer '8': a kernel must be given, like 3x3 or k3; got '8'."),
        (["3x8x8", "3x3"], "`conv` must have a number of filters"),
        (["3x8x8", "pool 4 3x3"], "`pool` must have no number of filters"),
        (["3x8x8", "8 3x3 3x3"], "`kernel` must be given once"),
        (["3x8x8", "8 3x3x3"], "`kernel` must be one number or one per axis (2)"),
        (["3x8x8", "8 3x3 s0"], "`stride` must be at least 1; got 0"),
        (["3x8x8", "8 3x3 g2"], "`groups` must divide the input channels; got groups=2, channels=3"),
        (["3x8x8", "pool 3x3 g3"], "`pool` must have no groups"),
        (["3x8x8", "8 3x3 o1"], "`output_padding` must go with a transposed convolution"),
        (["8", "8 k3"], "the input must be channels and sizes, like 3x224x224; got '8'"),
        (["3x0", "8 k3"], "the input's channels and sizes must be at least 1"),
        (["3x8x8"], "at least one layer must be given"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_wrong_words_are_named(texts, message, capsys):
    assert cli.main(["size", *texts]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.startswith("jaxconv size: ")


def test_one_layer_by_options(capsys):
    assert cli.main(["size", "3x10x11", "--kernel", "3", "--filters", "8", "--stride", "2"]) == 0
    assert "→ 8 × 4 × 5" in capsys.readouterr().out


def test_words_in_place_of_signs_a_full_disk_and_a_closed_pipe(monkeypatch, capsys):
    words = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(words, "cp1252"))
    assert cli.main(["size", "3x8x8", "4 3x3"]) == 0
    line = "m = floor((n + lo + hi - d(k - 1) - 1)/s) + 1 = floor((8 + 0 + 0 - 1*(3 - 1) - 1)/1) + 1 = 6\n"
    assert line in words.getvalue().decode("ascii").replace("\r\n", "\n")
    for arguments in (["size", "3x8x8", "4 3x3"], ["size", "--help"]):
        with open("/dev/full", "w") as full:
            monkeypatch.setattr(sys, "stdout", full)
            try:
                status = cli.main(arguments)
            except SystemExit as stopped:
                status = stopped.code
        assert status == 2
        assert capsys.readouterr().err == "jaxconv size: the output could not be written: No space left on device\n"


def test_the_command_ends_without_a_traceback():
    """Where Python writes what is left at its end, too: a full disk, a closed pipe, no output at all."""
    command = f"{shlex.quote(sys.executable)} -m jaxconv size 3x8x8 '4 3x3'"
    for where, said in ((">/dev/full", "No space left on device"), ("| (exit 0)", "the pipe is closed"), (">&-", "")):
        script = f"(sleep 0.3; {command}; echo $? >&2) {where}" if "|" in where else f"{command} {where}; echo $? >&2"
        done = subprocess.run(["sh", "-c", script], capture_output=True, text=True)
        expected = f"jaxconv size: the output could not be written: .*{said}\n2\n" if said else "0\n"
        assert re.fullmatch(expected, done.stderr), where


def test_every_help_is_plain(capsys):
    """In whatever encoding: argparse writes it as it is."""
    for command in ([], ["size"], ["verify"], ["bench"], ["check"], ["tune"], ["explore"]):
        with pytest.raises(SystemExit) as stopped:
            cli.main([*command, "--help"])
        assert stopped.value.code == 0
        said = capsys.readouterr().out
        assert said.startswith("usage: jaxconv")
        assert said.isascii()


def test_needs_neither_jax_nor_an_extra():
    code = "import sys; from jaxconv import cli; cli.main(['size', '3x9', '4 k3']); "
    code += "assert not {'jax', 'rich'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("text", "field"), [("up 8 k3 pSAME", (3, 1, -1)), ("up 8 k3 p1", (3, 1, -1)), ("up 8 k2 s2", (1.5, 0.5, -0.5))]
)
def test_receptive_field_of_a_transposed_layer(text, field):
    (step,) = walk(*chain("3x9", text))
    assert tuple(each[0] for each in step.field) == field


def test_receptive_field_where_same_pads_by_the_size(capsys):
    """Size 32 is padded by (0, 1), size 33 by (1, 1): known, since the size is."""
    for size, start in (("3x32", 0), ("3x33", -1)):
        *_, last = walk(*chain(size, "8 k3 s2 pSAME", "4 k3"))
        assert tuple(each[0] for each in last.field) == (7, 2, start)
    assert cli.main(["size", "3x32x32", "8 3x3 pSAME s2", "up 4 4x4 s2 p1"]) == 0
    assert "depends" not in capsys.readouterr().out


def test_sizes_agree_with_geometry():
    geometry = Geometry.of("size", (20, 21), (3, 3), stride=2, padding="SAME_LOWER")
    assert geometry.output_size == output_size((20, 21), 3, stride=2, padding="SAME_LOWER")

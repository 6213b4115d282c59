"""Eight nets that people train, without their norms: convolutions with bias, relu, pooling, sums.

Batch and pixels are such that a step takes 20 to 500 ms on two cores.
"""

from __future__ import annotations

from collections.abc import Callable

from jaxconv.bench.nets.graph import Graph

SMALL = 0.2  # gain of the last weights of a residual branch: the sum of 16 branches then stays in bounds


def mnist() -> Graph:
    """Two 3×3 convolutions, as in PyTorch's and flax's first examples."""
    g = Graph("MNIST", 128, (1, 28, 28))
    y = g.relu(g.conv(0, 32, 3, padding=0))
    y = g.pool(g.relu(g.conv(y, 64, 3, padding=0)), 2)
    g.dense(g.mean(y), 10)
    return g


def vgg11() -> Graph:
    """Simonyan and Zisserman 2015, configuration A, as it is trained on CIFAR: one dense layer."""
    g = Graph("VGG11", 32, (3, 32, 32))
    y = 0
    for filters in (64, "pool", 128, "pool", 256, 256, "pool", 512, 512, "pool", 512, 512, "pool"):
        y = g.pool(y, 2) if isinstance(filters, str) else g.relu(g.conv(y, filters, 3))
    g.dense(g.mean(y), 10)
    return g


def _residual(name: str, groups: int, width: int) -> Graph:
    """Stages of 3, 4, 6 and 3 bottlenecks: 1×1, 3×3 in groups, 1×1."""
    g = Graph(name, 8, (3, 64, 64))
    y = g.pool(g.relu(g.conv(0, 64, 7, stride=2)), 3, stride=2, padding=1)
    for stage, blocks in enumerate((3, 4, 6, 3)):
        for block in range(blocks):
            stride, out = (2 if stage and not block else 1), 256 << stage
            branch = g.relu(g.conv(y, width << stage, 1))
            branch = g.relu(g.conv(branch, width << stage, 3, stride=stride, groups=groups))
            branch = g.conv(branch, out, 1, gain=SMALL)
            straight = y if block else g.conv(y, out, 1, stride=stride)
            y = g.relu(g.add(branch, straight))
    g.dense(g.mean(y), 1000)
    return g


def resnet50() -> Graph:
    """He et al. 2016, with the stride in the 3×3, as in torchvision."""
    return _residual("ResNet50", 1, 64)


def resnext50() -> Graph:
    """Xie et al. 2017, 32×4d."""
    return _residual("ResNeXt50", 32, 128)


def mobilenet_v2() -> Graph:
    """Sandler et al. 2018: 1×1 up, depthwise 3×3, 1×1 down, and no relu on what is added."""
    g = Graph("MobileNetV2", 8, (3, 96, 96))
    y = g.relu(g.conv(0, 32, 3, stride=2))
    stages = (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)
    for times, out, blocks, first in stages:
        for block in range(blocks):
            wide = g.shapes[y][0] * times
            branch = g.relu(g.conv(y, wide, 1)) if times > 1 else y
            branch = g.relu(g.conv(branch, wide, 3, stride=1 if block else first, groups=wide))
            branch = g.conv(branch, out, 1, gain=SMALL if block else 0.7)
            y = g.add(branch, y) if block else branch
    g.dense(g.mean(g.relu(g.conv(y, 1280, 1))), 1000)
    return g


def convnext_tiny() -> Graph:
    """Liu et al. 2022: depthwise 7×7, 1×1 up, 1×1 down; relu for gelu."""
    g = Graph("ConvNeXt-T", 8, (3, 64, 64))
    y = g.conv(0, 96, 4, stride=4, padding=0)
    for stage, blocks in enumerate((3, 3, 9, 3)):
        out = 96 << stage
        y = g.conv(y, out, 2, stride=2, padding=0) if stage else y
        for _ in range(blocks):
            branch = g.relu(g.conv(g.conv(y, out, 7, groups=out), 4 * out, 1))
            y = g.add(g.conv(branch, out, 1, gain=SMALL), y)
    g.dense(g.mean(y), 1000)
    return g


def unet() -> Graph:
    """Ronneberger et al. 2015, padded, of 32 to 256 channels, a class for every pixel."""
    g = Graph("U-Net", 4, (3, 96, 96))

    def twice(y: int, filters: int) -> int:
        return g.relu(g.conv(g.relu(g.conv(y, filters, 3)), filters, 3))

    y, kept = 0, []
    for filters in (32, 64, 128):
        kept.append(twice(y, filters))
        y = g.pool(kept[-1], 2)
    y = twice(y, 256)
    for filters in (128, 64, 32):
        y = g.conv(g.upsample(y, 2), filters, 3)
        y = twice(g.concat(kept.pop(), y), filters)
    g.conv(y, 4, 1)
    return g


def resnet1d() -> Graph:
    """A residual net for signals of 1024 samples in 12 channels, kernels of 9, as for electrocardiograms."""
    g = Graph("resnet1d", 16, (12, 1024))
    y = g.pool(g.relu(g.conv(0, 64, 15, stride=2)), 3, stride=2, padding=1)
    for stage in range(4):
        for block in range(2):
            stride, out = (2 if stage and not block else 1), 64 << stage
            branch = g.relu(g.conv(y, out, 9, stride=stride))
            branch = g.conv(branch, out, 9, gain=SMALL)
            y = g.relu(g.add(branch, y if stride == 1 else g.conv(y, out, 1, stride=stride)))
    g.dense(g.mean(y), 5)
    return g


NETS: dict[str, Callable[[], Graph]] = {
    "mnist": mnist,
    "vgg11": vgg11,
    "resnet50": resnet50,
    "resnext50": resnext50,
    "mobilenet_v2": mobilenet_v2,
    "convnext_tiny": convnext_tiny,
    "unet": unet,
    "resnet1d": resnet1d,
}

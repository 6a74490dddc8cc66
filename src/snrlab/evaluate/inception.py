"""The Inception-v3 network of 2015, the usual one for KID and FID, for weights that the user provides.

It is the graph that the TensorFlow team published on 5 December 2015, with the weights' names of pytorch-fid and
torch-fidelity (Szegedy et al. 2015, arXiv:1512.00567). Unlike the paper's, its average pools exclude the padding, its
last block has a max pool, and pictures are resized as in TensorFlow 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

_SIZE = 299
_FEATURES = 2048
_CLASSES = 1008

Kernel = int | tuple[int, int]
Conv = tuple[str, int, Kernel, int]  # name, output channels, kernel, stride
Branch = tuple[Conv | tuple[Conv, Conv], ...]  # one after another; a pair is applied in parallel
Pool = Callable[[Tensor], Tensor]

mean_pool: Pool = partial(functional.avg_pool2d, kernel_size=3, stride=1, padding=1, count_include_pad=False)
max_pool: Pool = partial(functional.max_pool2d, kernel_size=3, stride=1, padding=1)
halving_pool: Pool = partial(functional.max_pool2d, kernel_size=3, stride=2)


class ConvNorm(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: Kernel, stride: int = 1, *, padded: bool = True) -> None:
        """Convolve from `inputs` to `outputs` channels; `padded` keeps the size."""
        super().__init__()
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (sides[0] // 2, sides[1] // 2) if padded else 0
        self.conv = nn.Conv2d(inputs, outputs, sides, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, h, w] to [N, outputs, h', w']."""
        return functional.relu(self.bn(self.conv(x)))


class Mixed(nn.Module):
    """Parallel branches and a pool, channels concatenated; a convolution `branch_pool` may follow the pool."""

    def __init__(self, inputs: int, branches: tuple[Branch, ...], pool: Pool, pooled: int = 0) -> None:
        """Build the branches; the pool gives `pooled` channels, or all of the input's where it is 0."""
        super().__init__()
        self.branches, self.pool = branches, pool
        self.outputs = pooled or inputs
        for branch in branches:
            channels = inputs
            for stage in branch:
                convs = _side_by_side(stage)
                for name, outputs, kernel, stride in convs:
                    self.add_module(name, ConvNorm(channels, outputs, kernel, stride, padded=stride == 1))
                channels = sum(outputs for _, outputs, _, _ in convs)
            self.outputs += channels
        if pooled:
            self.branch_pool = ConvNorm(inputs, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, h, w] to [N, self.outputs, h', w']."""
        outputs = []
        for branch in self.branches:
            y = x
            for stage in branch:
                y = torch.cat([self.get_submodule(conv[0])(y) for conv in _side_by_side(stage)], 1)
            outputs.append(y)
        pooled = self.pool(x)
        outputs.append(self.branch_pool(pooled) if hasattr(self, "branch_pool") else pooled)
        return torch.cat(outputs, 1)


def _side_by_side(stage: Conv | tuple[Conv, Conv]) -> tuple[Conv, ...]:
    return (stage,) if isinstance(stage[0], str) else stage


def _chain(name: str, *convs: tuple[int, Kernel] | tuple[int, Kernel, int], start: int = 1) -> Branch:
    """Convolutions in sequence, name_1, name_2, ...; a third number is the stride."""
    return tuple(
        (f"{name}_{i}", conv[0], conv[1], conv[2] if len(conv) > 2 else 1) for i, conv in enumerate(convs, start)
    )


def _single(name: str, outputs: int, kernel: Kernel, stride: int = 1) -> Branch:
    return ((name, outputs, kernel, stride),)


def _fork(name: str) -> tuple[Conv, Conv]:
    return (f"{name}a", 384, (1, 3), 1), (f"{name}b", 384, (3, 1), 1)


def _blocks() -> dict[str, Callable[[int], Mixed]]:
    """The eleven blocks in order, as functions of their input channels."""
    wide, tall = (1, 7), (7, 1)

    def fine(pooled: int) -> Callable[[int], Mixed]:
        double = _chain("branch3x3dbl", (64, 1), (96, 3), (96, 3))
        branches = (_single("branch1x1", 64, 1), _chain("branch5x5", (48, 1), (64, 5)), double)
        return lambda inputs: Mixed(inputs, branches, mean_pool, pooled)

    def middle(c: int) -> Callable[[int], Mixed]:
        long = _chain("branch7x7dbl", (c, 1), (c, tall), (c, wide), (c, tall), (192, wide))
        branches = (_single("branch1x1", 192, 1), _chain("branch7x7", (c, 1), (c, wide), (192, tall)), long)
        return lambda inputs: Mixed(inputs, branches, mean_pool, 192)

    def coarse(pool: Pool) -> Callable[[int], Mixed]:
        one = (*_chain("branch3x3", (384, 1)), _fork("branch3x3_2"))
        two = (*_chain("branch3x3dbl", (448, 1), (384, 3)), _fork("branch3x3dbl_3"))
        return lambda inputs: Mixed(inputs, (_single("branch1x1", 320, 1), one, two), pool, 192)

    halve = (_single("branch3x3", 384, 3, 2), _chain("branch3x3dbl", (64, 1), (96, 3), (96, 3, 2)))
    halve_again = (
        _chain("branch3x3", (192, 1), (320, 3, 2)),
        _chain("branch7x7x3", (192, 1), (192, wide), (192, tall), (192, 3, 2)),
    )
    return {
        "Mixed_5b": fine(32),
        "Mixed_5c": fine(64),
        "Mixed_5d": fine(64),
        "Mixed_6a": lambda inputs: Mixed(inputs, halve, halving_pool),
        "Mixed_6b": middle(128),
        "Mixed_6c": middle(160),
        "Mixed_6d": middle(160),
        "Mixed_6e": middle(192),
        "Mixed_7a": lambda inputs: Mixed(inputs, halve_again, halving_pool),
        "Mixed_7b": coarse(mean_pool),
        "Mixed_7c": coarse(max_pool),
    }


class Inception(nn.Module):
    """Inception-v3: pictures [N, 3, H, W] in 0..255 to features of the last pool [N, 2048]."""

    def __init__(self) -> None:
        """Build the network with random weights."""
        super().__init__()
        self.Conv2d_1a_3x3 = ConvNorm(3, 32, 3, 2, padded=False)
        self.Conv2d_2a_3x3 = ConvNorm(32, 32, 3, padded=False)
        self.Conv2d_2b_3x3 = ConvNorm(32, 64, 3)
        self.Conv2d_3b_1x1 = ConvNorm(64, 80, 1)
        self.Conv2d_4a_3x3 = ConvNorm(80, 192, 3, padded=False)
        self.blocks, channels = tuple(_blocks()), 192
        for name, make in _blocks().items():
            block = make(channels)
            self.add_module(name, block)
            channels = block.outputs
        self.fc = nn.Linear(_FEATURES, _CLASSES)  # unused here; its weights are in the file

    def forward(self, pictures: Tensor) -> Tensor:
        """Features of the pictures."""
        x = (tensorflow_resize(pictures, _SIZE) - 128) / 128
        x = halving_pool(self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x))))
        x = halving_pool(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)))
        for name in self.blocks:
            x = self.get_submodule(name)(x)
        return x.mean((2, 3))


def from_weights(weights: Mapping[str, Tensor]) -> Inception:
    """The network with these weights, frozen and in evaluation mode.

    Raises:
        KeyError: a tensor is missing, unexpected, or of another shape.
    """
    network = Inception()
    expected = {k: v for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
    given = {k: v for k, v in weights.items() if not k.endswith("num_batches_tracked")}
    for name in (*expected, *given):
        if name not in expected or name not in given or expected[name].shape != given[name].shape:
            raise KeyError(name)
    network.load_state_dict({k: v.float() for k, v in given.items()}, strict=False)
    return network.eval().requires_grad_(False)


def tensorflow_resize(x: Tensor, size: int) -> Tensor:
    """Bilinear resizing as in TensorFlow 1: position i of the result samples i * old / new.

    >>> tensorflow_resize(torch.tensor([[[[0.0, 4.0]]]]), 4)[0, 0, 0]
    tensor([0., 2., 4., 4.])
    """

    def along(old: int) -> Tensor:
        position = torch.arange(size) * (old / size)
        low = position.long()
        matrix = torch.zeros(size, old)
        rows = torch.arange(size)
        matrix[rows, low] += 1 - (position - low)
        matrix[rows, (low + 1).clamp(max=old - 1)] += position - low
        return matrix.to(x)

    return along(x.shape[2]) @ x @ along(x.shape[3]).T

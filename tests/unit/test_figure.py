"""The networks as the paper's figure draws them."""

import torch

from refsr.models.figure import FigureRefsr, FigureSisr


def test_layer_shapes_are_those_drawn() -> None:
    with torch.device("meta"):
        network = FigureRefsr()
    shapes = [
        tuple(p.shape)
        for name, p in network.named_parameters()
        if p.dim() > 1 and not name.startswith("ubp")
    ]
    tower = [
        (32, 3, 3, 3),
        (64, 32, 3, 3),
        (64, 64, 3, 3),
        (128, 64, 3, 3),
        (128, 128, 3, 3),
        (256, 128, 3, 3),
    ]
    assert shapes == [
        *(tower + tower),
        (64, 256, 3, 3),
        *[(4096, 65536), (2048, 4096)],
        *[(1024, 49152), (1024, 1024)],
        *[(2048, 1024), (4096, 2048), (64, 16, 3, 3)],
        (3, 32, 3, 3),
    ]


def test_both_networks_have_the_same_parameters() -> None:
    with torch.device("meta"):
        sisr, refsr = FigureSisr(), FigureRefsr()
    assert [(k, v.shape) for k, v in sisr.state_dict().items()] == [
        (k, v.shape) for k, v in refsr.state_dict().items()
    ]


def test_the_skip_sees_lr_alone_and_the_code_the_reference_too() -> None:
    torch.manual_seed(0)
    network = FigureRefsr(16, 4)
    x, first, second = torch.rand(3, 2, 3, 16, 16)
    skips, mus, _ = zip(network.encode(x, first), network.encode(x, second), strict=True)
    assert torch.equal(*skips)
    assert not torch.equal(*mus)
    lr = torch.rand(2, 3, 4, 4)
    assert not torch.equal(network.upscale(lr, first), network.upscale(lr, second))
    assert torch.equal(network.upscale(lr, first), network.upscale(lr, first))

"""The authors' networks as their prototxt files define them, and Caffe in numpy.

Nothing here comes from refsr: the layers are copied from SISR_VAE.prototxt and
RefSR_VAE.prototxt, and they compute what Caffe documents.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

Blobs = dict[str, list[np.ndarray]]  # of each layer that has any


class Spec(NamedTuple):
    """A layer; `weights` is the shape of its first blob,
    of which the last dimensions are the kernel.
    """

    name: str
    type: str
    bottoms: tuple[str, ...]
    top: str
    weights: tuple[int, ...] | None = None
    stride: int = 1
    pad: int = 0
    coeffs: tuple[float, ...] = (1, 1)
    axis: int = 1


def network(model: str, size: int, deployed: bool = False) -> list[Spec]:
    """The layers that make SR.

    RefSR: of `data` and `label2`. SISR: of `data` and `label`; deployed, of `data` alone, with what
    the file fills with constants, `mu` and `sd`.
    """
    if model == "refsr":
        joined = Spec("concat_data", "Eltwise", ("data", "label2"), "concat_data")
    else:
        joined = Spec(
            "concat_data",
            "Concat",
            ("data",) if deployed else ("data", "label"),
            "concat_data",
            axis=0,
        )
    posterior = [] if model == "sisr" and deployed else [*_posterior(model, size)]
    skip = "LR_feat" if model == "sisr" and posterior else "feat4_2"
    return [
        joined,
        *_trunk(),
        *posterior,
        *_skip(skip),
        *_latent(size),
        *_decoder(model, size),
        *_reconstruction(model),
    ]


def _conv(name: str, bottom: str, inputs: int, outputs: int, kernel: int, stride: int = 1) -> Spec:
    weights = (outputs, inputs, kernel, kernel)
    return Spec(name, "Convolution", (bottom,), name, weights, stride, (kernel - 1) // 2)


def _deconv(name: str, bottom: str, inputs: int) -> Spec:
    return Spec(name, "Deconvolution", (bottom,), name, (inputs, 32, 6, 6), 2, 2)


def _ip(name: str, bottom: str, inputs: int, outputs: int) -> Spec:
    return Spec(name, "InnerProduct", (bottom,), name, (outputs, inputs))


def _relu(name: str, top: str) -> Spec:
    return Spec(name, "ReLU", (top,), top)


def _prelu(name: str, top: str) -> Spec:
    return Spec(name, "PReLU", (top,), top, ())


def _trunk() -> Iterator[Spec]:
    bottom, inputs = "concat_data", 3
    for stage, outputs in enumerate((64, 128, 256, 512), 1):
        yield _conv(f"feat{stage}_1", bottom, inputs, outputs, *((3, 1) if stage == 1 else (6, 2)))
        yield _relu(f"Relu_feat{stage}_1", f"feat{stage}_1")
        yield _conv(f"feat{stage}_2", f"feat{stage}_1", outputs, outputs, 3)
        if stage < 4:
            yield _relu(f"Relu_feat{stage}_2", f"feat{stage}_2")
        bottom, inputs = f"feat{stage}_2", outputs


def _posterior(model: str, size: int) -> Iterator[Spec]:
    bottom, inputs = "feat4_2", 512
    if model == "sisr":
        yield Spec("slicer_VGG", "Slice", ("feat4_2",), "LR_feat,HR_feat", axis=0)
        yield Spec("encodersum", "Concat", ("LR_feat", "HR_feat"), "encodersum")
        yield Spec("encodersumneuron", "ReLU", ("encodersum",), "encodersumneuron")
        bottom, inputs = "encodersumneuron", 1024
    else:
        yield _relu("relu_feat4_2", "feat4_2")
    for number, outputs in enumerate((256, 128, 128), 1):
        yield _conv(f"encoder{number}", bottom, inputs, outputs, 3)
        yield _relu(f"Relu_encoder{number}", f"encoder{number}")
        bottom, inputs = f"encoder{number}", outputs
    yield _ip("ip1", "encoder3", 128 * (size // 8) ** 2, 4096)
    yield _relu("relu_ip1", "ip1")
    yield _ip("ip2", "ip1", 4096, 2048)
    yield _relu("relu_ip2", "ip2")
    yield _ip("ip3", "ip2", 2048, 2048)
    yield Spec("slicer_ip3", "Slice", ("ip3",), "mu,logsd")
    yield Spec("sd", "Exp", ("logsd",), "sd")


def _skip(bottom: str) -> Iterator[Spec]:
    yield _conv("input1", bottom, 512, 128, 1)
    yield _relu("relu_input1", "input1")
    yield _conv("input2", "input1", 128, 64, 3)


def _latent(size: int) -> Iterator[Spec]:
    yield _ip("generator1", "data", 3 * size * size, 512)
    yield _relu("relu_generator1", "generator1")
    yield _ip("generator2", "generator1", 512, 1024)
    yield _relu("relu_generator2", "generator2")
    yield Spec("mvn", "MVN", ("generator2",), "generator2")
    yield Spec("sdnoise", "Product", ("generator2", "sd"), "sdnoise")
    yield Spec("sample", "Eltwise", ("mu", "sdnoise"), "sample")


def _decoder(model: str, size: int) -> Iterator[Spec]:
    bottom, inputs = "sample", 1024
    for number, outputs in ((4, 2048), (5, 2048), (6, 16 * (size // 8) ** 2)):
        yield _ip(f"ip{number}", bottom, inputs, outputs)
        yield _relu(f"relu_ip{number}", f"ip{number}")
        bottom, inputs = f"ip{number}", outputs
    yield Spec("reshape", "Reshape", ("ip6",), "ip6_reshape")
    yield _conv("decoder1", "ip6_reshape", 16, 64, 3)
    if model == "sisr":
        yield Spec("decodersum", "Concat", ("input2", "decoder1"), "decodersum")
        yield _prelu("relu_decoder1", "decodersum")
    else:
        yield _prelu("relu_decoder1", "decoder1")
        yield Spec("decodersum", "Eltwise", ("input2", "decoder1"), "decodersum")


def _reconstruction(model: str) -> Iterator[Spec]:
    bottom, inputs = "decodersum", 128 if model == "sisr" else 64
    for stage in (f"SR_s{number}" for number in (1, 2, 3)):
        yield _deconv(f"conv1_{stage}", bottom, inputs)
        yield _prelu(f"relu1_{stage}", f"conv1_{stage}")
        yield _conv(f"conv2_{stage}", f"conv1_{stage}", 32, 32, 6, 2)
        yield _prelu(f"relu2_{stage}", f"conv2_{stage}")
        yield _conv(f"local_output_{stage}", bottom, inputs, 32, 1)
        error = (f"local_output_{stage}", f"conv2_{stage}")
        yield Spec(f"eltwise1_{stage}", "Eltwise", error, f"eltwise1_{stage}", coeffs=(1, -1))
        yield _deconv(f"conv3_{stage}", f"eltwise1_{stage}", 32)
        yield _prelu(f"relu3_{stage}", f"conv3_{stage}")
        yield _conv(f"local_conv1_{stage}", f"conv1_{stage}", 32, 32, 1)
        yield Spec(
            f"eltwise2_{stage}",
            "Eltwise",
            (f"local_conv1_{stage}", f"conv3_{stage}"),
            f"output_{stage}",
        )
        yield _prelu(f"relu_output_{stage}", f"output_{stage}")
        bottom, inputs = f"output_{stage}", 32
    yield _conv("SR_res", bottom, 32, 3, 3)
    yield Spec("SR", "Eltwise", ("data", "SR_res"), "SR")


def draw(specs: Iterable[Spec], seed: int = 0) -> Blobs:
    """Weights for each layer that has any: such that a signal neither dies nor explodes,
    and no two are alike.
    """
    rng = np.random.default_rng(seed)
    blobs: Blobs = {}
    for spec in specs:
        if spec.weights == ():
            blobs[spec.name] = [rng.uniform(0.1, 0.6, ()).astype(np.float32)]
        elif spec.weights is not None:
            deconvolution = spec.type == "Deconvolution"
            fan_in = (
                spec.weights[0] * 9 if deconvolution else int(np.prod(spec.weights[1:]))
            )  # 9: 6x6 at stride 2
            weights = rng.standard_normal(spec.weights, np.float32) * np.float32(fan_in**-0.5)
            bias = 0.1 * rng.standard_normal(spec.weights[1 if deconvolution else 0], np.float32)
            blobs[spec.name] = [weights, bias]
    return blobs


def forward(specs: Iterable[Spec], blobs: Blobs, **tops: np.ndarray) -> dict[str, np.ndarray]:
    """What every layer computes of the inputs in `tops`; images are (B, 3, H, W)."""
    for spec in specs:
        x = [tops[bottom] for bottom in spec.bottoms]
        weights = [blob.astype(np.float64) for blob in blobs.get(spec.name, [])]
        tops |= dict(zip(spec.top.split(","), _compute(spec, x, weights), strict=True))
    return tops


def _compute(spec: Spec, x: list[np.ndarray], weights: list[np.ndarray]) -> list[np.ndarray]:
    match spec.type:
        case "Convolution":
            return [convolution(x[0], *weights, spec.stride, spec.pad)]
        case "Deconvolution":
            return [deconvolution(x[0], *weights, spec.stride, spec.pad)]
        case "InnerProduct":
            return [x[0].reshape(len(x[0]), -1) @ weights[0].T + weights[1]]
        case "PReLU":
            return [np.maximum(x[0], 0) + weights[0] * np.minimum(x[0], 0)]
        case "ReLU":
            return [np.maximum(x[0], 0)]
        case "Exp":
            return [np.exp(x[0])]
        case "MVN":
            return [(x[0] - x[0].mean(1, keepdims=True)) / (x[0].std(1, keepdims=True) + 1e-9)]
        case "Eltwise":
            return [spec.coeffs[0] * x[0] + spec.coeffs[1] * x[1]]
        case "Product":
            return [x[0] * x[1]]
        case "Concat":
            return [np.concatenate(x, spec.axis)]
        case "Slice":
            return np.split(x[0], 2, spec.axis)
        case "Reshape":
            side = int((x[0].shape[1] // 16) ** 0.5)
            return [x[0].reshape(-1, 16, side, side)]
    raise ValueError(spec.type)


def convolution(
    x: np.ndarray, weights: np.ndarray, bias: np.ndarray, stride: int, pad: int
) -> np.ndarray:
    """(B, C, H, W) and (O, C, k, k) -> (B, O, H', W')."""
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    windows = np.lib.stride_tricks.sliding_window_view(x, weights.shape[2:], (2, 3))[
        :, :, ::stride, ::stride
    ]
    y: np.ndarray = np.tensordot(windows, weights, ((1, 4, 5), (1, 2, 3))).transpose(0, 3, 1, 2)
    return y + bias[:, None, None]


def deconvolution(
    x: np.ndarray, weights: np.ndarray, bias: np.ndarray, stride: int, pad: int
) -> np.ndarray:
    """(B, C, H, W) and (C, O, k, k) -> (B, O, H', W'):
    every pixel stamps its kernel on the output.
    """
    (batch, _, height, width), (_, outputs, kernel, _) = x.shape, weights.shape
    y = np.zeros((batch, outputs, stride * (height - 1) + kernel, stride * (width - 1) + kernel))
    for row in range(height):
        for column in range(width):
            stamp = np.tensordot(x[:, :, row, column], weights, (1, 0))
            y[
                :,
                :,
                row * stride : row * stride + kernel,
                column * stride : column * stride + kernel,
            ] += stamp
    return y[:, :, pad : y.shape[2] - pad, pad : y.shape[3] - pad] + bias[:, None, None]

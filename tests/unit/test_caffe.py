"""Weights from .caffemodel files that Google's protobuf wrote, held against Caffe in numpy."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from caffe_nets import Blobs, draw, forward, network
from caffe_writer import encode, released

from refsr.__main__ import main
from refsr.errors import RefsrError
from refsr.models.blocks import enlarge
from refsr.models.caffe import LEFT_OUT, MODULES, import_caffe
from refsr.models.checkpoint import load_model, read_checkpoint
from refsr.models.vae import ConditionalVae

SIZE, SCALE = 16, 4
Layers = list[tuple[str, str, list[np.ndarray]]]


class Case:
    """A network of the authors', its weights, its file and the checkpoint made of it."""

    def __init__(self, model: str, folder: Path) -> None:
        self.model = model
        self.specs = network(model, SIZE)
        self.blobs = draw(self.specs)
        self.file, self.checkpoint = folder / f"{model}.caffemodel", folder / f"{model}.safetensors"
        self.file.write_bytes(encode(released(self.specs, self.blobs), quick=True))
        self.imported = import_caffe(self.file, self.checkpoint, SIZE, SCALE)

    def network(self) -> ConditionalVae:
        network = load_model(self.checkpoint)
        assert isinstance(network, ConditionalVae)
        return network


@pytest.fixture(scope="module", params=["sisr", "refsr"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(request.param, tmp_path_factory.mktemp("caffe"))


def images(side: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(seed))


def test_training_computes_what_caffe_does(case: Case) -> None:
    lr, guide = images(SIZE // SCALE), images(SIZE, seed=1)
    data, second = enlarge(lr, SIZE).double().numpy(), guide.double().numpy()
    tops = forward(
        case.specs, case.blobs, data=data, **{"label" if case.model == "sisr" else "label2": second}
    )
    with torch.inference_mode():
        sr = case.network()(lr, guide, guide).sr.double().numpy()
    assert np.abs(tops["SR"] - data).mean() > 0.05  # the network does something
    np.testing.assert_allclose(sr, tops["SR"], atol=2e-5)


def test_upscale_computes_what_caffe_does(case: Case) -> None:
    lr, ref = images(SIZE // SCALE), images(SIZE, seed=1)
    given = {"label2": ref.double().numpy()}
    if case.model == "sisr":
        given = {"mu": np.zeros((2, 1024)), "sd": np.full((2, 1024), 0.1)}
    tops = forward(
        network(case.model, SIZE, deployed=True),
        case.blobs,
        data=enlarge(lr, SIZE).double().numpy(),
        **given,
    )
    with torch.inference_mode():
        sr = case.network().upscale(lr, ref).double().numpy()
    np.testing.assert_allclose(sr, tops["SR"], atol=2e-5)


def test_every_blob_is_in_the_network_to_the_bit_or_left_out_and_said(case: Case) -> None:
    config, facts, tensors = read_checkpoint(case.checkpoint)
    assert config["model"] == case.model
    assert config["variant"] == "release"
    held = Counter(tensor.numpy().tobytes() for tensor in tensors.values())
    assert held == Counter(blob.tobytes() for blobs in case.blobs.values() for blob in blobs)
    assert facts["left_out"] == case.imported.left_out
    assert set(facts["left_out"]) == {"sd_scale[0]", "bias_R[0]", "conv1_1[0]", "conv1_1[1]"}
    assert case.imported.layers == len(case.blobs)
    assert case.imported.parameters == sum(
        blob.size for blobs in case.blobs.values() for blob in blobs
    )


def test_weights_lie_where_the_names_say(case: Case) -> None:
    _, _, tensors = read_checkpoint(case.checkpoint)
    places = {
        "trunk.0": "feat1_1", "trunk.14": "feat4_2", "skip.2": "input2",
        "latent.0": "encoder1", "latent.11": "ip3",
        "generator.3": "generator2", "decoder.7": "decoder1", "activation": "relu_decoder1",
        "ubp.0.up.0": "conv1_SR_s1", "ubp.1.down.1": "relu2_SR_s2",
        "ubp.2.project": "local_output_SR_s3", "ubp.2.up_error.0": "conv3_SR_s3",
        "ubp.1.refine": "local_conv1_SR_s2", "ubp.2.activation": "relu_output_SR_s3",
        "output": "SR_res",
    }  # fmt: skip
    for module, layer in places.items():
        assert np.array_equal(
            tensors[f"{module}.weight"].numpy(),
            case.blobs[layer][0].reshape(tensors[f"{module}.weight"].shape),
        )
        if len(case.blobs[layer]) > 1:
            assert np.array_equal(tensors[f"{module}.bias"].numpy(), case.blobs[layer][1])


def test_blobs_of_four_axes_and_of_doubles_are_read_as_caffe_reads_them(
    case: Case, tmp_path: Path
) -> None:
    layers = [
        (n, k, [b.astype(np.float64) if n == "feat1_1" else b for b in bs])
        for n, k, bs in released(case.specs, case.blobs)
    ]
    (tmp_path / "old.caffemodel").write_bytes(encode(layers, legacy=True, quick=True))
    import_caffe(tmp_path / "old.caffemodel", tmp_path / "old.safetensors", SIZE, SCALE)
    tensors, expected = (
        read_checkpoint(path)[2] for path in (tmp_path / "old.safetensors", case.checkpoint)
    )
    assert all(torch.equal(tensors[name], expected[name]) for name in expected)


def test_the_command_says_what_it_made_and_left_out(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "import-caffe",
        str(case.file),
        "-o",
        str(tmp_path / "new" / "m.safetensors"),
        "--hr",
        "16",
        "--scale",
        "4",
    ]
    assert main(arguments) == 0
    assert (tmp_path / "new" / "m.safetensors").read_bytes() == case.checkpoint.read_bytes()
    out = capsys.readouterr().out
    assert (
        f"release {case.model}, {case.imported.parameters:,} parameters of {len(case.blobs)} layers"
        in out
    )
    assert "left out, VGG-19, of the training loss: conv1_1[0] conv1_1[1]" in out
    assert main([*arguments[:4], "--hr", "128"]) == 1
    assert "give --hr 16" in capsys.readouterr().err


@pytest.mark.parametrize(("model", "total"), [("sisr", 199_922_832), ("refsr", 198_667_408)])
def test_the_table_holds_the_layers_of_the_released_files(model: str, total: int) -> None:
    weights = {spec.name: spec for spec in network(model, 128) if spec.weights is not None}
    assert set(MODULES) == set(weights)
    assert len(set(MODULES.values())) == len(MODULES)
    biases = [
        spec.weights[spec.type == "Deconvolution"] for spec in weights.values() if spec.weights
    ]
    assert sum(int(np.prod(spec.weights)) for spec in weights.values()) + sum(biases) == total
    assert not set(MODULES) & set(LEFT_OUT)
    assert len(LEFT_OUT) == 16 + 6  # the convolutions of VGG-19, and the constants


# what is refused, on files whose blobs are too small, but for those looked at before


def skeleton() -> Layers:
    """RefSR's layers in the order of the file;
    a blob is one value unless the import looks at it early.
    """
    blobs: Blobs = {
        spec.name: [np.zeros(1, np.float32)]
        for spec in network("refsr", SIZE)
        if spec.weights is not None
    }
    blobs["conv1_SR_s1"] = [np.zeros((64, 32, 6, 6), np.float32)]
    blobs["generator1"] = [np.zeros((512, 3 * SIZE**2), np.float32)]
    blobs["feat1_1"] = [np.zeros((64, 3, 3, 3), np.float32), np.zeros(64, np.float32)]
    return [(spec.name, spec.type, blobs.get(spec.name, [])) for spec in network("refsr", SIZE)]


def replaced(name: str, *layers: tuple[str, str, list[np.ndarray]]) -> Layers:
    return [new for old in skeleton() for new in (layers if old[0] == name else [old])]


def values(*shape: int, value: float = 0) -> np.ndarray:
    return np.full(shape, value, np.float32)


WEIGHTS = values(64, 3, 3, 3)
REFUSED = {
    "missing": (replaced("ip2"), "no layer 'ip2', so nothing for latent.9"),
    "twice": (
        [*skeleton(), ("SR_res", "Convolution", [values(1)])],
        "layer 'SR_res' is there twice",
    ),
    "twice, once empty": ([("ip1", "InnerProduct", []), *skeleton()], "layer 'ip1' is there twice"),
    "left out twice": (
        [*skeleton(), *2 * [("conv1_1", "Convolution", [values(1)])]],
        "layer 'conv1_1' is there twice",
    ),
    "unknown": ([*skeleton(), ("fc8", "InnerProduct", [values(1)])], "layer 'fc8' is in neither"),
    "unknown kind": (
        replaced("conv1_SR_s1", ("conv1_SR_s1", "Deconvolution", [values(96, 1)])),
        "takes 96 channels",
    ),
    "no kind": (
        replaced("conv1_SR_s1", ("conv1_SR_s1", "Deconvolution", [])),
        "takes 0 channels; RefSR's takes 64",
    ),
    "odd size": (
        replaced("generator1", ("generator1", "InnerProduct", [values(1, 100)])),
        "takes 100 values, but an HR",
    ),
    "type": (
        replaced("feat1_1", ("feat1_1", "Deconvolution", [WEIGHTS, values(64)])),
        "trunk.0 takes a Convolution",
    ),
    "no bias": (
        replaced("feat1_1", ("feat1_1", "Convolution", [WEIGHTS])),
        "has 1 blobs; trunk.0 takes 2: weight, bias",
    ),
    "shape": (
        replaced("feat1_1", ("feat1_1", "Convolution", [WEIGHTS, values(1, 64)])),
        "blob 1 is (1, 64); trunk.0.bias",
    ),
    "turned": (
        replaced("feat1_1", ("feat1_1", "Convolution", [values(3, 64, 3, 3), values(64)])),
        "blob 0 is (3, 64, 3, 3)",
    ),
    "nan": (
        replaced("feat1_1", ("feat1_1", "Convolution", [WEIGHTS, values(64, value=np.nan)])),
        "blob 1 holds values that",
    ),
    "inf": (
        replaced(
            "feat1_1", ("feat1_1", "Convolution", [values(64, 3, 3, 3, value=np.inf), values(64)])
        ),
        "not finite",
    ),
    "too large": (
        replaced("feat1_1", ("feat1_1", "Convolution", [WEIGHTS.astype("f8") + 1e300, values(64)])),
        "not finite",
    ),
    "next layer": (skeleton(), "layer 'feat1_2' has 1 blobs"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_a_network_that_is_not_the_authors_is_refused_by_name(fault: str, tmp_path: Path) -> None:
    layers, message = REFUSED[fault]
    (tmp_path / "a.caffemodel").write_bytes(encode(layers, quick=True))
    with pytest.raises(RefsrError) as refused:
        import_caffe(tmp_path / "a.caffemodel", tmp_path / "a.safetensors", SIZE, SCALE)
    assert message in str(refused.value)
    assert str(refused.value).startswith(f"{tmp_path / 'a.caffemodel'}: ")
    assert [path.name for path in tmp_path.iterdir()] == ["a.caffemodel"]


def test_a_checkpoint_that_cannot_be_written_is_reported(case: Case, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RefsrError, match="file: not a folder"):
        import_caffe(case.file, tmp_path / "file" / "m.safetensors", SIZE, SCALE)

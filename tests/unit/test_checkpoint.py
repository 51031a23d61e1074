"""A network's own file, and a warm start from another's."""

import os
from pathlib import Path

import pytest
import torch

from refsr.errors import RefsrError
from refsr.models import build
from refsr.models.checkpoint import load_matching, load_model, save_model
from refsr.models.release import ReleaseRefsr, ReleaseSisr


def test_refsr_starts_from_sisr_but_for_three_layers() -> None:
    sisr, network = ReleaseSisr(16, 4), ReleaseRefsr(16, 4)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    loaded, skipped = load_matching(network, sisr.state_dict())
    assert skipped == {
        "latent.0.weight": "(256, 1024, 3, 3) in the source, (256, 512, 3, 3) here",
        "ubp.0.up.0.weight": "(128, 32, 6, 6) in the source, (64, 32, 6, 6) here",
        "ubp.0.project.weight": "(32, 128, 1, 1) in the source, (32, 64, 1, 1) here",
    }
    assert sorted([*loaded, *skipped]) == sorted(before)
    now, source = network.state_dict(), sisr.state_dict()
    assert all(torch.equal(now[name], source[name]) for name in loaded)
    assert all(torch.equal(now[name], before[name]) for name in skipped)


def test_a_warm_start_says_what_the_source_lacks() -> None:
    refsr = ReleaseRefsr(16, 4)
    loaded, skipped = load_matching(
        refsr,
        {"other": torch.zeros(1), "output.bias": refsr.output.bias.detach().clone()},
    )
    assert loaded == ["output.bias"]
    assert skipped["output.weight"] == "not in the source"


@pytest.mark.parametrize("variant", ["release", "figure"])
@pytest.mark.parametrize(
    ("model", "option"),
    [("sisr", {"deployed_sd": "normal"}), ("refsr", {"mode": "lr"})],
)
def test_a_checkpoint_gives_the_same_network_back(
    tmp_path: Path, model: str, option: dict[str, str], variant: str
) -> None:
    config = {"model": model, "variant": variant, "hr_size": 16, "scale": 4, **option}
    network = build(config)
    save_model(tmp_path / "model.safetensors", network)
    again = load_model(tmp_path / "model.safetensors")
    assert again.config == network.config == config
    lr, (hr, ref) = torch.rand(2, 3, 4, 4), torch.rand(2, 2, 3, 16, 16)
    assert torch.equal(again(lr, hr, ref).sr, network(lr, hr, ref).sr)


@pytest.mark.parametrize("change", [{"prior": "learned"}, {"width": 24}])
def test_a_checkpoint_of_another_version_says_what_to_do(
    tmp_path: Path,
    change: dict[str, object],
) -> None:
    network = build({"model": "refsr", "variant": "compact", "width": 16, "blocks": 1})
    network.config |= change  # type: ignore[union-attr, operator]
    save_model(tmp_path / "model.safetensors", network)
    with pytest.raises(
        RefsrError,
        match=r"model\.safetensors: does not fit this version of refsr; train again",
    ):
        load_model(tmp_path / "model.safetensors")


@pytest.mark.parametrize("missing", [("offsets",), ("offsets", "align")])
def test_a_checkpoint_from_before_an_option_still_loads(
    tmp_path: Path,
    missing: tuple[str, ...],
) -> None:
    config = {"model": "refsr", "variant": "compact", "hr_size": 32, "width": 16, "blocks": 1}
    before = {"attention": True} | dict.fromkeys(missing, False)
    old = build(config | before).eval()
    for option in missing:
        del old.config[option]
    save_model(tmp_path / "old.safetensors", old)
    again = load_model(tmp_path / "old.safetensors")
    lr, ref = torch.rand(1, 3, 4, 4), torch.rand(1, 3, 32, 32)
    assert torch.equal(again.upscale(lr, ref), old.upscale(lr, ref))  # type: ignore[operator]
    assert again.config == config | {"scale": 8, "latent": 16, "heads": 4, "align": True} | before


def test_others_can_read_a_checkpoint(
    tmp_path: Path,
) -> None:
    model = ReleaseSisr(hr_size=32, scale=4)
    path = tmp_path / "model.safetensors"
    before = os.umask(0o022)
    try:
        save_model(path, model)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [path]

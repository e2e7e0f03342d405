from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from fake_hub import FakeHub

from edgelm import paths
from edgelm.errors import NetworkError, NotFoundError, OptionError, OutputError, UnsupportedError
from edgelm.library import models as library
from edgelm.library.manifest import Manifest
from edgelm.library.models import default_name, pull

REPO = "Org/Tiny-Llama"
Files = dict[str, bytes]


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("HuggingFaceTB/SmolLM2-135M-Instruct", "smollm2-135m-instruct"),
        ("org/Qwen2.5_1.5B+x", "qwen2.5_1.5b+x"),
        ("org/model:Q4_K_M", "model"),
        ("org/.hidden", "hidden"),
        ("org/modèle rapide", "mod-le-rapide"),
        ("org/…", "model"),
    ],
)
def test_default_names(source: str, name: str) -> None:
    assert default_name(source) == name


@pytest.mark.slow
def test_a_pulled_model_is_in_the_library(fake_hub: FakeHub, published: Files) -> None:
    repository = fake_hub.add(REPO, published, tags=["license:mit"])
    model = pull(REPO)
    assert library.installed() == [model]
    assert (model.name, model.source, model.licence) == ("tiny-llama", REPO, "mit")
    assert model.bits_per_weight == 32.0
    manifest = Manifest.read(model.directory)
    assert manifest is not None
    weights = {"model.safetensors": hashlib.sha256(published["model.safetensors"]).hexdigest()}
    assert (manifest.kind, manifest.revision, manifest.parents) == ("huggingface", repository.commit, [])
    assert manifest.source_sha256 == manifest.weights_sha256 == weights
    assert manifest.size_bytes == len(published["model.safetensors"])
    assert {path.name for path in model.directory.iterdir()} == {
        "config.json", "edgelm.json", "generation_config.json",
        "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip


def test_a_pulled_model_is_found_by_its_hub_id(fake_hub: FakeHub, published: Files) -> None:
    fake_hub.add(REPO, published)
    directory = pull(REPO, name="mine").directory
    converted = paths.models() / "converted"
    converted.mkdir()
    (converted / "config.json").write_bytes(published["config.json"])
    Manifest(source="org/other", kind="huggingface", parents=[{"source": "org/other"}]).write(converted)
    assert library.resolve(REPO) == directory
    with pytest.raises(NotFoundError):
        library.resolve("org/other")


def test_weights_take_no_room_twice(fake_hub: FakeHub, published: Files, hub_cache: Path) -> None:
    fake_hub.add(REPO, published)
    directory = pull(REPO).directory
    (blob,) = [path for path in hub_cache.rglob("model.safetensors") if path.is_symlink()]
    assert (directory / "model.safetensors").samefile(blob)
    assert not (directory / "model.safetensors").is_symlink()
    assert library.remove("tiny-llama") < 10_000
    assert blob.read_bytes() == published["model.safetensors"]


def test_another_file_system_gets_a_copy(
    fake_hub: FakeHub, published: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "link", refuse)
    fake_hub.add(REPO, published)
    weights = pull(REPO).directory / "model.safetensors"
    assert weights.read_bytes() == published["model.safetensors"]
    assert weights.stat().st_nlink == 1


def test_the_config_is_flattened_and_the_caches_is_left_alone(
    fake_hub: FakeHub, published: Files, hub_cache: Path
) -> None:
    fake_hub.add(REPO, published)
    config = json.loads((pull(REPO).directory / "config.json").read_text())
    assert config["rope_theta"] == 500000.0
    (cached,) = hub_cache.rglob("snapshots/*/config.json")
    assert cached.read_bytes() == published["config.json"]


def test_a_name_of_ones_own(fake_hub: FakeHub, published: Files) -> None:
    fake_hub.add(REPO, published)
    assert pull(REPO, name="Mine").directory == paths.models() / "Mine"


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "../x", "-x", "a b"])
def test_a_name_that_is_none_is_refused(fake_hub: FakeHub, published: Files, name: str) -> None:
    fake_hub.add(REPO, published)
    with pytest.raises(OptionError, match="expected letters"):
        pull(REPO, name=name)
    assert fake_hub.requests == []


def test_a_name_that_is_taken_is_refused_before_any_request(fake_hub: FakeHub, published: Files) -> None:
    fake_hub.add(REPO, published)
    pull(REPO)
    fake_hub.requests.clear()
    with pytest.raises(OutputError, match="already exists"):
        pull(REPO)
    assert fake_hub.requests == []


def test_a_model_of_the_same_name_from_elsewhere_is_no_obstacle(fake_hub: FakeHub, published: Files) -> None:
    fake_hub.add(REPO, published)
    fake_hub.add("other/" + REPO.partition("/")[2], published)
    first, second = pull(REPO), pull("other/" + REPO.partition("/")[2])
    assert second.name == "other-" + first.name


def test_weights_that_need_converting_are_refused_before_their_download(
    fake_hub: FakeHub, published: Files
) -> None:
    fake_hub.add("org/gguf", {"m.gguf": b"GGUF"})
    del published["model.safetensors"]
    fake_hub.add("org/pickle", published)
    for repo in ("org/gguf", "org/pickle"):
        with pytest.raises(UnsupportedError) as caught:
            pull(repo)
        assert caught.value.hint == f"run `edgelm convert {repo}`"
    assert set(fake_hub.fetched) <= {"config.json"}  # which may name the weights itself


@pytest.mark.fault
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_an_interrupted_pull_leaves_nothing_in_the_library(
    fake_hub: FakeHub, published: Files, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def stop(source: Path, target: Path) -> None:
        if target.name == "model.safetensors":
            raise error

    fake_hub.add(REPO, published)
    monkeypatch.setattr("edgelm.library.install.place", stop)
    with pytest.raises((KeyboardInterrupt, OutputError)):
        pull(REPO)
    assert list(paths.models().iterdir()) == []


@pytest.mark.fault
def test_a_failed_download_leaves_nothing_in_the_library(
    fake_hub: FakeHub, published: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    fake_hub.add(REPO, published)
    fake_hub.fail["model.safetensors"] = 500
    with pytest.raises(NetworkError):
        pull(REPO)
    assert not paths.models().exists()
    fake_hub.fail.clear()
    assert pull(REPO).problem is None


@pytest.mark.peer
def test_edgelm_and_stock_mlx_lm_load_what_was_pulled(fake_hub: FakeHub, published_shards: Files) -> None:
    import mlx.core as mx
    import mlx_lm

    from edgelm.model.load import load

    fake_hub.add(REPO, published_shards)
    directory = pull(REPO).directory
    ours = load(directory, check_fit=False)
    theirs, tokenizer = mlx_lm.load(str(directory))
    ids = tokenizer.encode("the cat sat on a mat")
    assert ids == ours.tokenizer.encode("the cat sat on a mat")
    logits = [np.array(network(mx.array([ids]))) for network in (ours.network, theirs)]
    np.testing.assert_allclose(logits[0], logits[1], atol=1e-5)


def test_an_mlx_quantization_is_measured_and_kept(
    fake_hub: FakeHub, published: Files, tmp_path: Path
) -> None:
    import mlx.core as mx

    weight = mx.random.normal((64, 64))
    packed, scales, biases = mx.quantize(weight, group_size=32, bits=4)
    tensors = {
        "model.a.weight": packed,
        "model.a.scales": scales,
        "model.a.biases": biases,
        "norm": weight[0],
    }
    mx.save_safetensors(str(tmp_path / "q.safetensors"), tensors)
    config = {**json.loads(published["config.json"]), "quantization": {"group_size": 32, "bits": 4}}
    files = {
        "config.json": json.dumps(config).encode(),
        "model.safetensors": (tmp_path / "q.safetensors").read_bytes(),
    }
    fake_hub.add(REPO, {**published, **files})
    # 4 bits and two float32 per group of 32 for 4096 weights, and 64 of 32 bits.
    assert pull(REPO).bits_per_weight == pytest.approx((6 * 4096 + 32 * 64) / (4096 + 64), abs=1e-3)

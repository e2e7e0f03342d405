from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fake_hub import FakeHub, point_at
from waiting import wait_for

from edgelm.errors import (
    FormatError,
    NetworkError,
    NotFoundError,
    OutputError,
    UnsafeError,
    UnsupportedError,
)
from edgelm.hub import cache as hub_cache
from edgelm.hub import fetch as hub
from edgelm.progress import Progress

REPO = "org/model"
Files = dict[str, bytes]
NEEDED = {
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "model.safetensors",
}


def assert_no_weights_were_asked_for(server: FakeHub) -> None:
    """Not even their headers."""
    endings = (".safetensors", ".bin", ".gguf", ".pth")
    assert [r for r in server.requests if r.file and r.file.endswith(endings)] == []


# What an id is


@pytest.mark.parametrize(
    ("text", "repo", "selector"),
    [
        ("org/model", "org/model", None),
        ("mlx-community/Qwen3-0.6B-4bit", "mlx-community/Qwen3-0.6B-4bit", None),
        ("org/model-GGUF:Q4_K_M", "org/model-GGUF", "Q4_K_M"),
        ("org/model-GGUF/model.Q4_K_M.gguf", "org/model-GGUF", "model.Q4_K_M.gguf"),
        ("org/model-GGUF/Q8_0/model-00001-of-00002.gguf", "org/model-GGUF", "Q8_0/model-00001-of-00002.gguf"),
        ("https://huggingface.co/org/model", "org/model", None),
        ("hf.co/org/model:Q4_0", "org/model", "Q4_0"),
    ],
)
def test_ids_are_read(text: str, repo: str, selector: str | None) -> None:
    assert hub.looks_like_hub_id(text)
    assert hub.parse_hub_id(text) == hub.HubId(repo, selector)


@pytest.mark.parametrize(
    "text",
    ["", "smollm2", "./org/model", "/org/model", "~/model", "org/", "a/b/c", "../model", "org/..",
     "org/mo del", "org/model.gguf", "org/model/../x.gguf", "org//model", "-org/model", "org/" + "x" * 97],
)  # fmt: skip
def test_other_texts_are_no_ids(text: str) -> None:
    assert not hub.looks_like_hub_id(text)
    with pytest.raises(NotFoundError, match="not a Hub id"):
        hub.fetch(text)


# What is downloaded


def test_only_the_needed_files_are_downloaded(fake_hub: FakeHub, published: Files) -> None:
    repository = fake_hub.add(REPO, published, tags=["license:apache-2.0", "text-generation"])
    found = hub.fetch(REPO)
    assert {path.name for path in found.files} == NEEDED
    assert set(fake_hub.fetched) == NEEDED
    assert found.files[-1].name == "model.safetensors"
    assert all(path.read_bytes() == published[path.name] for path in found.files)
    assert (found.revision, found.licence, found.kind) == (repository.commit, "apache-2.0", "safetensors")
    assert found.directory.name == repository.commit


def test_shards_are_those_that_the_index_names(fake_hub: FakeHub, published_shards: Files) -> None:
    fake_hub.add(REPO, {**published_shards, "model-00001-of-00009.safetensors": b"left over"})
    found = hub.fetch(REPO)
    assert [path.name for path in found.files[-3:]] == [
        "model.safetensors.index.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ]


def test_an_index_left_over_beside_a_single_file_is_not_downloaded(
    fake_hub: FakeHub, published: Files
) -> None:
    index = json.dumps({"weight_map": {"a": "model-00001-of-00001.safetensors"}}).encode()
    fake_hub.add(REPO, {**published, "model.safetensors.index.json": index})
    assert {path.name for path in hub.fetch(REPO).files} == NEEDED


@pytest.mark.parametrize("is_index", [False, True])
def test_weights_that_the_configuration_names_are_the_ones(
    fake_hub: FakeHub, published: Files, is_index: bool
) -> None:
    """As transformers: `transformers_weights` decides alone, whatever else lies there."""
    config = json.loads(published["config.json"])
    weights = published.pop("model.safetensors")
    named = "other.safetensors.index.json" if is_index else "other.safetensors"
    index = json.dumps({"weight_map": {"a": "other.safetensors"}}).encode()
    files = {**published, "other.safetensors": weights, "model.safetensors": b"a second save"}
    fake_hub.add(
        REPO,
        {
            **files,
            "config.json": json.dumps({**config, "transformers_weights": named}).encode(),
            **({named: index} if is_index else {}),
        },
    )
    found = hub.fetch(REPO)
    assert found.files[-1].name == "other.safetensors"
    assert named in {path.name for path in found.files}
    assert "model.safetensors" not in fake_hub.fetched


def test_a_configuration_that_names_missing_weights_is_refused(fake_hub: FakeHub, published: Files) -> None:
    config = {**json.loads(published["config.json"]), "transformers_weights": "other.safetensors"}
    fake_hub.add(REPO, {**published, "config.json": json.dumps(config).encode()})
    with pytest.raises(FormatError, match=r"lacks 1 of its 1 weight files: other\.safetensors"):
        hub.fetch(REPO)


def test_pickles_are_downloaded_where_there_are_no_safetensors(fake_hub: FakeHub, published: Files) -> None:
    del published["model.safetensors"]
    fake_hub.add(REPO, published)
    found = hub.fetch(REPO)
    assert found.kind == "pytorch"
    assert {path.name for path in found.files} == NEEDED - {"model.safetensors"} | {"pytorch_model.bin"}


def test_the_layout_of_meta_is_known(fake_hub: FakeHub) -> None:
    files = {
        "params.json": b"{}",
        "tokenizer.model": b"sp",
        "consolidated.00.pth": b"0",
        "consolidated.01.pth": b"1",
    }
    fake_hub.add(REPO, files)
    found = hub.fetch(REPO)
    assert (found.kind, {path.name for path in found.files}) == ("meta", set(files))


def test_a_second_fetch_downloads_nothing(fake_hub: FakeHub, published: Files) -> None:
    fake_hub.add(REPO, published)
    first = hub.fetch(REPO)
    fake_hub.requests.clear()
    assert hub.fetch(REPO) == first
    assert fake_hub.fetched == []


def test_a_revision_is_resolved_to_its_commit(fake_hub: FakeHub, published: Files) -> None:
    repository = fake_hub.add(REPO, published, branches=("main", "v2/wide"))
    assert hub.fetch(REPO, revision="v2/wide").revision == repository.commit
    with pytest.raises(NotFoundError, match="no revision 'v3'"):
        hub.fetch(REPO, revision="v3")


def test_progress_counts_every_byte_once(fake_hub: FakeHub, published: Files) -> None:
    fake_hub.add(REPO, published)
    fake_hub.drop_once["model.safetensors"] = 1000
    reports: list[Progress] = []
    hub.fetch(REPO, on_progress=reports.append)
    total = sum(len(published[name]) for name in NEEDED)
    done = [report.done for report in reports]
    assert done == sorted(done)
    assert done[-1] == total
    assert {report.total for report in reports} == {total}
    assert {report.detail for report in reports} == NEEDED


# GGUF


GGUFS = {"model.Q4_0.gguf": b"GGUF0", "model.Q4_K_M.gguf": b"GGUF1", "mmproj-model.gguf": b"GGUF2"}


@pytest.mark.parametrize("text", ["org/gguf:Q4_K_M", "org/gguf:q4_k_m", "org/gguf/model.Q4_K_M.gguf"])
def test_one_of_several_ggufs_is_chosen(fake_hub: FakeHub, text: str) -> None:
    fake_hub.add("org/gguf", GGUFS)
    found = hub.fetch(text)
    assert found.gguf is not None
    assert found.gguf.read_bytes() == b"GGUF1"
    assert fake_hub.fetched == ["model.Q4_K_M.gguf"]


@pytest.mark.parametrize("text", ["org/gguf", "org/gguf:Q8_0", "org/gguf:Q4_K", "org/gguf/other.gguf"])
def test_an_unclear_gguf_lists_what_there_is(fake_hub: FakeHub, text: str) -> None:
    fake_hub.add("org/gguf", GGUFS)
    with pytest.raises(NotFoundError, match=r"model\.Q4_0\.gguf \(5 B\), model\.Q4_K_M\.gguf") as caught:
        hub.fetch(text)
    assert caught.value.hint == "say which one: org/gguf/model.Q4_K_M.gguf"
    assert_no_weights_were_asked_for(fake_hub)


def test_the_only_gguf_needs_no_choosing(fake_hub: FakeHub) -> None:
    fake_hub.add("org/gguf", {"m.Q8_0.gguf": b"GGUF", "README.md": b""})
    assert hub.fetch("org/gguf").files[0].name == "m.Q8_0.gguf"


def test_a_split_gguf_comes_whole(fake_hub: FakeHub) -> None:
    parts = {f"Q8_0/m-Q8_0-{i:05d}-of-00002.gguf": b"GGUF" for i in (1, 2)}
    fake_hub.add("org/gguf", {**parts, "m-Q4_0.gguf": b"GGUF"})
    found = hub.fetch("org/gguf:Q8_0")
    assert [path.name for path in found.files] == ["m-Q8_0-00001-of-00002.gguf", "m-Q8_0-00002-of-00002.gguf"]
    assert found.gguf == found.files[0]


def test_a_split_gguf_without_a_part_is_refused(fake_hub: FakeHub) -> None:
    fake_hub.add("org/gguf", {"m-00001-of-00002.gguf": b"GGUF"})
    with pytest.raises(FormatError, match=r"lacks 1 of its 2 weight files: m-00002-of-00002\.gguf"):
        hub.fetch("org/gguf")


def test_a_gguf_of_an_unknown_architecture_is_refused_before_its_download(fake_hub: FakeHub) -> None:
    fake_hub.add("org/gguf", {"m.gguf": b"GGUF"}, gguf={"architecture": "rwkv7"})
    with pytest.raises(UnsupportedError, match="architecture 'rwkv7', which is none of the 2"):
        hub.fetch("org/gguf", gguf_architectures=("qwen3", "llama"))
    assert_no_weights_were_asked_for(fake_hub)


# What is refused, before any weights


def _with(**changes: Any) -> Any:
    def edit(files: Files) -> None:
        files["config.json"] = json.dumps({**json.loads(files["config.json"]), **changes}).encode()

    return edit


def _without(*names: str) -> Any:
    def edit(files: Files) -> None:
        for name in names:
            files.pop(name)

    return edit


def _replaced(name: str, content: bytes) -> Any:
    def edit(files: Files) -> None:
        files[name] = content

    return edit


@pytest.mark.parametrize(
    ("edit", "error", "message"),
    [
        (_with(model_type="mamba9"), UnsupportedError, "'mamba9' is not supported"),
        (_with(model_type="new", auto_map={"AutoModel": "modeling.X"}), UnsupportedError, "'new' is not"),
        (_with(model_file="evil.py"), UnsafeError, "runs no code"),
        (_without("config.json"), NotFoundError, r"no config\.json"),
        (_without("tokenizer.json"), NotFoundError, "no tokenizer"),
        (_without("model.safetensors", "pytorch_model.bin"), NotFoundError, "no weights in safetensors"),
        (_replaced("config.json", b"<html>"), FormatError, "not valid JSON"),
        (_replaced("config.json", b"[]"), FormatError, "expected a JSON object"),
    ],
)  # fmt: skip
def test_a_repository_that_is_no_usable_model_is_refused_before_its_weights(
    fake_hub: FakeHub, published: Files, edit: Any, error: type[Exception], message: str
) -> None:
    edit(published)
    fake_hub.add(REPO, published)
    with pytest.raises(error, match=message):
        hub.fetch(REPO)
    assert_no_weights_were_asked_for(fake_hub)


def test_an_adapter_is_refused_as_one(fake_hub: FakeHub) -> None:
    fake_hub.add(REPO, {"adapter_config.json": b"{}", "adapter_model.safetensors": b"x"})
    with pytest.raises(UnsupportedError, match="is an adapter"):
        hub.fetch(REPO)


@pytest.mark.parametrize(
    "index",
    [b"{}", b'{"weight_map": []}', b'{"weight_map": {}}', b'{"weight_map": {"a": 1}}', b"[]", b"<html>",
     b'{"weight_map": {"a": "../../../etc/passwd"}}', b'{"weight_map": {"a": "model-3.safetensors"}}'],
)  # fmt: skip
def test_a_lying_index_is_refused_before_any_weights(
    fake_hub: FakeHub, published_shards: Files, index: bytes
) -> None:
    fake_hub.add(REPO, {**published_shards, "model.safetensors.index.json": index})
    with pytest.raises(FormatError):
        hub.fetch(REPO)
    assert_no_weights_were_asked_for(fake_hub)


def test_shards_without_an_index_must_be_all_there(fake_hub: FakeHub, published_shards: Files) -> None:
    del published_shards["model.safetensors.index.json"]
    fake_hub.add(REPO, published_shards)
    assert hub.fetch(REPO).kind == "pytorch"  # as transformers, which needs an index
    del published_shards["pytorch_model.bin"]
    fake_hub.add(REPO, published_shards)
    assert len(hub.fetch(REPO).files) == 6
    del published_shards["model-00002-of-00002.safetensors"]
    fake_hub.add(REPO, published_shards)
    with pytest.raises(FormatError, match="lacks 1 of its 2 weight files"):
        hub.fetch(REPO)


def test_weights_that_the_caller_cannot_use_are_refused(fake_hub: FakeHub, published: Files) -> None:
    del published["model.safetensors"]
    fake_hub.add(REPO, published)
    with pytest.raises(UnsupportedError, match="pytorch weights") as caught:
        hub.fetch(REPO, accept={"safetensors"})
    assert caught.value.hint == "run `edgelm convert org/model`"
    assert_no_weights_were_asked_for(fake_hub)


def test_too_little_disk_is_refused_with_the_numbers(
    fake_hub: FakeHub, published: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_hub.add(REPO, published)
    usage = type("Usage", (), {"free": 10_000})
    monkeypatch.setattr(hub_cache.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OutputError, match=r"needs 44 kB, but .* has 10 kB free"):
        hub.fetch(REPO)
    assert_no_weights_were_asked_for(fake_hub)


def test_names_that_leave_the_cache_are_not_even_listed(fake_hub: FakeHub, tmp_path: Path) -> None:
    fake_hub.add("org/gguf", {"../../../evil.gguf": b"GGUF", "/tmp/evil.gguf": b"GGUF", "m.gguf": b"GGUF"})
    assert hub.fetch("org/gguf").files[0].name == "m.gguf"


# Broken connections


@pytest.mark.fault
def test_a_dropped_connection_is_resumed_where_it_broke(fake_hub: FakeHub, published: Files) -> None:
    fake_hub.add(REPO, published)
    fake_hub.drop_once["model.safetensors"] = 12_345
    found = hub.fetch(REPO)
    assert found.files[-1].read_bytes() == published["model.safetensors"]
    ranges = [r.range for r in fake_hub.requests if r.method == "GET" and r.file == "model.safetensors"]
    assert ranges == [None, "bytes=12345-"]


def test_large_files_come_from_elsewhere_and_the_token_does_not_go_there(
    fake_hub: FakeHub, published: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with FakeHub() as cdn:
        for server in (fake_hub, cdn):
            server.add(REPO, published)
        fake_hub.cdn = cdn.url
        cdn.drop_once["model.safetensors"] = 500
        found = hub.fetch(REPO)
        assert found.files[-1].read_bytes() == published["model.safetensors"]
        assert {r.authorization for r in fake_hub.requests} == {"Bearer hf_secret"}
        assert {r.authorization for r in cdn.requests} == {None}
        assert "bytes=500-" in {r.range for r in cdn.requests}
        assert set(cdn.fetched) == {"tokenizer.json", "model.safetensors"}


@pytest.mark.fault
def test_a_killed_download_is_resumed_by_the_next_process(
    fake_hub: FakeHub, published: Files, hub_cache: Path
) -> None:
    fake_hub.add(REPO, published)
    fake_hub.stall["model.safetensors"] = 20_000
    child = subprocess.Popen(
        [sys.executable, "-c", f"from edgelm.hub import fetch; fetch.fetch({REPO!r})"],
        # Its reading gives up after ten seconds otherwise, and asks again for more, however long this process is kept waiting.
        env={**fake_hub.environment(hub_cache), "HF_HUB_DOWNLOAD_TIMEOUT": "3600"},
    )
    try:
        assert fake_hub.stalled.wait(60)
        partial = next(iter(_wait_for(hub_cache, "*.incomplete", 20_000)))
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    fake_hub.stall.clear()
    fake_hub.requests.clear()
    found = hub.fetch(REPO)
    assert found.files[-1].read_bytes() == published["model.safetensors"]
    assert [r.range for r in fake_hub.requests if r.method == "GET" and r.file] == ["bytes=20000-"]
    assert not partial.exists()


def _wait_for(directory: Path, pattern: str, size_bytes: int) -> list[Path]:
    return wait_for(
        lambda: [path for path in directory.rglob(pattern) if path.stat().st_size >= size_bytes],
        f"{pattern} of {size_bytes} bytes",
    )


@pytest.mark.fault
def test_damaged_bytes_are_refused_and_thrown_away(
    fake_hub: FakeHub, published: Files, hub_cache: Path
) -> None:
    fake_hub.add(REPO, published)
    fake_hub.corrupt.add("model.safetensors")
    with pytest.raises(FormatError, match=r"model\.safetensors of org/model arrived damaged"):
        hub.fetch(REPO)
    assert list(hub_cache.rglob("*.incomplete")) == []
    fake_hub.corrupt.clear()
    assert hub.fetch(REPO).files[-1].read_bytes() == published["model.safetensors"]


@pytest.mark.fault
@pytest.mark.parametrize(("name", "status"), [("model.safetensors", 503), ("config.json", 500), ("api", 502)])
def test_a_failing_server_is_a_network_error(
    fake_hub: FakeHub, published: Files, monkeypatch: pytest.MonkeyPatch, name: str, status: int
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    fake_hub.add(REPO, published)
    fake_hub.fail[name] = status
    with pytest.raises(NetworkError, match=f"{status}|cannot be reached") as caught:
        hub.fetch(REPO)
    assert caught.value.hint


@pytest.mark.parametrize("body", [b"<html>log in to the hotel</html>", b"[]", b"{}", b'{"id": "org/model"}'])
def test_an_answer_that_is_not_the_hubs_is_a_network_error(fake_hub: FakeHub, body: bytes) -> None:
    fake_hub.add(REPO, {})
    fake_hub.listing_body = body
    with pytest.raises(NetworkError, match="did not answer as a Hub does"):
        hub.fetch(REPO)


def _unused_url() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def test_no_network_is_a_network_error(hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    point_at(monkeypatch, _unused_url(), hub_cache)
    with pytest.raises(NetworkError, match="cannot be reached for org/model") as caught:
        hub.fetch(REPO)
    assert "connection" in (caught.value.hint or "")


def test_without_a_network_the_cache_serves(
    fake_hub: FakeHub, published: Files, hub_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_hub.add(REPO, published)
    online = hub.fetch(REPO)
    point_at(monkeypatch, _unused_url(), hub_cache)
    offline = hub.fetch(REPO)
    assert (offline.files, offline.revision) == (online.files, online.revision)
    assert offline.sha256["model.safetensors"] == online.sha256["model.safetensors"]


def test_an_unfinished_download_does_not_serve_without_a_network(
    fake_hub: FakeHub, published: Files, hub_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = fake_hub.add(REPO, published)
    hub.fetch(REPO)
    (hub_cache / "models--org--model" / "snapshots" / repository.commit / "model.safetensors").unlink()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(NetworkError, match=r"HF_HUB_OFFLINE .* the cache does not hold all of it"):
        hub.fetch(REPO)


def test_offline_mode_asks_nobody(
    fake_hub: FakeHub, published: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_hub.add(REPO, published)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(NetworkError, match="HF_HUB_OFFLINE"):
        hub.fetch(REPO)
    assert fake_hub.requests == []


def test_an_unknown_repository_is_not_found(fake_hub: FakeHub) -> None:
    with pytest.raises(NotFoundError, match="no repository org/nothing") as caught:
        hub.fetch("org/nothing")
    assert "hf auth login" in (caught.value.hint or "")


def test_a_gated_repository_says_how_to_get_in(fake_hub: FakeHub, published: Files) -> None:
    fake_hub.add(REPO, published, gated=True)
    with pytest.raises(NetworkError, match="gated") as caught:
        hub.fetch(REPO)
    assert caught.value.hint == f"accept the terms at {fake_hub.url}/org/model, then run `hf auth login`"


def test_a_cache_that_cannot_be_written_is_an_output_error(
    fake_hub: FakeHub, published: Files, hub_cache: Path
) -> None:
    hub_cache.parent.write_text("a file where a directory should be")
    fake_hub.add(REPO, published)
    with pytest.raises(OutputError, match="cannot be written"):
        hub.fetch(REPO)

"""The tensor cache: whole or not there, never damaged, for several at a time."""

import threading

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import tiny
from snrlab import UserError
from snrlab.models.encoding import cache as module
from snrlab.models.encoding.cache import Cache, cache_key, file_hash, fingerprint


def shards(folder):
    return sorted(folder.glob("cache-*.safetensors"))


def fill(folder, names):
    with Cache(folder) as cache:
        for name in names:
            cache.add({name: torch.full((3, 2), float(len(name)))})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_what_is_added_is_there_afterwards(tmp_path, dtype):
    tensor = torch.randn(4, 5, generator=torch.Generator().manual_seed(0)).to(dtype)
    with Cache(tmp_path / "deep" / "er") as cache:
        cache.add({"a": tensor})
        assert torch.equal(cache.get("a"), tensor), "before it is written"
        assert cache.get("b") is None
    cached = Cache(tmp_path / "deep" / "er").get("a")
    assert cached.dtype == dtype
    assert torch.equal(cached, tensor)


def test_shards_are_written_when_enough_has_come_together(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SHARD_BYTES", 100)
    with Cache(tmp_path) as cache:
        for name in "abcdefgh":
            cache.add({name: torch.zeros(8) + ord(name)})
        assert len(shards(tmp_path)) == 2
    again = Cache(tmp_path)
    assert all(again.get(name)[0] == ord(name) for name in "abcdefgh")


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9])
def test_a_half_written_shard_is_never_read(tmp_path, keep):
    fill(tmp_path, ["a", "bb"])
    (shard,) = shards(tmp_path)
    content = shard.read_bytes()
    shard.write_bytes(content[: int(len(content) * keep)])
    with tiny.messages() as messages:
        with Cache(tmp_path) as cache:
            assert cache.get("a") is None
            assert messages == [f"cache: {shard.name} is damaged and is made again."]
            cache.add({"a": torch.ones(3, 2)})
        assert torch.equal(Cache(tmp_path).get("a"), torch.ones(3, 2))
    assert len(messages) == 1, "the damaged one is gone"


def test_an_unfinished_file_is_no_shard(tmp_path):
    fill(tmp_path, ["a"])
    (shard,) = shards(tmp_path)
    shard.rename(tmp_path / "cache-0123.tmp")
    assert Cache(tmp_path).get("a") is None
    assert (tmp_path / "cache-0123.tmp").exists(), "its process may be alive"


def test_a_flipped_bit_is_found(tmp_path):
    fill(tmp_path, ["a", "bb"])
    (shard,) = shards(tmp_path)
    content = bytearray(shard.read_bytes())
    content[-3] ^= 4
    shard.write_bytes(content)
    cache = Cache(tmp_path)
    with tiny.messages() as messages:
        assert cache.get("a") is None, "the whole shard goes, so that all of it is added again"
    assert cache.get("bb") is None
    assert messages == [f"cache: {shard.name} is damaged and is made again."]
    assert not shard.exists()


def test_files_of_others_are_left_alone(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "model.safetensors")
    save_file({"a": torch.ones(2)}, tmp_path / "cache-other.safetensors")
    (tmp_path / "notes.txt").write_text("mine")
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    cache = Cache(tmp_path)
    assert cache.get("a") is None
    cache.write()
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_shard_that_vanishes_is_missing_not_an_error(tmp_path):
    fill(tmp_path, ["a"])
    cache = Cache(tmp_path)
    shards(tmp_path)[0].unlink()
    assert cache.get("a") is None


def test_several_write_at_the_same_time(tmp_path):
    names = [f"name-{i}" for i in range(40)]

    def work(start):
        with Cache(tmp_path) as cache:
            for name in names[start:] + names[:start]:
                cache.add({name: torch.full((4,), float(name[5:]))})
                if int(name[5:]) % 7 == 0:
                    cache.write()

    workers = [threading.Thread(target=work, args=(start,)) for start in (0, 0, 13, 29)]
    with tiny.messages() as messages:
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        cache = Cache(tmp_path)
        assert all(torch.equal(cache.get(n), torch.full((4,), float(n[5:]))) for n in names)
    assert not messages, "nothing is damaged"
    assert not list(tmp_path.glob("*.tmp"))


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"data\.cache_folder: .*file.* cannot be used"):
        Cache(tmp_path / "file")


def test_keys_are_of_the_facts():
    assert cache_key(a=1, b=[1, 2]) == cache_key(b=(1, 2), a=1)
    assert len({cache_key(a=1), cache_key(a=2), cache_key(b=1), cache_key(a="1"), cache_key(a=1, b=None)}) == 5


def test_file_hashes(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 100_000)
    (tmp_path / "b").write_bytes(b"x" * 99_999 + b"y")
    assert file_hash(tmp_path / "a") != file_hash(tmp_path / "b")


def test_a_fingerprint_is_of_weights_their_format_and_names():
    first = nn.Linear(3, 4)
    twin = nn.Linear(3, 4)
    twin.load_state_dict(first.state_dict())
    assert fingerprint(first) == fingerprint(twin)
    other = nn.Linear(3, 4)
    assert fingerprint(first) != fingerprint(other)
    assert fingerprint(first) != fingerprint(twin.to(torch.bfloat16))
    nudged = nn.Linear(3, 4)
    nudged.load_state_dict(first.state_dict())
    with torch.no_grad():
        nudged.weight[2, 1] += 1e-6
    assert fingerprint(first) != fingerprint(nudged)

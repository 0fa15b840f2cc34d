import argparse
import datetime
import json
import os
import pickle
import struct
import sys
import types
import zipfile
from collections import OrderedDict, defaultdict
from pathlib import Path, PureWindowsPath
from urllib.error import URLError

import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file

from trainer.methods.pretrained import weights
from trainer.methods.pretrained.weights import WeightsError, read

SOME = {"conv1.weight": torch.arange(6.0).reshape(2, 3), "bn1.num_batches_tracked": torch.tensor(3)}


class Payload:
    """Unpickled without care, it leaves a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def refusal(path):
    with pytest.raises(WeightsError) as caught:
        read(str(path))
    assert "\n" not in (text := str(caught.value)) and str(path) in text
    return text


def raw(path, header, numbers=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + numbers)
    return path


# --- what is read


@pytest.mark.parametrize("keep", ["zip", "legacy", "safetensors"])
def test_what_was_saved_is_read(keep, tmp_path):
    path = tmp_path / "some.weights"  # the name says nothing of the format
    if keep == "safetensors":
        save_file(SOME, path, {"license": "MIT,\nand \x1b so on", "note": "seen"})
    else:
        torch.save(SOME, path, _use_new_zipfile_serialization=keep == "zip")
    found = read(str(path))
    assert found.tensors.keys() == SOME.keys() and found.beside == ()
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in SOME.items())
    assert len(found.about["sha256"]) == 64 and found.about["source"] == str(path) and found.about["name"] == "some"
    assert found.about["note"] == ("seen" if keep == "safetensors" else "")
    assert found.about["licence"] == ("MIT, and ? so on" if keep == "safetensors" else weights.UNKNOWN_LICENCE)


@pytest.mark.parametrize(
    "container", ["state_dict", "model", "net", "network", "params", "weights", "model_state", "backbone"]
)
def test_a_checkpoint_is_opened_and_what_is_beside_the_weights_is_named(container, tmp_path):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(2))], lr=0.1).state_dict()
    beside = {"epoch": 3, "best": torch.tensor(0.9), "optimizer": optimizer}
    torch.save({container: OrderedDict(SOME, _metadata={"version": 1})} | beside, path := tmp_path / "last.pth.tar")
    found = read(str(path))
    assert found.tensors.keys() == SOME.keys()
    assert set(found.beside) == {"epoch", "best", "optimizer", "_metadata"}


@pytest.mark.parametrize("keep", ["zip", "legacy"])
def test_what_scripts_keep_beside_weights_is_passed_over_and_none_of_it_is_made(keep, tmp_path):
    counts = defaultdict(list, {"loss": [0.5]})
    beside = {
        "args": argparse.Namespace(lr=0.1, out=Path("runs"), data=PureWindowsPath("d")), "best": np.float64(0.9),
        "step": np.int64(3), "history": np.zeros(3), "dtype": np.dtype("float32"), "meters": counts,
        "when": datetime.datetime(2026, 1, 1), "options": types.SimpleNamespace(a=1),
    }  # fmt: skip
    held = {"model": defaultdict(int, SOME)} | beside
    torch.save(held, path := tmp_path / "last.pth", _use_new_zipfile_serialization=keep == "zip")
    found = read(str(path))
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in SOME.items())
    assert found.tensors.keys() == SOME.keys() and set(found.beside) == beside.keys()
    torch.save({"model": SOME, "optimizer": Payload(tmp_path / "left")}, path)
    assert "it asks for posix.mkdir" in refusal(path) and not (tmp_path / "left").exists()


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning", "ignore:`torch.jit:DeprecationWarning")
def test_torchscript_is_named_for_what_it_is(tmp_path):
    torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)).save(path := tmp_path / "model.pt")
    assert "it is TorchScript" in refusal(path) and "torch.jit.load(FILE).state_dict()" in refusal(path)


def test_the_short_name_tells_weights_apart():
    names = [
        "weights/casia.safetensors",
        "runs/casia-seed0/weights.safetensors",
        "resnet18",
        "timm/resnet18.a1_in1k",
        "timm/resnet18.a2_in1k",
    ]
    assert [weights.short_name(name) for name in names] == [
        "casia", "casia-seed0", "resnet18", "timm-resnet18.a1_in1k", "timm-resnet18.a2_in1k"
    ]  # fmt: skip


# --- what is refused


@pytest.mark.parametrize("keep", ["zip", "legacy", "bare", "renamed", "torchscript"])
def test_a_payload_is_refused_and_not_run(keep, tmp_path):
    path, left = tmp_path / "model.pth", tmp_path / "left behind"
    held = {"state_dict": SOME | {"fc.weight": Payload(left)}}
    if keep in ("zip", "legacy"):
        torch.save(held, path, _use_new_zipfile_serialization=keep == "zip")
        assert "it asks for posix.mkdir, and weights need no code" in refusal(path)
    elif keep == "torchscript":
        torch.save(held, path)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("archive/constants.pkl", pickle.dumps(held))
        refusal(path)
    else:
        path = path.with_suffix(".safetensors") if keep == "renamed" else path
        path.write_bytes(pickle.dumps(held))
        assert keep == "renamed" or "a bare pickle is not opened" in refusal(path)
        refusal(path)
    assert not left.exists()
    if keep in ("zip", "bare"):  # the payload is one: where it is trusted, it runs
        torch.load(path, weights_only=False) if keep == "zip" else pickle.loads(path.read_bytes())  # noqa: S301
        assert left.exists()


@pytest.mark.parametrize("begins", [b"{", b"\x00"])
def test_a_header_of_100_gib_is_refused_unread(begins, tmp_path):
    path = raw(tmp_path / "weights.safetensors", begins * 64, length=100 * 2**30)
    assert "header" in refusal(path).lower()
    assert "refused" in refusal(path.rename(tmp_path / "weights.bin"))


def entry(start, end, dtype="F32", shape=(2,)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


@pytest.mark.parametrize(
    "header",
    [
        {"a": entry(0, 8), "b": entry(4, 12)},  # overlapping
        {"a": entry(0, 8), "b": entry(12, 20)},  # a hole
        {"a": entry(0, 800, shape=(200,))},  # past the end
        {"a": entry(0, 8, shape=(2**62, 2**62))},  # more than a number of bytes can be
        {"a": entry(0, 8, dtype="F99")},
        {"a": entry(0, 8, dtype="F64")},
        {"a": 1},
        b"no JSON",
    ],
)  # fmt: skip
def test_a_safetensors_file_that_contradicts_itself_is_refused(header, tmp_path):
    refusal(raw(tmp_path / "weights.safetensors", header, bytes(20)))


def test_a_damaged_file_is_refused(tmp_path):
    torch.save(SOME, path := tmp_path / "model.pth")
    whole = path.read_bytes()
    for size in (0, 3, 20, len(whole) // 2, len(whole) - 5):
        path.write_bytes(whole[:size])
        refusal(path)
    path.write_bytes(save(SOME)[:-1])
    refusal(path)


def test_what_grows_when_it_is_unpacked_is_refused(tmp_path):
    torch.save(SOME, plain := tmp_path / "plain.pth")
    with zipfile.ZipFile(plain) as found, zipfile.ZipFile(tmp_path / "packed.pth", "w") as packed:
        for name in found.namelist():
            packed.writestr(name, found.read(name), zipfile.ZIP_DEFLATED)
    assert "packed zip" in refusal(tmp_path / "packed.pth")


def test_a_storage_that_claims_more_than_the_file_holds_is_refused(tmp_path):
    torch.save({"a": torch.zeros(4)}, whole := tmp_path / "whole.pth")
    with zipfile.ZipFile(whole) as found, zipfile.ZipFile(tmp_path / "claims.pth", "w") as claims:
        for name in found.namelist():
            claims.writestr(name, found.read(name).replace(b"K\x04", b"M\x10\x27"))  # 4 numbers -> 10,000
    refusal(tmp_path / "claims.pth")


def test_a_few_bytes_that_claim_to_be_many_tensors_or_large_ones_are_refused(tmp_path, monkeypatch):
    torch.save({"a": torch.zeros(1).expand(2**40)}, path := tmp_path / "wide.pth")
    assert f"claim {2**42} bytes" in refusal(path)
    one = torch.zeros(1)
    for keep in (True, False):
        torch.save({str(n): one for n in range(weights.MOST + 1)}, path, _use_new_zipfile_serialization=keep)
        assert f"holds {weights.MOST + 1} tensors" in refusal(path)
    header = {str(n): entry(4 * n, 4 * n + 4, shape=(1,)) for n in range(weights.MOST + 1)}
    raw(tmp_path / "many.safetensors", header, bytes(4 * len(header)))
    assert f"holds {weights.MOST + 1} tensors" in refusal(tmp_path / "many.safetensors")
    monkeypatch.setattr(weights, "LARGEST", 100)
    assert "at most 100 are read" in refusal(path)


def test_tensors_that_are_no_plain_numbers_are_refused(tmp_path):
    odd = torch.eye(3).to_sparse(), torch.zeros(2, device="meta"), torch.nn.UninitializedParameter()
    for tensor in odd:
        torch.save({"conv1.weight": tensor}, path := tmp_path / "model.pth")
        refusal(path)


@pytest.mark.parametrize(("held", "told"), [([torch.zeros(2)], "a list"), ({"epoch": 3}, "but epoch"), ({}, "nothing")])
def test_a_torch_file_without_tensors_by_name_is_refused(held, told, tmp_path):
    torch.save(held, path := tmp_path / "model.pth")
    assert told in refusal(path)


def test_a_whole_module_is_refused_with_what_to_do(tmp_path):
    torch.save({"model": torch.nn.Linear(2, 2)}, path := tmp_path / "model.pth")
    text = refusal(path)
    assert "torch.nn.modules.linear.Linear" in text and "save its state_dict alone" in text
    assert "weights_only" not in text  # no advice to trust it


@pytest.mark.parametrize("keep", ["torch", "safetensors"])
def test_names_that_would_write_on_the_terminal_are_refused(keep, tmp_path):
    held = {"\x1b[2Jfc.weight\nerror: none": torch.zeros(2)}
    torch.save(held, path := tmp_path / "model.pth") if keep == "torch" else save_file(held, path := tmp_path / "model")
    assert "is no name of a tensor" in (text := refusal(path)) and "\x1b" not in text
    torch.save({"\x1b[2J": 3}, path)
    assert "\x1b" not in refusal(path)


# --- names


def test_an_unknown_name_is_told_the_known_ones():
    with pytest.raises(
        WeightsError, match=r"no weights 'resnet81'.*known: resnet18, resnet101 .*timm/resnet18\.a1_in1k"
    ):
        read("resnet81")


def test_torchvisions_are_read_from_torchs_cache_and_checked(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    path = tmp_path / "checkpoints" / "resnet18-f37072fd.pth"
    torch.save(SOME, path)
    with pytest.raises(WeightsError, match=r"resnet18-f37072fd.pth is damaged: its sha256 is \w+, not f37072fd"):
        read("resnet18")


def test_weights_that_cannot_be_downloaded_are_told_with_where_to_put_them(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise URLError("no route to host")

    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", fail)
    with pytest.raises(
        WeightsError, match=r"no route to host.*bring https://.*resnet18-\w+.pth by other means to .*checkp"
    ):
        read("resnet18")


def test_timm_is_asked_for_names_only_and_its_file_read_as_any_other(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(WeightsError, match=r"needs timm, which is not installed: pip install 'fertools\[timm\]'"):
        read("timm/resnet18.a1_in1k")
    save_file(SOME, tmp_path / "model.safetensors")
    about = types.SimpleNamespace(hf_hub_id="timm/resnet18.a1_in1k", license="apache-2.0")
    timm = types.SimpleNamespace(
        list_pretrained=lambda *_: ["resnet18.a1_in1k"],
        get_pretrained_cfg=lambda name: {"resnet18.a1_in1k": about}[name],
    )
    hub = types.SimpleNamespace(
        hf_hub_download=lambda *request: tmp_path / {(about.hf_hub_id, "model.safetensors"): request[1]}[request]
    )
    monkeypatch.setitem(sys.modules, "timm", timm)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    found = read("timm/resnet18.a1_in1k")
    assert found.tensors.keys() == SOME.keys() and found.about["source"] == "huggingface.co/timm/resnet18.a1_in1k"
    assert found.about["licence"].startswith("timm: apache-2.0")
    with pytest.raises(
        WeightsError, match=r"timm has no weights 'resnet18'; of ResNet-18 it has timm/resnet18.a1_in1k"
    ):
        read("timm/resnet18")

    def fail(*_):
        raise OSError("no route to host\nand more")

    hub.hf_hub_download = fail
    with pytest.raises(WeightsError, match=r"\(no route to host\); bring model.safetensors of huggingface.co/timm/res"):
        read("timm/resnet18.a1_in1k")

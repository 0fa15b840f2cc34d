"""Two gloo ranks train as one process would: catches wrong gradients, other samples, and resumes that are not exact."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from processes import in_two_processes, joined
from safetensors.torch import load_file
from small_runs import CPU, Stop, run_spec, silent, timeless
from torch import nn

from trainer.data.fold_data import FoldData
from trainer.errors import TrainerError
from trainer.methods.base import Faces, Stage
from trainer.methods.objectives.island import IslandLoss
from trainer.runs.distributed import global_batches, local_share, refuse_difference
from trainer.runs.run import Run
from trainer.training import fit as library
from trainer.training.data_parallel import average_gradients, data_parallel_stage

METHODS = ("dicefer", "ifgan")
SHARES = (slice(0, 4), slice(4, 8))  # of a batch of eight


# --- how an epoch is split


@given(num=st.integers(8, 200), share=st.integers(2, 9), num_ranks=st.integers(1, 4))
def test_an_epoch_is_split_evenly_in_its_order_and_less_than_one_sample_a_rank_is_left_out(num, share, num_ranks):
    order = torch.randperm(num)
    try:
        batches = global_batches(order, share * num_ranks, num_ranks)
    except TrainerError as error:
        assert num_ranks > 1 and "each needs two faces at least" in str(error)
        return
    assert torch.equal(torch.cat(batches), order[: num - num % num_ranks])
    sizes = {len(local_share(batch, rank, num_ranks)) for batch in batches for rank in range(num_ranks)}
    assert max(sizes) <= share and max(sizes) - min(sizes) <= 1
    for batch in batches:
        assert torch.equal(torch.cat([local_share(batch, rank, num_ranks) for rank in range(num_ranks)]), batch)


@pytest.mark.parametrize(
    ("batch_size", "refusal"),
    [
        (5, "batch_size=5 cannot be split evenly over 2 processes; choose a multiple of 2"),
        (2, "2 processes share batches of 2, and each needs two faces at least; choose a larger batch_size"),
    ],
)
def test_a_batch_that_cannot_be_split_is_refused(batch_size, refusal):
    with pytest.raises(TrainerError, match=refusal):
        global_batches(torch.arange(24), batch_size, 2)


# --- what each of two ranks does


def one_of_two(rank, folder, manifest):
    """All that needs two ranks: to start them takes longer than what they do."""
    for check in (averaged, stepped, island):
        torch.manual_seed(0)
        check(int(rank), Path(folder) / check.__name__)
    with joined(int(rank), Path(folder) / "meeting"):
        trained(int(rank), Path(manifest), Path(folder))
        begun(int(rank), Path(manifest), Path(folder))


def averaged(rank, meeting):
    images, expected = torch.randn(8, 3), nn.Linear(3, 2)
    torch.autograd.backward(expected(images).square().mean(1).mean())
    with joined(rank, meeting):
        layer, unused = nn.Linear(3, 2), nn.Parameter(torch.ones(2))
        layer.load_state_dict(expected.state_dict())
        torch.autograd.backward(layer(images[SHARES[rank]]).square().mean(1).mean())
        average_gradients([*layer.parameters(), unused])
    torch.testing.assert_close(layer.weight.grad, expected.weight.grad)
    torch.testing.assert_close(layer.bias.grad, expected.bias.grad)
    assert unused.grad is None


def stepped(rank, meeting):
    """After a step, weights, running statistics and logged values are the same; equal buffers keep their bits."""
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    net.register_buffer("constant", torch.rand(1000))
    before, frozen = net.constant.clone(), nn.BatchNorm1d(2).eval()
    frozen.running_mean += rank
    net.append(nn.Sequential(frozen))
    optimizers = [torch.optim.SGD(part.parameters(), 0.1) for part in (net[0], net[2])]

    def step(batch):
        for optimizer in optimizers:
            loss = net[:3](batch.image).square().mean()
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
        return {"rank": torch.tensor(float(rank)), "loss": loss}

    with joined(rank, meeting):
        stage = data_parallel_stage(Stage("name", 1, 8, Faces, step, tuple(optimizers)), net)
        images = torch.randn(8, 3)[SHARES[rank]]
        logged = stage.step(Faces(images, torch.zeros(len(images))))
        refuse_difference("weights", (value.numpy().tobytes() for value in [*net[:3].state_dict().values()]))
        refuse_difference("loss", [logged["loss"].detach().numpy().tobytes()])
    assert logged["rank"].item() == 0.5
    assert torch.equal(net.constant, before) and float(frozen.running_mean[0]) == rank


def island_of(share, parallel):
    torch.manual_seed(0)
    layer, classes, loss = nn.Linear(3, 2), torch.arange(8) % 3, IslandLoss(3, 2, 0.5, 0.1, "sum")
    loss.centres.normal_()
    loss.begin(1)
    value = loss(layer(torch.randn(8, 3)[share]), classes[share])
    torch.autograd.backward(value)
    if parallel:
        average_gradients([layer.weight])
    return [value, loss.centres, layer.weight.grad]


def island(rank, meeting):
    """One island loss, of the features of both ranks."""
    expected = island_of(slice(None), parallel=False)
    with joined(rank, meeting):
        values = island_of(SHARES[rank], parallel=True)
    for value, other in zip(values, expected, strict=True):
        torch.testing.assert_close(value, other)


def watched(patch, batches_seen):
    """Record classes and some brightness of all samples of a training, and that all ranks end with the same weights."""
    batches, finish = FoldData.batches, Run.finish_training

    def recorded(*arguments):
        for batch in batches(*arguments):
            batches_seen.append([batch[-1].tolist(), batch[0][:, 0, 40].double().sum(1).tolist()])
            yield batch

    def finished(run, module, *rest):
        refuse_difference("weights at the end", (value.numpy().tobytes() for value in module.state_dict().values()))
        finish(run, module, *rest)

    patch.setattr(FoldData, "batches", recorded)
    patch.setattr(Run, "finish_training", finished)
    patch.setattr(library, "judge_and_report", lambda *_: None)


def trained(rank, manifest, folder):
    """Train each method; then stop it after some steps on rank 1 alone, and resume it."""
    with pytest.MonkeyPatch.context() as patch:
        batches_seen = []
        watched(patch, batches_seen)
        for name in METHODS:
            spec = run_spec(manifest, name, "batch_size=6")
            library.fit(spec, folder / "whole", CPU, silent)
            (folder / f"{name}-{rank}.json").write_text(json.dumps(batches_seen))
            if rank == 0:
                with pytest.raises(KeyboardInterrupt):
                    library.fit(spec, folder / "cut", CPU, silent)
            else:
                assert not library.fit(spec, folder / "cut", CPU, silent, Stop(steps=5).should_stop).trained
            library.fit(spec, folder / "cut", CPU, silent)
            batches_seen.clear()


def begun(rank, manifest, folder):
    """Begin a training that one process will resume; then be refused."""
    library.fit(run_spec(manifest, "resnet", "batch_size=6"), folder / "begun", CPU, silent, Stop(steps=3).should_stop)
    with pytest.raises(TrainerError, match="process 1 of 2 has other settings or data than process 0"):
        library.fit(run_spec(manifest, "resnet", seed=rank), folder / "other", CPU, silent)
    with pytest.raises(TrainerError, match="batch_size=5 cannot be split evenly over 2 processes"):
        library.fit(run_spec(manifest, "resnet", "batch_size=5"), folder / "odd", CPU, silent)


# --- the results


@pytest.fixture(scope="module")
def folder(patterns, tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    in_two_processes("test_data_parallel", folder, patterns)
    return folder


def alone(manifest, name, folder):
    """Train in this process; return the run and the samples of its batches."""
    batches_seen = []
    with pytest.MonkeyPatch.context() as patch:
        watched(patch, batches_seen)
        return library.fit(run_spec(manifest, name, "batch_size=6"), folder, CPU, silent), batches_seen


def test_two_ranks_see_the_samples_of_one_process_in_its_order_and_resume_to_the_bit(folder, patterns, tmp_path):
    for name in METHODS:
        _, batches_seen = alone(patterns, name, tmp_path)
        first, second = (json.loads((folder / f"{name}-{rank}.json").read_text()) for rank in (0, 1))
        assert [[a + b for a, b in zip(*both, strict=True)] for both in zip(first, second, strict=True)] == batches_seen
        whole, cut = (Run(next((folder / runs).glob(f"*-{name}-*"))) for runs in ("whole", "cut"))
        weights, other = (load_file(run.folder / "weights.safetensors") for run in (whole, cut))
        assert all(torch.equal(weights[key], other[key]) for key in weights)
        assert timeless(whole) == timeless(cut)


def test_one_process_resumes_a_run_of_two(folder, patterns, tmp_path):
    (run, rest), (_, everything) = (alone(patterns, "resnet", path) for path in (folder / "begun", tmp_path))
    assert run.trained and len(run.metrics()) == 3
    assert run.read_json("provenance.json")["world_sizes"] == [2, 1]
    assert 0 < len(rest) < len(everything) and rest == everything[-len(rest) :]
    assert not list((folder / "odd").glob("*/checkpoint*"))


LOST = """
import os, signal, torch, typer
from trainer.cli.options import refusals
from trainer.runs.distributed import any_rank, rank
from trainer.runs.signals import deferred_signals
from trainer.training.data_parallel import init_process_group

def main():
    with refusals(), init_process_group(torch.device("cpu")), deferred_signals():
        any_rank(False)
        if rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        while True:
            any_rank(False)

typer.run(main)
"""


def test_a_lost_process_ends_all_others_with_one_sentence():
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "3", "--no-python"]
    done = subprocess.run([*command, sys.executable, "-c", LOST], capture_output=True, text=True, timeout=200)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert re.fullmatch(
        r"error: another process of this training was lost, seen by process [02] of 3 \(.*\); the last checkpoint is "
        "complete: run the same command again to resume from it", line,
    )  # fmt: skip
    assert "trainer/training/data_parallel.py" not in done.stderr  # no traceback of ours

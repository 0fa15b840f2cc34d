"""Two processes train as one would: what they see, what they learn, and how they stop."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from processes import in_two_processes, joined
from safetensors.torch import load_file
from small_runs import CPU, Stop, run_spec, silent, timeless
from torch import nn

from manifests.schema import ManifestError
from trainer.data.fold_data import FoldData
from trainer.errors import TrainerError
from trainer.methods.base import Faces, Stage
from trainer.methods.dicefer import Critics, DiceFerConfig
from trainer.methods.objectives.losses import island_step
from trainer.methods.objectives.mutual_information import ESTIMATORS
from trainer.networks.critics import CRITICS
from trainer.runs.distributed import all_gather, local_sizes
from trainer.runs.run import Run
from trainer.training import fit as library
from trainer.training.data_parallel import SharedRun, average_gradients, data_parallel_stage, refuse_difference

METHODS = ("dicefer", "ifgan")
SHARES = (slice(0, 4), slice(4, 7))  # of a batch of seven


# --- what each of two processes does


def one_of_two(rank, folder, manifest):
    """All that needs two, for starting one takes longer than what it does here."""
    for work in (averaged, stepped, estimated, drawn_together):
        torch.manual_seed(0)
        work(int(rank), Path(folder) / work.__name__)
    with joined(int(rank), Path(folder) / "meeting"):
        trained(int(rank), Path(manifest), Path(folder))
        begun(int(rank), Path(manifest), Path(folder))


def averaged(rank, meeting):
    torch.manual_seed(0)
    images, wanted = torch.randn(7, 3), nn.Linear(3, 2)
    torch.autograd.backward(wanted(images).square().mean(1).mean())
    with joined(rank, meeting):
        layer, only_here, nowhere = nn.Linear(3, 2), nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
        layer.load_state_dict(wanted.state_dict())
        mine = images[SHARES[rank]]
        torch.autograd.backward(layer(mine).square().mean(1).mean() + (rank == 0) * 7 * only_here.sum())
        if rank == 1:
            only_here.grad = None
        average_gradients([*layer.parameters(), only_here, nowhere], len(mine))
    torch.testing.assert_close(layer.weight.grad, wanted.weight.grad)
    torch.testing.assert_close(layer.bias.grad, wanted.bias.grad)
    torch.testing.assert_close(only_here.grad, torch.full((2,), 4.0))
    assert nowhere.grad is None


def stepped(rank, meeting):
    """Weights, running statistics and what is logged end a step alike; what was alike keeps its bits."""
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
        return {"faces": torch.tensor(float(len(batch.image))), "loss": loss}

    with joined(rank, meeting):
        stage = data_parallel_stage(Stage("one", 1, 7, Faces, step, tuple(optimizers)), net)
        images = torch.randn(7, 3)[SHARES[rank]]
        logged = stage.step(Faces(images, torch.zeros(len(images))))
        refuse_difference("weights", (value.numpy().tobytes() for value in [*net[:3].state_dict().values()]))
        refuse_difference("loss", [logged["loss"].detach().numpy().tobytes()])
    assert logged["faces"].item() == pytest.approx((4 * 4 + 3 * 3) / 7)
    assert torch.equal(net.constant, before) and float(frozen.running_mean[0]) == rank


def estimates(mine, alone):
    """Return what critics estimate of a batch's share, and the gradients of them and of what they read."""
    found = {}
    for critic in CRITICS:
        for negatives, estimator in [("all", name) for name in (*ESTIMATORS, "mine")] + [
            ("shift", "dv"), ("other", "nce")
        ]:  # fmt: skip
            torch.manual_seed(0)
            config = DiceFerConfig(
                critic=critic, critic_width=8, negatives=negatives, expression_estimator=estimator,
                identity_estimator=estimator, gathered=True,
            )  # fmt: skip
            encoder, critics = nn.Linear(5, 3 * 16 + 4), Critics(3, 4, config)
            images, classes = torch.randn(7, 5), torch.arange(7) % 3
            seen = encoder(images[mine])
            told = critics(seen[:, 4:].unflatten(1, (3, 4, 4)), seen[:, :4], estimator, classes[mine])
            torch.autograd.backward(told["global"] + 2 * told["local"])
            parameters = [*encoder.parameters(), *critics.parameters()]
            if not alone:
                average_gradients(parameters, len(seen))
            gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
            found[critic, negatives, estimator] = [*told.values(), *critics.buffers(), *gradients]
    return found


def estimated(rank, meeting):
    wanted = estimates(slice(None), alone=True)
    with joined(rank, meeting):
        found = estimates(SHARES[rank], alone=False)
    for case, values in wanted.items():
        for one, other in zip(found[case], values, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5, msg=lambda text, case=case: f"{case}: {text}")


def islands(mine, alone):
    torch.manual_seed(0)
    layer, classes = nn.Linear(3, 2), torch.arange(7) % 3
    features, sizes = layer(torch.randn(7, 3)[mine]), local_sizes(len(classes[mine]))
    loss, *rest = island_step(
        all_gather(features, sizes), all_gather(classes[mine], sizes), torch.randn(3, 2), torch.ones(3),
        first_epoch=False, rate=0.5, pairwise_weight=0.1, reduction="sum",
    )  # fmt: skip
    torch.autograd.backward(loss)
    if not alone:
        average_gradients([layer.weight], len(features))
    return [loss, *rest, layer.weight.grad]


def drawn_together(rank, meeting):
    wanted = islands(slice(None), alone=True)
    with joined(rank, meeting):
        found = islands(SHARES[rank], alone=False)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)


def watched(patch, seen):
    """Note the classes and some brightness of all that a training sees, and that all end with the same weights."""
    batches, finish = FoldData.batches, SharedRun.finish_training

    def noted(*arguments):
        for batch in batches(*arguments):
            seen.append([batch[-1].tolist(), batch[0][:, 0, 40].double().sum(1).tolist()])
            yield batch

    def finished(run, module, *rest):
        refuse_difference("weights at the end", (value.numpy().tobytes() for value in module.state_dict().values()))
        finish(run, module, *rest)

    patch.setattr(FoldData, "batches", noted)
    patch.setattr(SharedRun, "finish_training", finished)
    patch.setattr(library, "judge_and_report", lambda *_: None)


def trained(rank, manifest, folder):
    """Train each method whole; stop it after some steps in the second process alone, and go on."""
    with pytest.MonkeyPatch.context() as patch:
        seen = []
        watched(patch, seen)
        for name in METHODS:
            ask = run_spec(manifest, name, "batch_size=5")
            library.fit(ask, folder / "whole", CPU, silent)
            (folder / f"{name}-{rank}.json").write_text(json.dumps(seen))
            seen.clear()
            if rank == 0:
                with pytest.raises(KeyboardInterrupt):
                    library.fit(ask, folder / "cut", CPU, silent)
            else:
                assert not library.fit(ask, folder / "cut", CPU, silent, Stop(steps=5).should_stop).trained
            library.fit(ask, folder / "cut", CPU, silent)
            seen.clear()


def begun(rank, manifest, folder):
    """Begin a training that one process is to go on with; then be refused."""
    library.fit(run_spec(manifest, "resnet", "batch_size=5"), folder / "begun", CPU, silent, Stop(steps=4).should_stop)
    with pytest.raises(TrainerError, match="process 1 of 2 has other settings or data than process 0"):
        library.fit(run_spec(manifest, "resnet", seed=rank), folder / "other", CPU, silent)
    with pytest.raises(ManifestError, match="2 processes share batches of 3, and each needs two faces"):
        library.fit(run_spec(manifest, "resnet", "batch_size=3"), folder / "small", CPU, silent)


# --- what comes of it


@pytest.fixture(scope="module")
def folder(patterns, tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    in_two_processes("test_together", folder, patterns)
    return folder


def alone(manifest, name, folder):
    """Train in this process; return the run and what it saw."""
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        watched(patch, seen)
        return library.fit(run_spec(manifest, name, "batch_size=5"), folder, CPU, silent), seen


def test_two_processes_see_what_one_sees_and_stopped_together_they_resume_to_the_bit(folder, patterns, tmp_path):
    for name in METHODS:
        _, seen = alone(patterns, name, tmp_path)
        first, second = (json.loads((folder / f"{name}-{rank}.json").read_text()) for rank in (0, 1))
        assert [[a + b for a, b in zip(*both, strict=True)] for both in zip(first, second, strict=True)] == seen
        whole, cut = (Run(next((folder / runs).glob(f"*-{name}-*"))) for runs in ("whole", "cut"))
        one, other = (load_file(run.folder / "weights.safetensors") for run in (whole, cut))
        assert all(torch.equal(one[key], other[key]) for key in one)
        assert timeless(whole) == timeless(cut)


def test_what_two_have_begun_one_goes_on_with(folder, patterns, tmp_path):
    (run, seen), (_, wanted) = (alone(patterns, "resnet", path) for path in (folder / "begun", tmp_path))
    assert run.trained and len(run.metrics()) == 3
    assert run.read_json("provenance.json")["processes"] == [2, 1]
    assert 0 < len(seen) < len(wanted) and seen == wanted[-len(seen) :]
    assert not list((folder / "small").glob("*/checkpoint*"))


LOST = """
import os, signal, torch, typer
from trainer.runs.signals import deferred_signals
from trainer.runs.distributed import any_rank, rank
from trainer.cli.options import refusals
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


def test_a_process_that_is_lost_ends_all_others_with_one_sentence():
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "3", "--no-python"]
    done = subprocess.run([*command, sys.executable, "-c", LOST], capture_output=True, text=True, timeout=200)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert re.fullmatch(
        r"error: another process of this training was lost, seen by process [02] of 3 \(.*\); the last checkpoint is "
        "whole, and the same command goes on from it", line,
    )  # fmt: skip
    assert "trainer/training/data_parallel.py" not in done.stderr  # no traceback of ours

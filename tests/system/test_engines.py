"""The same bytes from every engine, whatever of it is killed."""

import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from manifest_files import bytes_of

from fertools.datasets import DATASETS
from fertools.errors import FertoolsError
from fertools.preparation import chunks
from fertools.preparation.engines import Engine, local, ray
from fertools.preparation.prepare import prepare
from manifests import files
from manifests.schema import ManifestError

DEADLY = "train_set/images/13.jpg"
ready = partial(prepare, DATASETS["affectnet"], published=True)  # no detector: fast


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    from fertools.drawn.corpus import draw

    root = tmp_path_factory.mktemp("drawn") / "affectnet"
    draw(root, 16, seed=0, workers=1, dataset="affectnet")
    return root


@pytest.fixture(scope="module")
def undisturbed(raw, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed")
    ready(raw, out)
    return bytes_of(out / "affectnet.parquet")


# --- steps


def double(chunk):
    return {"doubled": [2 * number for number in chunk]}


def die_once(marker, chunk):
    if 13 in chunk and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return double(chunk)


def die_at_13(chunk):
    if 13 in chunk:
        os.kill(os.getpid(), signal.SIGKILL)
    return double(chunk)


def die_at_one_image(*arguments):
    """`chunks.make_part`, but for an image that ends the process which reads it."""
    if any(job.item.sample.path.as_posix() == DEADLY for job in arguments[-1]):
        os.kill(os.getpid(), signal.SIGKILL)
    return chunks.make_part(*arguments)


def deadly(setattr):
    """Have workers, where nothing is patched, die at one image; few stand in a chunk with it, for speed."""
    setattr(chunks, "make_part", die_at_one_image)
    setattr(chunks, "CHUNK", 14)


def go_wrong(chunk):
    return 1 / (chunk[0] - chunk[0])


def refuse(chunk):
    raise FertoolsError(f"no {chunk[0]}")


NUMBERS = [[number, number + 1, number + 2] for number in range(0, 30, 3)]


def doubled(results):
    return sorted(number for result in results for number in result.get("doubled", ()))


# --- the processes of one machine


def test_a_worker_that_is_killed_costs_no_chunk_and_repeats_none(tmp_path):
    results = list(local.run(partial(die_once, tmp_path / "died"), NUMBERS, 2))
    assert doubled(results) == list(range(0, 60, 2)) and len(results) == len(NUMBERS)


def test_what_no_process_survives_is_given_up_and_nothing_else():
    results = list(local.run(die_at_13, NUMBERS, 2))
    assert [result["lost"] for result in results if "lost" in result] == [13]
    assert doubled(results) == [number for number in range(0, 60, 2) if number != 26]


def test_a_step_that_refuses_ends_the_run_with_its_words():
    with pytest.raises(FertoolsError, match=r"no \d"):
        list(local.run(refuse, NUMBERS, 2))


def test_a_bug_in_a_worker_keeps_its_kind():
    with pytest.raises(ZeroDivisionError):
        list(local.run(go_wrong, NUMBERS, 2))


def test_an_image_that_no_process_survives_is_a_row_with_its_reason(raw, undisturbed, tmp_path, monkeypatch):
    deadly(monkeypatch.setattr)
    for up_to_date in (False, True):  # the second run has that image alone to do, and must survive it too
        summary = ready(raw, tmp_path, engine=Engine("local", 2))
        assert summary.up_to_date == up_to_date and summary.usable == 111
        assert summary.quarantined == [
            {"path": DEADLY, "reason": "ends the process that reads it (out of memory, or a decoder's bug)"}
        ]
    monkeypatch.undo()
    ready(raw, tmp_path)  # it is tried again
    assert bytes_of(tmp_path / "affectnet.parquet") == undisturbed


def fertools(raw, out, *options):
    command = [str(Path(sys.executable).with_name("fertools")), "prepare", "affectnet", "--landmarks", "published"]
    return [*command, "--raw", str(raw), "--manifests", str(out), *options]


def alive(session):
    """Processes of a session that are no zombies."""
    told = subprocess.run(["ps", "-eo", "pid=,sess=,stat="], capture_output=True, text=True, check=True).stdout
    lines = [line.split() for line in told.splitlines()]
    return [int(pid) for pid, sess, state in lines if int(sess) == session and not state.startswith("Z")]


def test_killed_at_any_moment_and_run_again_it_ends_with_the_same_bytes(raw, undisturbed, tmp_path):
    rng = np.random.default_rng(0)
    command = fertools(raw, tmp_path, "--workers", "2")
    for number in range(4):
        with subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True) as run:
            while not (tmp_path / ".affectnet.parts").exists() and run.poll() is None:
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 1.5))
            pids = [run.pid] if number % 2 else alive(run.pid)
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(int(rng.choice(pids or [run.pid])), signal.SIGKILL)
            run.wait(60)
        for _ in range(200):  # workers whose parent was killed end by themselves
            if not alive(run.pid):
                break
            time.sleep(0.05)
        assert alive(run.pid) == []
    subprocess.run(command, check=True, capture_output=True)
    assert bytes_of(tmp_path / "affectnet.parquet") == undisturbed
    assert len(list(tmp_path.iterdir())) == 3  # rows, crops, ledger


# --- what cannot be written


@contextmanager
def largest_file(size):
    """Let no file grow larger, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(("size", "num_parts"), [(200_000, 0), (1_500_000, 3)], ids=["a part", "the manifest"])
def test_a_full_disk_is_told_and_leaves_nothing_half_written(size, num_parts, raw, undisturbed, tmp_path):
    with largest_file(size), pytest.raises(ManifestError, match=r"cannot be written \(.*too large.*the same command"):
        ready(raw, tmp_path)
    assert not list(tmp_path.rglob("*.????????.part")) and not (tmp_path / "affectnet.parquet").exists()
    assert len(list(tmp_path.glob(".affectnet.parts/*"))) == num_parts
    todo = []
    ready(raw, tmp_path, progress=lambda done, total, _: todo.append(total - done))
    assert todo[0] == (0 if num_parts else todo[0]) and len(todo) == 1 + (3 - num_parts)
    assert bytes_of(tmp_path / "affectnet.parquet") == undisturbed


def test_a_folder_that_cannot_be_made_is_told_before_any_work(raw, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(chunks, "make_part", lambda *_: pytest.fail("work was done"))
    with pytest.raises(ManifestError, match=r"cannot be written \(Not a directory\)"):
        ready(raw, tmp_path / "file/manifests")


# --- Ray


def test_without_ray_its_engine_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ray.EngineError, match=r"--engine ray needs Ray; install it: pip install 'fertools\[ray\]'"):
        list(ray.run(double, NUMBERS, 2))


TWO_NODES = """
import sys
from functools import partial
from pathlib import Path
from ray.cluster_utils import Cluster
from fertools.datasets import DATASETS
from fertools.preparation.engines import Engine, ray
from fertools.preparation.prepare import prepare
sys.path.insert(0, sys.argv[3])
from test_engines import deadly, go_wrong, where

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
cluster.add_node(num_cpus=1)
nodes = [done["node"] for done in ray.run(where, [[number] for number in range(6)], None, cluster.address)]
assert len(set(nodes)) == 2, nodes
engine = Engine("ray", None, cluster.address)
raw, out = Path(sys.argv[1]), Path(sys.argv[2])
ready = partial(prepare, DATASETS["affectnet"], raw, published=True)
ready(out / "undisturbed", engine=engine)
try:
    list(ray.run(go_wrong, [[1]], None, cluster.address))
except ZeroDivisionError:
    deadly(setattr)
ready(out / "ray", engine=engine)
ready(out / "local", engine=Engine("local", 2))
cluster.shutdown()
"""


def where(chunk):
    """Say which node this is; at the first chunk, its worker is killed once."""
    import ray as library

    marker = Path(os.environ["MARKER"])
    if chunk == [0] and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.5)
    return {"node": library.get_runtime_context().get_node_id()}


def test_two_ray_nodes_give_the_same_bytes_whatever_dies_on_them(raw, undisturbed, tmp_path):
    pytest.importorskip("ray")
    here = Path(__file__).parent
    environment = os.environ | {"MARKER": str(tmp_path / "killed"), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", TWO_NODES, str(raw), str(tmp_path / "out"), str(here)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stderr[-3000:]
    assert "died" not in run.stdout and "Warning" not in run.stderr
    assert (tmp_path / "killed").exists()
    by_ray, by_local, whole = (tmp_path / f"out/{name}/affectnet.parquet" for name in ("ray", "local", "undisturbed"))
    assert bytes_of(whole) == undisturbed and bytes_of(by_ray) == bytes_of(by_local)
    (bad,) = files.read_metadata(by_ray)["summary"]["quarantined"]
    assert bad["path"] == DEADLY and "ends the process that reads it" in bad["reason"]
    assert files.read_metadata(whole)["summary"]["usable"] == 1 + files.read_metadata(by_ray)["summary"]["usable"]

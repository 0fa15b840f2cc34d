"""A test in two processes: this one is the first, a second one is started beside it."""

import importlib
import os
import subprocess
import sys
from contextlib import contextmanager
from datetime import timedelta

import torch.distributed as dist

BESIDE = """
import importlib
import sys
importlib.import_module(sys.argv[1]).one_of_two(1, *sys.argv[2:])
"""


@contextmanager
def joined(rank, meeting):
    dist.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=2, timeout=timedelta(seconds=200)
    )
    try:
        yield
    finally:
        dist.destroy_process_group()


def in_two_processes(module, *arguments):
    """Run a test module's `one_of_two(rank, ...)` in both."""
    command = [sys.executable, "-c", BESIDE, module, *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, env=environment, text=True, stderr=subprocess.PIPE) as other:
        try:
            importlib.import_module(module).one_of_two(0, *map(str, arguments))
        except BaseException:
            other.kill()
            raise
        _, err = other.communicate(timeout=200)
        assert other.returncode == 0, err

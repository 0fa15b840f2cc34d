"""The device that a training runs on: which one, whether it is deterministic, how much of its memory is free."""

import os
from pathlib import Path

import torch

from trainer.errors import TrainerError

MEMORY = Path("/proc/meminfo")  # Linux


def pick_device(name: str) -> torch.device:
    """Return the device to train on: `auto` is cuda where there is one, else cpu.

    Raises:
        TrainerError: no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise TrainerError(f"no device {name!r} here ({str(error).splitlines()[0]}); use --device auto") from error
    torch.backends.cudnn.allow_tf32 = False  # float32 is float32 in convolutions, too, as it is in products
    return torch.device(name)


def make_deterministic() -> None:
    """Let what this process computes on a GPU have the same bits each time, if more slowly."""
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # or cuBLAS may choose otherwise from run to run
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True)


def free_memory(device: torch.device) -> int:
    """Return how many bytes are free on a device; of the CPU all there are, where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if MEMORY.exists():
        (line,) = [line for line in MEMORY.read_text().splitlines() if line.startswith("MemAvailable:")]
        return int(line.split()[1]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

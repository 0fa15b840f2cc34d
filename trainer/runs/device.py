"""The device of a training: which one, deterministic or not, its memory, and what provenance records of it."""

import os
import re
from pathlib import Path
from typing import Any

import torch

from trainer.errors import TrainerError

# Linux
MEMORY, STATUS, RESET_PEAK = Path("/proc/meminfo"), Path("/proc/self/status"), Path("/proc/self/clear_refs")


def pick_device(name: str) -> torch.device:
    """Return the device to train on: `auto` is cuda where there is one, else cpu.

    Raises:
        TrainerError: this machine has no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise TrainerError(f"no device {name!r}: expected auto, cpu or cuda, or one GPU of several, such as cuda:1")
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        said = str(error).splitlines()[0]
        raise TrainerError(f"no device {name!r} on this machine ({said}); use --device auto") from error
    torch.backends.cudnn.allow_tf32 = False  # convolutions in full float32, as products are
    return torch.device(name)


def make_deterministic() -> None:
    """Make this process compute the same bits each time on a GPU, too; slower."""
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # without it cuBLAS may choose other algorithms from run to run
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.enable_flash_sdp(False)  # attention by plain products: the gradients of both
    torch.backends.cuda.enable_mem_efficient_sdp(False)  # fused kernels may be added up in any order
    torch.use_deterministic_algorithms(True)


def free_memory(device: torch.device) -> int:
    """Return the free bytes of a device; the total bytes of the CPU's memory where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if MEMORY.exists():
        (line,) = [line for line in MEMORY.read_text().splitlines() if line.startswith("MemAvailable:")]
        return int(line.split()[1]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def reset_peak_memory(device: torch.device) -> int | None:
    """Reset the peak of used memory; return the bytes in use now, None where the system does not say."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    try:
        RESET_PEAK.write_text("5")
        return _process_memory("VmRSS")
    except OSError:
        return None


def peak_memory(device: torch.device, before: int | None) -> int | None:
    """Return the peak of used bytes less those `before`; None where the system does not say."""
    if before is None:
        return None
    return (torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _process_memory("VmHWM")) - before


def _process_memory(name: str) -> int:
    match = re.search(rf"{name}:\s+(\d+) kB", STATUS.read_text())
    assert match, f"{STATUS} has no {name}"
    return 1024 * int(match[1])


def environment(device: torch.device) -> dict[str, Any]:
    """Return device, threads and versions, as a run's provenance records them."""
    import platform
    from importlib.metadata import version

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    packages = ("torch", "torchvision", "numpy", "pyarrow", "scikit-learn")
    return {
        "device": f"{device.type}: {name}", "threads": torch.get_num_threads(), "python": platform.python_version(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "versions": {package: version(package) for package in packages},
    }  # fmt: skip

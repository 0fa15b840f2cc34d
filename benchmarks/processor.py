"""What a figure was measured on: the processor's model, and which of its vector instructions matter here."""

import os
import platform
from pathlib import Path

FLAGS = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile")


def host() -> dict[str, object]:
    """Return model, flags, cores and load; what Linux does not tell is left to `platform`."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    told = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    has = told.get("flags", "").split()
    return {
        "processor": told.get("model name") or platform.processor() or platform.machine(),
        "flags": [flag for flag in FLAGS if flag in has],
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
    }

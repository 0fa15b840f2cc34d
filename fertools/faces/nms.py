"""torchvision's non-maximum suppression, without the import of torchvision, which costs as much as that of torch."""

from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fertools.errors import FertoolsError


def nms(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """Return which boxes stay, surest first, as torchvision.ops.nms does: it is the same compiled operator.

    Args:
        boxes: (n, 4) x0, y0, x1, y1.
        scores: (n,)
        threshold: a box goes that shares more than this with a surer one, of what the two cover together.

    Raises:
        FertoolsError: torchvision is not installed, or not for this torch.
    """
    kept: Tensor = _operators().nms(boxes, scores, threshold)
    return kept


@cache
def _operators() -> Any:
    spec = find_spec("torchvision")
    if spec is None or spec.origin is None:
        raise FertoolsError("torchvision is not installed; faces are not found without it: pip install torchvision")
    package = Path(spec.origin).parent
    # its name is `_C.so` in older versions, `_C_stable.so` in newer ones
    libraries = [path for suffix in EXTENSION_SUFFIXES for path in sorted(package.glob(f"_C*{suffix}"))]
    if not libraries:
        raise FertoolsError(
            f"{package} has no compiled operators; expected a file like _C{EXTENSION_SUFFIXES[0]}; "
            "install torchvision again, in the version that belongs to this torch"
        )
    try:
        torch.ops.load_library(str(libraries[0]))  # type: ignore[no-untyped-call]
    except OSError as error:
        raise FertoolsError(
            f"{libraries[0]} does not load with torch {torch.__version__} ({error}); install the torchvision that "
            "belongs to this torch"
        ) from error
    return torch.ops.torchvision

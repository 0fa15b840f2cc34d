"""A network as a graph that runs without this code: ONNX, in three precisions, and torch.export's."""

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from trainer.data.crops import Pictures
from trainer.errors import TrainerError
from trainer.inference.model import Network, face_shape

GRAPHS = {"onnx": "model.onnx", "torch-export": "model.pt2"}  # format: file
ENTRY, RESULT = "faces", "probabilities"  # names in the graph
BATCH = 64

Answer = Callable[[NDArray[np.uint8]], NDArray[np.float32]]  # a batch of faces to their probabilities


class ExportError(TrainerError):
    """An export that cannot be made as asked."""


def graph(folder: Path, network: Network, form: str, precision: str, faces: NDArray[np.uint8] | Pictures) -> Answer:
    """Write a network as a graph; return what computes it.

    Args:
        folder: where.
        network: on the CPU, in evaluation mode.
        form: a key of GRAPHS.
        precision: of ONNX: fp32, fp16 or int8.
        faces: that fit the ranges of int8.

    Raises:
        ExportError: a package is missing.
    """
    path, example = folder / GRAPHS[form], torch.zeros((2, *face_shape(network.crop)), dtype=torch.uint8)
    network = copy.deepcopy(network).to(memory_format=torch.contiguous_format)  # torch stores no other order whole
    if form == "torch-export":
        program = torch.export.export(network, (example,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
        torch.export.save(program, path)
        return module(program.module())  # not read back from the file: torch unpickles what it does not know
    _write_onnx(path, network, example, precision)
    if precision == "int8":
        _quantize(path, faces)
    return _session(path)


def module(network: torch.nn.Module) -> Answer:
    """Return what a module on the CPU computes."""

    @torch.inference_mode()
    def answer(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.asarray(network(torch.from_numpy(batch)), np.float32)

    return answer


def batches(faces: NDArray[np.uint8] | Pictures) -> Iterator[NDArray[np.uint8]]:
    """Yield faces in batches."""
    for at in range(0, len(faces), BATCH):
        yield np.ascontiguousarray(faces[at : at + BATCH])


def _write_onnx(path: Path, network: Network, example: torch.Tensor, precision: str) -> None:
    try:
        import onnxruntime.quantization  # noqa: F401 - which needs onnx
        import onnxscript  # noqa: F401 - which torch.onnx needs
    except ImportError as error:
        raise ExportError(f"--format onnx needs {error.name}: pip install 'fertools[onnx]'") from error
    if precision == "fp16":
        network.method.half()
    program = torch.onnx.export(
        network, (example,), dynamo=True, verbose=False, input_names=[ENTRY], output_names=[RESULT],
        dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
    )  # fmt: skip
    assert program is not None
    about = {"expressions": network.expressions, "temperature": network.temperature, "crop": asdict(network.crop)}
    program.model.metadata_props.update({name: json.dumps(value) for name, value in about.items()})
    program.save(path, external_data=False)


def _quantize(path: Path, faces: NDArray[np.uint8] | Pictures) -> None:
    """Round a graph's convolutions to 8 bits, with ranges as these faces need them."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class CalibrationFaces(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._batches = batches(faces)

        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            batch = next(self._batches, None)
            return None if batch is None else {ENTRY: batch}

    prepared, kind = path.with_suffix(".prepared"), QuantType.QInt8
    quant_pre_process(path, prepared, skip_symbolic_shape=True)
    quantize_static(
        prepared, path, CalibrationFaces(), per_channel=True, op_types_to_quantize=["Conv"],
        activation_type=kind, weight_type=kind,
    )  # fmt: skip
    prepared.unlink()


def _session(path: Path) -> Answer:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda batch: np.asarray(session.run([RESULT], {ENTRY: batch})[0])

"""ONNX Runtime: inference with tensors bound beforehand."""

from __future__ import annotations

import onnxruntime

from bench.peers.contract import Arrays, Call, Peer
from bench.peers.onnx_model import serialised_model
from bench.points import Problem


def prepare(problem: Problem, threads: int) -> dict[str, Call]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        serialised_model(problem.point, problem.params),
        options,
        providers=["CPUExecutionProvider"],
    )
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", onnxruntime.OrtValue.ortvalue_from_numpy(problem.x))
    binding.bind_output(session.get_outputs()[0].name)

    def forward() -> onnxruntime.IOBinding:
        session.run_with_iobinding(binding)
        return binding

    def read(bound: onnxruntime.IOBinding) -> Arrays:
        return {"y": bound.copy_outputs_to_cpu()[0]}

    return {"forward": Call(forward, read)}


PEER = Peer("onnxruntime", onnxruntime.__version__, prepare)

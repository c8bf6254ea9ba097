"""OpenVINO: inference from the ONNX model, in float32 also where the CPU has bfloat16."""

from __future__ import annotations

import openvino

from bench.peers.contract import Arrays, Call, Peer
from bench.peers.onnx_model import serialised_model
from bench.points import Problem


def prepare(problem: Problem, threads: int) -> dict[str, Call]:
    core = openvino.Core()
    model = core.read_model(serialised_model(problem.point, problem.params))
    compiled = core.compile_model(
        model,
        "CPU",
        {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
        },
    )
    request = compiled.create_infer_request()
    request.set_input_tensor(openvino.Tensor(problem.x))

    def forward() -> openvino.InferRequest:
        request.infer()
        return request

    def read(done: openvino.InferRequest) -> Arrays:
        return {"y": done.get_output_tensor().data.copy()}

    return {"forward": Call(forward, read)}


PEER = Peer("openvino", openvino.__version__.partition("-")[0], prepare)

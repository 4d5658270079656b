"""What image servers say of themselves: a missing series is unknown, never zero."""

import pytest

from meltguard.agent.server_words import PRESETS, ServerKind, ServerWords
from meltguard.errors import InvalidInput

WORDS = {
    "vllm of two engines": (
        ServerKind.VLLM,
        (
            'vllm:num_requests_running{engine="0"} 2\nvllm:num_requests_running{engine="1"} 1\n'
            'vllm:num_requests_waiting{engine="0"} 4\nvllm:num_requests_waiting_by_reason{reason="capacity"} 4\n'
        ),
        ServerWords(held=7, waiting=4),
    ),
    "idle triton": (
        ServerKind.TRITON,
        'nv_inference_pending_request_count{model="a"} 0\nnv_inference_compute_infer_duration_us{model="a"} 2500000\n',
        ServerWords(held=0, waiting=0, all_told=False, busy=2.5),  # type: ignore[arg-type]
    ),
    "idle comfyui": (ServerKind.COMFYUI, '{"queue_running": [], "queue_pending": []}', ServerWords(held=0, waiting=0)),
}
NOT_TOLD = {
    "nothing": (ServerKind.VLLM, ""),
    "only one of two": (ServerKind.VLLM, "vllm:num_requests_running 2\n"),
    "only comments": (ServerKind.TRITON, "# TYPE nv_inference_pending_request_count gauge\n"),
    "no number": (ServerKind.TRITON, "nv_inference_pending_request_count NaN\n"),
    "less than none": (ServerKind.TRITON, "nv_inference_pending_request_count -1\n"),
    "broken labels": (ServerKind.RAY_SERVE, 'ray_serve_deployment_queued_queries{a="b 1\n'),
    "another page": (ServerKind.COMFYUI, "<html>"),
    "another json": (ServerKind.COMFYUI, "[]"),
    "a count": (ServerKind.COMFYUI, '{"queue_running": 1, "queue_pending": 2}'),
}


@pytest.mark.parametrize(("kind", "text", "words"), WORDS.values(), ids=WORDS)
def test_a_server_is_understood(kind: ServerKind, text: str, words: ServerWords) -> None:
    assert PRESETS[kind].read(text) == words


@pytest.mark.parametrize(("kind", "text"), NOT_TOLD.values(), ids=NOT_TOLD)
def test_what_is_not_told_is_unknown(kind: ServerKind, text: str) -> None:
    with pytest.raises(InvalidInput):
        PRESETS[kind].read(text)

"""Reads an exported task with OpenTelemetry's own messages, and compares it with what the Collector says it took.

usage: read_trace.py EXPORTED RECEIVED
"""

import base64
import json
import sys
from pathlib import Path

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

IDS = {"traceId", "spanId", "parentSpanId"}


def protobuf_json(value):
    """OTLP/JSON departs from protobuf's JSON in one thing: ids are hex and not base64."""
    if isinstance(value, list):
        return [protobuf_json(item) for item in value]
    if isinstance(value, dict):
        return {k: to_base64(v) if k in IDS else protobuf_json(v) for k, v in value.items()}
    return value


def to_base64(text: str) -> str:
    assert text == text.lower(), text
    return base64.b64encode(bytes.fromhex(text)).decode()


def parse(document: dict) -> ExportTraceServiceRequest:
    # Unknown members and wrong types are errors.
    return json_format.ParseDict(protobuf_json(document), ExportTraceServiceRequest())


def spans(request: ExportTraceServiceRequest) -> dict[bytes, tuple[dict, Span]]:
    found = {}
    for resource in request.resource_spans:
        of = {a.key: a.value.string_value for a in resource.resource.attributes}
        for scope in resource.scope_spans:
            assert scope.scope.name == "mandate"
            for span in scope.spans:
                assert span.span_id not in found
                found[span.span_id] = (of, span)
    return found


def said(span: Span) -> dict:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes}


def complete_to_its_trigger(found: dict[bytes, tuple[dict, Span]]) -> Span:
    """P5 in OpenTelemetry's terms: from any span, parents lead to the one that names person and trigger."""
    roots = set()
    for _, span in found.values():
        assert len(span.trace_id) == 16 and len(span.span_id) == 8
        assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano
        while span.parent_span_id:
            _, span = found[span.parent_span_id]
        roots.add(span.span_id)
    assert len(roots) == 1, roots
    _, root = found[roots.pop()]
    cause = said(root)
    assert cause["enduser.id"] == "user:login:alice"
    assert (cause["mandate.trigger.kind"], cause["mandate.trigger.verified"]) == ("user", "user")
    return root


def the_story(found: dict[bytes, tuple[dict, Span]], root: Span) -> None:
    by_name = {span.name: (of["service.name"], span) for of, span in found.values()}
    assert root.name == "task support-case"
    service, child = by_name["task retriever"]
    assert service == "retriever" and child.parent_span_id == root.span_id
    _, refused = by_name["delegate"]
    assert refused.status.code == Status.STATUS_CODE_ERROR
    accesses = [s for of, s in found.values() if s.kind == Span.SPAN_KIND_CLIENT and s.name.startswith("GET ")]
    assert all(access.parent_span_id == child.span_id for access in accesses)
    ended = {said(access).get("http.response.status_code") for access in accesses}
    assert 200 in ended, ended
    [denied] = [access for access in accesses if access.status.code == Status.STATUS_CODE_ERROR]
    assert denied.status.message == "mandate.unfit"
    assert [link.trace_id.hex() for link in denied.links if link.trace_id != root.trace_id] == [
        "4bf92f3577b34da6a3ce929d0e0e4736"
    ]


if __name__ == "__main__":
    exported_text, received_text = (Path(name).read_text() for name in sys.argv[1:])
    assert "eyJ" not in exported_text, "a token is in the trace"
    exported = spans(parse(json.loads(exported_text)))
    received = {}
    for line in received_text.splitlines():
        received |= spans(parse(json.loads(line)))
    assert received == exported, "what the Collector took is what was exported"
    the_story(exported, complete_to_its_trigger(exported))
    services = {of["service.name"] for of, _ in exported.values()}
    print(f"OpenTelemetry Collector: took {len(received)} spans of {len(services)} services, one trace to its trigger")

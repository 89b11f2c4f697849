"""The bundle that the scenarios and clients are driven with."""

import json

# What the fixture has. All of it is called a read here, so that one access token serves a whole run: for a write each
# call would need one of its own.
FIXTURE = {
    "tool": """confirm_delete failing_job greet json_schema_2020_12_tool multi_input protocol_error_job slow_compute
test_audio_content test_elicitation test_elicitation_sep1034_defaults test_elicitation_sep1330_enums test_embedded_resource
test_error_handling test_header_arguments test_image_content test_input_required_result_capabilities
test_input_required_result_elicitation test_input_required_result_list_roots test_input_required_result_multi_round
test_input_required_result_multiple_inputs test_input_required_result_request_state test_input_required_result_sampling
test_input_required_result_tampered_state test_logging_tool test_missing_capability test_multiple_content_types
test_reconnection test_sampling test_simple_text test_streaming_elicitation test_tool_with_logging test_tool_with_progress
test_tool_with_task test_trigger_prompt_change test_trigger_resource_change test_trigger_tool_change""".split(),
    "prompt": """test_simple_prompt test_prompt_with_arguments test_prompt_with_embedded_resource test_prompt_with_image
test_input_required_result_prompt""".split(),
    "resource": """test://static-text test://static-binary test://watched-resource test://template/{id}/data
test://nonexistent-resource-for-conformance-testing""".split(),
}
# What the suite's own servers have, those tools included that a client must leave alone: that is the client's to do.
SUITE = {
    "tool": """add_numbers invalid_array_header invalid_colon_in_name invalid_control_char_name invalid_duplicate_diff_case
invalid_duplicate_same_case invalid_empty_header invalid_non_ascii_name invalid_null_header invalid_number_header
invalid_object_header invalid_space_in_name json_schema_2020_12_tool json_schema_echo lookup_user my-hyphenated-tool
test_client_elicitation_defaults test_custom_headers test_custom_headers_null test_headers test_mrtr_echo_state
test_mrtr_no_result_type test_mrtr_no_state test_mrtr_state_only test_mrtr_unrelated test_reconnection valid_tool""".split(),
    "prompt": ["test_prompt"],
    "resource": ["file:///path/to/{file}", "https://example.com/resource"],
}
MAY = ["fixture:all", "scenarios:all", "everything:echo message=hey", "everything:sum"]


def everything_is_read(name, upstream, has, resource=None):
    patterns = [f"{kind} {what}" for kind, names in has.items() for what in names]
    return f"""
kind: ServerWorkload
metadata: {{name: {name}}}
spec:
  resource: {resource or f"https://{name}.interop.example/mcp"}
  upstream: http://{upstream}
  credential: none
  mcp: {{}}
  actions:
    all: {{effect: read, match: {json.dumps(patterns)}}}
---
kind: AccessPolicy
metadata: {{name: all-of-{name}}}
spec: {{agents: [conformer], server: {name}, actions: [all]}}
---"""


def bundle(gateway, fixture, scenarios, everything, others):
    """`others` are servers with documents and entries of their own."""
    documents = "".join(other.documents() for other in others)
    ceiling = "".join(f"    - {{server: {other.name}, actions: {json.dumps(other.actions)}}}\n" for other in others)
    return f"""
{everything_is_read("guarded", fixture, FIXTURE, f"http://{gateway}/guarded/mcp")}
{everything_is_read("fixture", fixture, FIXTURE)}
{everything_is_read("scenarios", scenarios, SUITE)}
{documents}
kind: ServerWorkload
metadata: {{name: everything}}
spec:
  resource: https://everything.interop.example/mcp
  upstream: http://{everything}
  credential: none
  mcp: {{}}
  actions:
    echo: {{effect: read, match: tool echo, attributes: {{message: /message}}}}
    sum: {{effect: read, match: tool get-sum, attributes: {{a: {{argument: /a, type: integer}}}}}}
    environment: {{effect: read, match: tool get-env}}
---
kind: AccessPolicy
metadata: {{name: some}}
spec: {{agents: [conformer], server: everything, actions: [echo, sum]}}
---
kind: TaskPolicy
metadata: {{name: conformance}}
spec:
  opener: conformer
  trigger: {{schedule: {{name: conformance, unverified: allow}}}}
  ceiling:
    - {{server: fixture, actions: [all]}}
    - {{server: scenarios, actions: [all]}}
    - {{server: guarded, actions: [all]}}
    - {{server: everything, actions: [echo, sum]}}
{ceiling}  maxDuration: 10m
"""

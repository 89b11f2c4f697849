"""Where tokens for an MCP server come from, as official clients and the conformance suite find it out. docs/mcp.md says of
each scenario what becomes of it.
"""

import subprocess
from pathlib import Path

import suite

HERE = Path(__file__).resolve().parent
METADATA = "authorization-server-metadata-endpoint"
# The suite wants the grant of authorization codes, which there is not.
EXPECTED = [
    {"id": "authorization-server-metadata", "name": "AuthorizationServerMetadata", "status": "FAILURE",
     "message": 'Response body does not include valid "response_types_supported" claim'},
    {"id": "authorization-server-metadata-cimd", "name": "AuthorizationServerMetadataCIMD", "status": "WARNING",
     "message": 'Expected "client_id_metadata_document_supported" to be true, got false'},
]


def drive(server, cache, folder, url, elsewhere, access):
    """`url` is an MCP server's endpoint at the gateway and its resource indicator, `elsewhere` one that says another."""
    metadata(server.issuer, cache, folder)
    # As agents, without a key of their own and with one.
    for how in (["--bearer"], []):
        task = ["--purpose", "conformance", "--schedule", "conformance", "--access", access]
        program = [suite.command(cache)[0], cache / "suite/authorization.mjs", url, elsewhere]
        subprocess.run([server.program, "exec", *how, *task, "--", *program], env=server.environment, check=True)
    program = [cache / "python/bin/python", HERE / "authorization_client.py", url, server.issuer]
    subprocess.run(program, check=True)


def metadata(issuer, cache, folder):
    out = folder / "authorization"
    done = subprocess.run([*suite.command(cache), "authorization", "--url", issuer, "--scenario", METADATA, "--output-dir", out],
                          capture_output=True, text=True)
    written = list(out.glob("*/checks.json"))
    assert len(written) == 1, done.stdout + done.stderr
    said = suite.checks(written[0])
    assert said == EXPECTED, said
    print(f"conformance, {METADATA}: all but what belongs to grants that the authority has not")

// The official typescript clients find out by themselves where tokens for an MCP server come from, and get one there: from
// the gateway's challenge over both metadata to the token endpoint. Runs as an agent (`mandate exec`).
//
// usage: authorization.mjs URL ELSEWHERE    URL is a server's endpoint at the gateway and its resource indicator,
//                                           ELSEWHERE an endpoint whose resource indicator is another
import assert from 'node:assert/strict'
import * as second from '@modelcontextprotocol/client'
import { Client as FirstClient } from '@modelcontextprotocol/sdk/client/index.js'
import * as first from '@modelcontextprotocol/sdk/client/auth.js'
import { StreamableHTTPClientTransport as FirstTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import * as oauth from 'oauth4webapi'
import { AgentProvider, bound, svid } from './agent_provider.mjs'

const [url, elsewhere] = process.argv.slice(2)
const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'
const ME = { name: 'mandate-interop', version: '1.0.0' }
const insecure = { [oauth.allowInsecureRequests]: true } // loopback without TLS

const place = await challenged()
const { resource, server } = await bare()
await discovers(second)
await discovers(first)
await wantsTheResourceThatItAsks()
await gets(openSecond)
if (bound()) {
  // The first client has no proofs.
  await assert.rejects(gets(openFirst), /bound to a key: send a proof of it/)
} else {
  await gets(openFirst)
  await isRefused()
}
console.log(`official typescript clients, oauth4webapi: challenge, metadata and token, ${bound() ? 'DPoP' : 'Bearer'}`)

// A real 401, read by each client's own function.
async function challenged() {
  const headers = { accept: 'application/json, text/event-stream', 'content-type': 'application/json' }
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'ping' })
  const answer = await fetch(url, { method: 'POST', headers, body })
  assert.equal(answer.status, 401)
  const { origin, pathname } = new URL(url)
  const expected = `${origin}/.well-known/oauth-protected-resource${pathname}`
  for (const sdk of [first, second]) {
    const { resourceMetadataUrl, scope } = sdk.extractWWWAuthenticateParams(answer)
    assert.equal(resourceMetadataUrl.href, expected)
    assert.equal(scope, undefined, 'no scope is asked for: what a task may do is no matter of asking')
  }
  return new URL(expected)
}

// RFC 9728 and RFC 8414 by a library that knows nothing of MCP.
async function bare() {
  const found = await oauth.resourceDiscoveryRequest(new URL(url), insecure)
  const resource = await oauth.processResourceDiscoveryResponse(new URL(url), found)
  const issuer = new URL(resource.authorization_servers[0])
  const answer = await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...insecure })
  const server = await oauth.processDiscoveryResponse(issuer, answer)
  assert.ok(server.grant_types_supported.includes(EXCHANGE))
  // Clients of mcp want metadata to name it; there is nothing to be had.
  assert.equal((await fetch(server.authorization_endpoint)).status, 400)
  return { resource, server }
}

// What a client of MCP makes of the same, with the challenge's word for where it is and without.
async function discovers(sdk) {
  for (const resourceMetadataUrl of [place, undefined]) {
    const said = await sdk.discoverOAuthProtectedResourceMetadata(url, { resourceMetadataUrl })
    assert.deepEqual(said, resource)
    assert.equal(said.resource, url)
  }
  assert.equal((await sdk.discoverAuthorizationServerMetadata(server.issuer)).issuer, server.issuer)
}

// Each client's whole loop: it is refused, discovers, gets a token and asks again. Grant, client authentication and key
// are what a provider of an application says; the rest is the client's own.
async function gets(open) {
  const provider = new AgentProvider()
  const client = await open(provider)
  const { tools } = await client.listTools()
  assert.ok(tools.some((tool) => tool.name === 'test_simple_text'))
  const { content } = await client.callTool({ name: 'test_simple_text', arguments: {} })
  assert.equal(content[0].type, 'text')
  assert.equal(provider.exchanges, 1, 'one exchange was enough')
  await client.close()
}

async function openSecond(authProvider) {
  const client = new second.Client(ME, { versionNegotiation: { mode: 'auto' } })
  await client.connect(new second.StreamableHTTPClientTransport(new URL(url), { authProvider }))
  return client
}

async function openFirst(authProvider) {
  const client = new FirstClient(ME)
  await client.connect(new FirstTransport(new URL(url), { authProvider }))
  return client
}

// A client of mcp sends nobody's credentials to get a token for something else than what it asks.
async function wantsTheResourceThatItAsks() {
  for (const sdk of [second, first]) {
    const provider = new AgentProvider()
    await assert.rejects(sdk.auth(provider, { serverUrl: elsewhere }), /does not match expected/)
    assert.equal(provider.exchanges, 0)
  }
}

// The helpers for other grants reach the token endpoint, and learn there that it has none of them.
async function isRefused() {
  const credentials = { clientId: ME.name, clientSecret: 'none', expectedIssuer: server.issuer }
  const assertion = { clientId: ME.name, jwtBearerAssertion: svid(), expectedIssuer: server.issuer }
  const providers = [new second.ClientCredentialsProvider(credentials), new second.StaticPrivateKeyJwtProvider(assertion)]
  for (const provider of providers) {
    const refused = await second.auth(provider, { serverUrl: url }).catch((error) => error)
    assert.equal(refused.code, 'unsupported_grant_type', refused.message)
  }
}

// What the client scenarios of the conformance suite run: an official client that uses all that the server has. Prints what
// it got as json, a line for each use.
//
// usage: conformer.mjs first|second URL    URL is the scenario's server; the suite says it, and in the environment the rest
//
// With INTEROP_GATEWAY and INTEROP_HEADERS in the environment it asks the gateway, which has the relay as its upstream.
import { headersOf } from './header_file.mjs'

const [sdk, server] = process.argv.slice(2)
const { INTEROP_GATEWAY, INTEROP_HEADERS, MCP_CONFORMANCE_CONTEXT, MCP_CONFORMANCE_PROTOCOL_VERSION } = process.env
const ME = { name: 'mandate-interop', version: '1.0.0' }
const capabilities = { elicitation: { form: { applyDefaults: true } } }
// Defaults are for the client to fill in.
const answer = () => ({ action: 'accept', content: {} })

const throughGateway = (url, init) => {
  const headers = new Headers(init?.headers)
  for (const [name, value] of headersOf(INTEROP_HEADERS)) headers.set(name, value)
  headers.set('Interop-Upstream', server)
  return fetch(url, { ...init, headers })
}

const options = INTEROP_GATEWAY === undefined ? {} : { fetch: throughGateway }

async function first(url) {
  const { Client } = await import('@modelcontextprotocol/sdk/client/index.js')
  const { StreamableHTTPClientTransport } = await import('@modelcontextprotocol/sdk/client/streamableHttp.js')
  const { ElicitRequestSchema } = await import('@modelcontextprotocol/sdk/types.js')
  const client = new Client(ME, { capabilities })
  client.setRequestHandler(ElicitRequestSchema, answer)
  await client.connect(new StreamableHTTPClientTransport(url, options))
  return client
}

async function second(url) {
  const { Client, StreamableHTTPClientTransport } = await import('@modelcontextprotocol/client')
  const mode = MCP_CONFORMANCE_PROTOCOL_VERSION === '2025-11-25' ? 'legacy' : 'auto'
  const client = new Client(ME, { capabilities, versionNegotiation: { mode } })
  client.setRequestHandler('elicitation/create', answer)
  await client.connect(new StreamableHTTPClientTransport(url, options))
  return client
}

async function say(what, work) {
  try {
    const got = await work()
    console.log(JSON.stringify({ what, got }))
    return got
  } catch (error) {
    console.log(JSON.stringify({ what, error: error.name, code: error.code, message: error.message }))
  }
}

// The arguments that the scenario wants, or else one of each type; a tool that wants a schema gets that of the first tool.
function calls(tools) {
  const { toolCalls } = JSON.parse(MCP_CONFORMANCE_CONTEXT ?? '{}')
  return toolCalls ?? tools.map(({ name, inputSchema }) => ({ name, arguments: some(inputSchema, tools[0].inputSchema) }))
}

function some({ properties = {} }, schema) {
  const values = { string: 'a', integer: 1, number: 1, boolean: true, array: [], object: schema, null: null }
  return Object.fromEntries(Object.entries(properties).map(([name, { type }]) => [name, values[type]]))
}

const client = await { first, second }[sdk](new URL(INTEROP_GATEWAY ?? server))
const { resources, prompts } = client.getServerCapabilities() ?? {}
// Some scenarios have tools and do not say so.
const listed = (await say('tools', () => client.listTools()))?.tools ?? []
for (const call of calls(listed)) await say(call.name, () => client.callTool(call))
if (resources) {
  const found = await say('resources', () => client.listResources())
  for (const { uri } of found.resources) await say(uri, () => client.readResource({ uri }))
}
if (prompts) {
  const found = await say('prompts', () => client.listPrompts())
  for (const { name } of found.prompts) await say(name, () => client.getPrompt({ name }))
}
await client.close()

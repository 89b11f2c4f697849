// Official typescript clients, unchanged, in both generations. Prints what each got as json.
//
// usage: client.mjs URL [HEADER-FILE]    (see header_file.mjs)
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import { Client as FirstClient } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport as FirstTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { ElicitRequestSchema } from '@modelcontextprotocol/sdk/types.js'
import { headersOf } from './header_file.mjs'

const [url, file] = process.argv.slice(2)
const ME = { name: 'mandate-interop', version: '1.0.0' }
const capabilities = { elicitation: {} }
const answer = () => ({ action: 'accept', content: { username: 'alice', email: 'alice@acme.example' } })

// The headers are of each request, not of the client: tokens live minutes.
const fetchWithHeaders = (url, init) => {
  const headers = new Headers(init?.headers)
  for (const [name, value] of headersOf(file)) headers.set(name, value)
  return fetch(url, { ...init, headers })
}

async function drive(client, transport) {
  try {
    await client.connect(transport)
  } catch (error) {
    return { connect: failed(error) }
  }
  const said = {
    revision: client.getNegotiatedProtocolVersion?.() ?? transport.protocolVersion,
    session: transport.sessionId !== undefined,
    tools: await tried(async () => (await client.listTools()).tools.map(({ name }) => name)),
    call: await tried(() => client.callTool({ name: 'test_simple_text', arguments: {} })),
    asked: await tried(() => client.callTool({ name: 'test_elicitation', arguments: { message: 'Who are you?' } })),
    read: await tried(() => client.readResource({ uri: 'test://static-text' })),
    prompt: await tried(() => client.getPrompt({ name: 'test_prompt_with_arguments', arguments: { arg1: 'a', arg2: 'b' } })),
  }
  if (transport.sessionId !== undefined) await tried(() => transport.terminateSession())
  await client.close()
  return said
}

async function tried(work) {
  try {
    return await work()
  } catch (error) {
    return failed(error)
  }
}

const failed = (error) => ({ error: error.name, code: error.code, message: error.message })

function second(mode) {
  const client = new Client(ME, { capabilities, versionNegotiation: { mode } })
  client.setRequestHandler('elicitation/create', answer)
  return drive(client, new StreamableHTTPClientTransport(new URL(url), { fetch: fetchWithHeaders }))
}

function first() {
  const client = new FirstClient(ME, { capabilities })
  client.setRequestHandler(ElicitRequestSchema, answer)
  return drive(client, new FirstTransport(new URL(url), { fetch: fetchWithHeaders }))
}

const said = {
  'client 2.4.0, 2026-07-28': await second({ pin: '2026-07-28' }),
  'client 2.4.0, auto': await second('auto'),
  'client 2.4.0, 2025-11-25': await second('legacy'),
  'sdk 1.32.2': await first(),
}
console.log(JSON.stringify(said, null, 1))

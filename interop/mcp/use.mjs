// The official typescript clients, unchanged, at any server: what tools they see, and what calls of them give. Calls are a
// json list of `{name, arguments, _meta}` on standard input; prints for each client what it got.
//
// usage: use.mjs URL [HEADER-FILE]    (see header_file.mjs)
import { text } from 'node:stream/consumers'
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import { Client as FirstClient } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport as FirstTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { headersOf } from './header_file.mjs'

const [url, file] = process.argv.slice(2)
const ME = { name: 'mandate-interop', version: '1.0.0' }
const calls = JSON.parse(await text(process.stdin))
const options = {
  fetch(url, init) {
    const headers = new Headers(init?.headers)
    for (const [name, value] of headersOf(file)) headers.set(name, value)
    return fetch(url, { ...init, headers })
  },
}

async function use(client, transport) {
  await client.connect(transport)
  const { tools } = await client.listTools()
  const results = []
  for (const call of calls) results.push(await tried(() => client.callTool(call)))
  if (transport.sessionId !== undefined) await transport.terminateSession()
  await client.close()
  return { tools: tools.map(({ name }) => name), results }
}

async function tried(work) {
  try {
    return await work()
  } catch (error) {
    return { error: error.name, code: error.code, message: error.message }
  }
}

const second = new Client(ME, { versionNegotiation: { mode: 'auto' } })
const said = {
  'client 2.4.0': await use(second, new StreamableHTTPClientTransport(new URL(url), options)),
  'sdk 1.32.2': await use(new FirstClient(ME), new FirstTransport(new URL(url), options)),
}
console.log(JSON.stringify(said))

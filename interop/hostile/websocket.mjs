// A WebSocket of another make through the gateway: it carries messages both ways, with the gateway's credential, and a
// suspension cuts it.
//
// usage: websocket.mjs PORT GATEWAY TOKEN-FILE COMMAND… (what suspends)
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import assert from 'node:assert/strict'
import { WebSocket, WebSocketServer } from 'ws'

const [port, gateway, tokenFile, ...suspend] = process.argv.slice(2)
const token = readFileSync(tokenFile, 'utf8').trim()

const server = new WebSocketServer({ host: '127.0.0.1', port: Number(port) })
const asked = []
server.on('connection', (socket, request) => {
  asked.push(request)
  socket.on('message', (message) => socket.send(`you said ${message}`))
})
await once(server, 'listening')

const client = new WebSocket(`ws://${gateway}/records/live/acme`, 'chat', {
  headers: { authorization: `Bearer ${token}` },
})
await once(client, 'open')
for (const text of ['hello', 'x'.repeat(100_000)]) {
  client.send(text)
  const [answer] = await once(client, 'message')
  assert.equal(answer.toString(), `you said ${text}`)
}
const { headers, url } = asked[0]
assert.equal(url, '/live/acme')
assert.ok(headers.authorization.startsWith('Bearer ') && !headers.authorization.includes(token))
assert.equal(headers['sec-websocket-extensions'], undefined)

const closed = once(client, 'close')
client.on('error', () => {})
const [command, ...rest] = suspend
const [status] = await once(spawn(command, rest, { stdio: ['ignore', 'ignore', 'inherit'] }), 'exit')
assert.equal(status, 0)
assert.equal((await closed)[0], 1006)
server.close()
server.clients.forEach((socket) => socket.terminate())
console.log('ws: messages both ways through the gateway, and a suspension cut them')

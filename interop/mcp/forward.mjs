// A proxy that passes on all as it comes: bodies and events without waiting for more, and an end on one side to the other.
import { createServer, request as send } from 'node:http'
import { pipeline } from 'node:stream'

// These are of one connection (RFC 9110 §7.6.1); node frames the next one itself.
const HOP_BY_HOP = new Set(['connection', 'keep-alive', 'proxy-connection', 'te', 'trailer', 'upgrade'])

// `route` says of a request to which `url` it goes, at which `path` of it, and with which `headers` as a flat list.
export function serve(route, { port = 0, path }) {
  const proxy = createServer((incoming, outgoing) => {
    try {
      forward(incoming, outgoing, route(incoming, proxy.address().port))
    } catch (error) {
      fail(outgoing, error)
    }
  })
  proxy.listen(port, '127.0.0.1', () => {
    console.log(`listening on http://127.0.0.1:${proxy.address().port}${path}`)
  })
  process.on('SIGTERM', () => process.exit(0))
}

function forward(incoming, outgoing, { url: { hostname, port }, path, headers }) {
  const upstream = send({ hostname, port, path, method: incoming.method, headers, agent: false })
  upstream.on('error', (error) => fail(outgoing, error))
  upstream.on('response', (answer) => {
    outgoing.sendDate = false
    outgoing.writeHead(answer.statusCode, answer.statusMessage, kept(answer.rawHeaders, new Set(['transfer-encoding'])))
    // Else an event stream is not open for its reader before its first event.
    outgoing.flushHeaders()
    pipeline(answer, outgoing, () => {})
  })
  outgoing.on('close', () => upstream.destroy())
  pipeline(incoming, upstream, () => {})
}

export function kept(raw, dropped) {
  const pairs = raw.flatMap((name, index) => (index % 2 === 0 ? [[name, raw[index + 1]]] : []))
  return pairs.filter(([name]) => !HOP_BY_HOP.has(name.toLowerCase()) && !dropped.has(name.toLowerCase())).flat()
}

function fail(outgoing, error) {
  if (outgoing.headersSent) return outgoing.destroy()
  outgoing.writeHead(502, { 'content-type': 'text/plain' }).end(`${error.message}\n`)
}

// Adds headers to each request on its way to a url, since the conformance suite cannot. Passes on all else as it comes:
// bodies and events without waiting for more, and an end on one side to the other.
//
// usage: headers.mjs URL HEADER-FILE [PORT]    (see header_file.mjs)
import { createServer, request as send } from 'node:http'
import { pipeline } from 'node:stream'
import { headersOf } from './header_file.mjs'

// These are of one connection (RFC 9110 §7.6.1); node frames the next one itself.
const HOP_BY_HOP = new Set(['connection', 'keep-alive', 'proxy-connection', 'te', 'trailer', 'upgrade'])
const [url, file, port] = process.argv.slice(2)
const target = new URL(url)

const proxy = createServer((incoming, outgoing) => {
  try {
    forward(incoming, outgoing)
  } catch (error) {
    fail(outgoing, error)
  }
})

function forward(incoming, outgoing) {
  const { hostname, port } = target
  const { method, url: path } = incoming
  const upstream = send({ hostname, port, method, path, headers: requestHeaders(incoming), agent: false })
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

function requestHeaders(incoming) {
  const added = headersOf(file)
  const replaced = new Set(added.map(([name]) => name.toLowerCase()))
  return [...kept(incoming.rawHeaders, replaced).map(readdressed), ...added.flat()]
}

// Who names this proxy means the target. Any other host or origin goes on as it is: the target must refuse it.
function readdressed(text, index, flat) {
  if (index % 2 === 0 || !['host', 'origin'].includes(flat[index - 1].toLowerCase())) return text
  const { port } = proxy.address()
  return text.replace(new RegExp(`^(http://)?(127\\.0\\.0\\.1|localhost):${port}$`), `$1${target.host}`)
}

function kept(raw, dropped) {
  const pairs = raw.flatMap((name, index) => (index % 2 === 0 ? [[name, raw[index + 1]]] : []))
  return pairs.filter(([name]) => !HOP_BY_HOP.has(name.toLowerCase()) && !dropped.has(name.toLowerCase())).flat()
}

function fail(outgoing, error) {
  if (outgoing.headersSent) return outgoing.destroy()
  outgoing.writeHead(502, { 'content-type': 'text/plain' }).end(`${error.message}\n`)
}

proxy.listen(Number(port ?? 0), '127.0.0.1', () => {
  console.log(`listening on http://127.0.0.1:${proxy.address().port}${target.pathname}`)
})
process.on('SIGTERM', () => process.exit(0))

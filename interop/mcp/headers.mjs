// Adds headers to each request on its way to a url, since the conformance suite cannot.
//
// usage: headers.mjs URL HEADER-FILE [PORT]    (see header_file.mjs)
import { kept, serve } from './forward.mjs'
import { headersOf } from './header_file.mjs'

const [given, file, port] = process.argv.slice(2)
const target = new URL(given)

function route(incoming, ours) {
  const added = headersOf(file)
  const replaced = new Set(added.map(([name]) => name.toLowerCase()))
  const headers = kept(incoming.rawHeaders, replaced).map((text, index, flat) => readdressed(text, flat[index - 1], ours))
  return { url: target, path: incoming.url, headers: [...headers, ...added.flat()] }
}

// Who names this proxy means the target. Any other host or origin goes on as it is: the target must refuse it.
function readdressed(text, name, ours) {
  if (!/^(host|origin)$/i.test(name ?? '')) return text
  return text.replace(new RegExp(`^(http://)?(127\\.0\\.0\\.1|localhost):${ours}$`), `$1${target.host}`)
}

serve(route, { port: Number(port ?? 0), path: target.pathname })

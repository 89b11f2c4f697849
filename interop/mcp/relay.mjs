// An upstream at one address for servers that choose their port when they start: the header `Interop-Upstream` of each
// request says which of them it is for.
//
// usage: relay.mjs
import { kept, serve } from './forward.mjs'

const NAMED = 'interop-upstream'

function route(incoming) {
  const url = new URL(incoming.headers[NAMED])
  if (!['localhost', '127.0.0.1'].includes(url.hostname)) throw new Error(`${url.hostname} is not this machine`)
  return { url, path: url.pathname, headers: ['Host', url.host, ...kept(incoming.rawHeaders, new Set(['host', NAMED]))] }
}

serve(route, { path: '/mcp' })

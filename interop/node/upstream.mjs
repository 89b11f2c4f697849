// The server workload: knows nothing of Mandate, wants an API key, says where it listens.
import { createServer } from 'node:http'

const server = createServer((request, response) => {
  const known = request.headers.authorization === `Bearer ${process.env.RECORDS_KEY}`
  const customer = /^\/customers\/(\w+)$/.exec(request.url)?.[1]
  response.statusCode = known && customer ? 200 : 403
  response.setHeader('content-type', 'application/json')
  response.end(JSON.stringify({ customer, key: known ? 'the gateway injected it' : 'missing' }))
})
server.listen(0, '127.0.0.1', () => console.log(`127.0.0.1:${server.address().port}`))

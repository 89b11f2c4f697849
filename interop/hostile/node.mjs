// An upstream that says what it got: one line of JSON per request, when its body has come to its end.
import { appendFileSync } from 'node:fs'
import { createServer } from 'node:http'

const [port, log] = process.argv.slice(2)
const server = createServer({ maxHeaderSize: 64 * 1024 }, (request, response) => {
  let body = 0
  request.on('data', (chunk) => (body += chunk.length))
  request.on('end', () => {
    const seen = { method: request.method, target: request.url, length: body, status: 200 }
    appendFileSync(log, JSON.stringify(seen) + '\n')
    response.end('the record of acme')
  })
})
server.listen(Number(port), '127.0.0.1')

// Loaded before a server that listens wherever anybody reaches it, on the port that it likes: keeps it to this machine, on a
// free port, and says where that is. The server itself is unchanged.
//
// usage: node --import ./loopback.mjs SERVER
import { Server } from 'node:net'

const listen = Server.prototype.listen
Server.prototype.listen = function (...given) {
  this.once('listening', () => console.log(`listening on http://127.0.0.1:${this.address().port}/mcp`))
  return listen.call(this, { host: '127.0.0.1', port: 0 }, given.find((argument) => typeof argument === 'function'))
}

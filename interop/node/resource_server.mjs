// A resource server that follows RFC 9068 to the letter: oauth4webapi validates the request that carries the token.
import assert from 'node:assert/strict'
import * as oauth from 'oauth4webapi'
import { endpoints, token, RESOURCE } from './world.mjs'

const issuer = new URL(endpoints.issuer)
const insecure = { [oauth.allowInsecureRequests]: true } // loopback without TLS
const response = await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...insecure })
const server = await oauth.processDiscoveryResponse(issuer, response)

const claims = await oauth.validateJwtAccessToken(server, request('access'), RESOURCE, insecure)
assert.equal(claims.sub, 'user:login:alice')
assert.equal(claims.scope, 'records:read')
await assert.rejects(oauth.validateJwtAccessToken(server, request('task'), RESOURCE, insecure))
await assert.rejects(oauth.validateJwtAccessToken(server, request('access'), 'https://other.example', insecure))
console.log('oauth4webapi: the access token is one by RFC 9068, and a task token is none')

function request(name) {
  return new Request(`${RESOURCE}/customers/acme`, { headers: { authorization: `Bearer ${token(name)}` } })
}

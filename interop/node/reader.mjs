// What a resource server in another language does with our access token: jose verifies it against the published keys.
import assert from 'node:assert/strict'
import { createRemoteJWKSet, errors, jwtVerify } from 'jose'
import { endpoints, token, RESOURCE } from './world.mjs'

const metadata = await (await fetch(`${endpoints.issuer}/.well-known/oauth-authorization-server`)).json()
const keys = createRemoteJWKSet(new URL(metadata.jwks_uri))
const svidKeys = createRemoteJWKSet(new URL(metadata.spiffe_bundle_endpoint))
const rules = { issuer: endpoints.issuer, audience: RESOURCE, typ: 'at+jwt', algorithms: ['ES256'] }

const { payload, protectedHeader } = await jwtVerify(token('access'), keys, rules)
assert.ok(protectedHeader.kid)
assert.equal(payload.sub, 'user:login:alice')
assert.equal(payload.client_id, payload.act.sub, 'the acting agent is the outermost actor')
assert.equal(payload.act.act.sub, `spiffe://${endpoints.trust_domain}/agent/orchestrator`)
assert.equal(payload.task.path.length, 2)

// Each fails by one detail.
const fails = (given, keySet, changed, code) =>
  assert.rejects(jwtVerify(given, keySet, { ...rules, ...changed }), (error) => error.code === code)
await fails(token('access'), keys, { audience: 'https://other.example' }, errors.JWTClaimValidationFailed.code)
await fails(token('task'), keys, {}, errors.JWTClaimValidationFailed.code)
await fails(token('access'), svidKeys, {}, errors.JWKSNoMatchingKey.code)
console.log('jose: the access token verifies against the remote key set, and other tokens do not pass for it')

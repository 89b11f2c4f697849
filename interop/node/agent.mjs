// An OAuth client in another language, unchanged: openid-client runs open, delegate and access, calls the server
// workload through the gateway, introspects and revokes.
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import * as oauth from 'openid-client'
import { endpoints, login, folder, RESOURCE } from './world.mjs'

const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'
const TYPE = 'urn:ietf:params:oauth:token-type:'
const DOMAIN = `spiffe://${endpoints.trust_domain}`

const orchestrator = await client('orchestrator', 'oidc')
const retriever = await client('retriever', 'oauth2')
const idToken = await login('alice', { groups: ['support'], tenant: 'acme' })

const root = await orchestrator.exchange({
  subject_token: idToken,
  subject_token_type: `${TYPE}id_token`,
  requested_token_type: `${TYPE}txn_token`,
  audience: DOMAIN,
  request_details: JSON.stringify({ purpose: 'support-case', expires_in: 300 }),
})
assert.equal(root.token_type, 'n_a', 'a task token is no access token (RFC 8693 §2.2.1)')
assert.equal(root.issued_token_type, `${TYPE}txn_token`)
assert.equal(root.scope, 'records:read')
assert.deepEqual(root.authorization_details[0].constraints, { customer: { in: ['acme'] } })

const delegation = {
  subject_token: root.access_token,
  subject_token_type: `${TYPE}txn_token`,
  requested_token_type: `${TYPE}txn_token`,
  audience: DOMAIN,
  requested_actor: `${DOMAIN}/agent/retriever`,
}
const child = await orchestrator.exchange({ ...delegation, authorization_details: mandate('acme') })
await assert.rejects(
  orchestrator.exchange({ ...delegation, authorization_details: mandate('globex') }),
  refusal('invalid_authorization_details'),
  'a wider mandate is an error that the client reads as one',
)

const access = await retriever.exchange({
  subject_token: child.access_token,
  subject_token_type: `${TYPE}txn_token`,
  resource: RESOURCE,
})
assert.equal(access.token_type, 'bearer')
assert.equal(access.issued_token_type, `${TYPE}access_token`)
assert.ok(access.expiresIn() > 0 && access.expiresIn() <= 120)

const url = new URL(`http://${endpoints.gateway}/records/customers/acme`)
const answer = await oauth.fetchProtectedResource(retriever.config, access.access_token, url, 'GET')
assert.equal(answer.status, 200)
assert.deepEqual(await answer.json(), { customer: 'acme', key: 'the gateway injected it' })

// Kept for the libraries that read tokens. The one that is revoked below is another.
keep('access', access.access_token)
keep('task', child.access_token)
await revoke()
console.log('openid-client: discovery, open, delegate, access, gateway, introspection, revocation')

async function revoke() {
  const another = await retriever.exchange({
    subject_token: child.access_token,
    subject_token_type: `${TYPE}txn_token`,
    resource: RESOURCE,
  })
  const before = await oauth.tokenIntrospection(retriever.config, another.access_token)
  assert.equal(before.active, true)
  assert.equal(before.client_id, `${DOMAIN}/agent/retriever`)
  await oauth.tokenRevocation(retriever.config, another.access_token)
  const after = await oauth.tokenIntrospection(retriever.config, another.access_token)
  assert.deepEqual(after, { active: false })
}

function mandate(customer) {
  return JSON.stringify([
    { type: 'mandate_access', server: 'records', actions: ['read'], constraints: { customer: { in: [customer] } } },
  ])
}

function refusal(code) {
  return (error) => error instanceof oauth.ResponseBodyError && error.error === code
}

// A configured client. Its authentication is the library's own hook for methods that it does not know.
async function client(agent, algorithm) {
  const svid = readFileSync(`${folder}/${agent}.svid`, 'utf8').trim()
  const jwtSpiffe = (_as, _client, body, _headers) => {
    body.set('client_assertion_type', 'urn:ietf:params:oauth:client-assertion-type:jwt-spiffe')
    body.set('client_assertion', svid)
  }
  const id = `${DOMAIN}/agent/${agent}`
  const config = await oauth.discovery(new URL(endpoints.issuer), id, undefined, jwtSpiffe, {
    algorithm,
    execute: [oauth.allowInsecureRequests], // loopback without TLS
  })
  assert.equal(config.serverMetadata().issuer, endpoints.issuer)
  return { config, exchange: (parameters) => oauth.genericGrantRequest(config, EXCHANGE, parameters) }
}

function keep(name, token) {
  writeFileSync(`${folder}/${name}.jwt`, token, { mode: 0o600 })
}

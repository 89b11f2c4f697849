// DPoP (RFC 9449) with unchanged libraries: oauth4webapi attests, openid-client goes on from there to the gateway.
// Runs as the agent itself: the kernel vouches for this process at the agents' socket.
import assert from 'node:assert/strict'
import { createHash, randomUUID } from 'node:crypto'
import { request as send } from 'node:http'
import { SignJWT, exportJWK } from 'jose'
import * as bare from 'oauth4webapi'
import * as oauth from 'openid-client'
import { endpoints, RESOURCE } from './world.mjs'

const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'
const TYPE = 'urn:ietf:params:oauth:token-type:'
const DOMAIN = `spiffe://${endpoints.trust_domain}`
const AGENT = `${DOMAIN}/agent/prover`
const URL_OF_ACME = new URL(`http://${endpoints.gateway}/records/customers/acme`)
const insecure = { [bare.allowInsecureRequests]: true } // loopback without TLS

const keys = await bare.generateKeyPair('ES256')
const issuer = new URL(endpoints.issuer)
const found = await bare.discoveryRequest(issuer, { algorithm: 'oauth2', ...insecure })
const server = await bare.processDiscoveryResponse(issuer, found)
assert.ok(server.dpop_signing_alg_values_supported.includes('ES256'))

const svid = await attest()
const config = await client(svid)
const handle = oauth.getDPoPHandle(config, keys)
const exchange = (parameters) => oauth.genericGrantRequest(config, EXCHANGE, parameters, { DPoP: handle })

const task = await exchange({
  subject_token: svid,
  subject_token_type: `${TYPE}jwt`,
  requested_token_type: `${TYPE}txn_token`,
  audience: DOMAIN,
  request_details: JSON.stringify({ purpose: 'nightly', trigger: { kind: 'schedule', name: 'nightly' } }),
})
const access = await exchange({
  subject_token: task.access_token,
  subject_token_type: `${TYPE}txn_token`,
  resource: RESOURCE,
})
assert.equal(access.token_type, 'dpop')
const bound = JSON.parse(Buffer.from(access.access_token.split('.')[1], 'base64url')).cnf.jkt
assert.equal(bound, await handle.calculateThumbprint())

// The library meets the gateway's nonce by itself.
const answer = await oauth.fetchProtectedResource(config, access.access_token, URL_OF_ACME, 'GET', null, undefined, {
  DPoP: handle,
})
assert.equal(answer.status, 200)
assert.deepEqual(await answer.json(), { customer: 'acme', key: 'the gateway injected it' })

await bringsIdentityAndTask()
await refusesTheTokenAlone()
await refusesAProofTwice()
await refusesAnotherKey()
await validatesAsAResourceServer()
console.log('openid-client, oauth4webapi: DPoP from attestation to the gateway, nonces, replay, another key')
console.log('jose, fetch: a gateway exchanges for an agent that brings its JWT-SVID and its task token')

// The gateway exchanges. No library makes proofs with `tth` yet, so `jose` signs what docs/tokens.md says.
async function bringsIdentityAndTask() {
  const own = await attest(`${DOMAIN}/mandate/gateway`)
  const jwk = await exportJWK(keys.publicKey)
  const hash = (token) => createHash('sha256').update(token).digest('base64url')
  let nonce
  const ask = async (tth) => {
    const claims = { jti: randomUUID(), htm: 'GET', htu: URL_OF_ACME.href, ath: hash(own), tth, nonce }
    const header = { alg: 'ES256', typ: 'dpop+jwt', jwk }
    const proof = await new SignJWT(claims).setProtectedHeader(header).setIssuedAt().sign(keys.privateKey)
    const headers = { authorization: `DPoP ${own}`, dpop: proof, 'txn-token': task.access_token }
    const answer = await fetch(URL_OF_ACME, { headers })
    nonce = answer.headers.get('dpop-nonce')
    return answer
  }
  const tth = hash(task.access_token)
  const first = await ask(tth)
  assert.match(first.headers.get('www-authenticate'), /^DPoP error="use_dpop_nonce"/)
  const answer = await ask(tth)
  assert.equal(answer.status, 200)
  assert.deepEqual(await answer.json(), { customer: 'acme', key: 'the gateway injected it' })
  const without = await ask(undefined)
  assert.equal(without.status, 401)
  assert.match(without.headers.get('www-authenticate'), /^DPoP error="invalid_dpop_proof"/)
}

async function refusesTheTokenAlone() {
  const answer = await fetch(URL_OF_ACME, { headers: { authorization: `Bearer ${access.access_token}` } })
  assert.equal(answer.status, 401)
  assert.match(answer.headers.get('www-authenticate'), /^DPoP error="invalid_token"/)
  await assert.rejects(
    oauth.genericGrantRequest(config, EXCHANGE, {
      subject_token: task.access_token,
      subject_token_type: `${TYPE}txn_token`,
      resource: RESOURCE,
    }),
    (error) => error.error === 'invalid_dpop_proof',
  )
}

async function refusesAProofTwice() {
  let sent
  const recording = {
    DPoP: bare.DPoP({ client_id: AGENT }, keys),
    ...insecure,
    [bare.customFetch]: (url, options) => {
      sent = options.headers
      return fetch(url, options)
    },
  }
  const ask = () => bare.protectedResourceRequest(access.access_token, 'GET', URL_OF_ACME, undefined, null, recording)
  const first = await ask().catch((error) => {
    assert.ok(bare.isDPoPNonceError(error), 'the gateway asks for its nonce in the words that the library knows')
    return ask()
  })
  assert.equal(first.status, 200)
  const again = await fetch(URL_OF_ACME, { headers: sent })
  assert.equal(again.status, 401)
  assert.match(again.headers.get('www-authenticate'), /^DPoP error="invalid_dpop_proof"/)
}

async function refusesAnotherKey() {
  const thief = oauth.getDPoPHandle(config, await bare.generateKeyPair('ES256'))
  const stolen = oauth.fetchProtectedResource(config, access.access_token, URL_OF_ACME, 'GET', null, undefined, {
    DPoP: thief,
  })
  await assert.rejects(stolen, (error) => error.cause.some((challenge) => challenge.parameters.error === 'invalid_token'))
}

// What a resource server that is not Mandate's gateway makes of the token.
async function validatesAsAResourceServer() {
  const place = new URL(`${RESOURCE}/customers/acme`)
  let request
  const capture = {
    DPoP: bare.DPoP({ client_id: AGENT }, keys),
    [bare.customFetch]: (url, options) => {
      request = new Request(url, { method: options.method, headers: options.headers })
      return new Response()
    },
  }
  await bare.protectedResourceRequest(access.access_token, 'GET', place, undefined, null, capture)
  const claims = await bare.validateJwtAccessToken(server, request, RESOURCE, { requireDPoP: true, ...insecure })
  assert.equal(claims.client_id, AGENT)
}

// Attestation: the evidence is the connection, so it goes over the agents' socket. The proof is for the issuer's
// address all the same.
async function attest(audience) {
  const client = { client_id: AGENT }
  const options = { DPoP: bare.DPoP(client, keys), ...insecure, [bare.customFetch]: overTheSocket }
  const ask = () =>
    bare.genericTokenEndpointRequest(server, client, noAuthentication, EXCHANGE, evidence(audience), options)
  const answer = await ask()
  const process = (answer) =>
    bare.processGenericTokenEndpointResponse(server, client, answer, { recognizedTokenTypes: { n_a: () => {} } })
  const issued = await process(answer).catch(async (error) => {
    assert.ok(bare.isDPoPNonceError(error), 'the authority asks for its nonce in the words that the library knows')
    return process(await ask())
  })
  return issued.access_token
}

function evidence(audience) {
  const parameters = { subject_token: 'process', subject_token_type: 'urn:mandate:token-type:process' }
  return new URLSearchParams(audience ? { ...parameters, audience } : parameters)
}

function noAuthentication() {}

function overTheSocket(url, options) {
  const socketPath = `${process.env.MANDATE_DATA}/run/agent.sock`
  const { method, headers, body } = options
  return new Promise((resolve, reject) => {
    const path = new URL(url).pathname
    const outgoing = send({ socketPath, path, method, headers: Object.fromEntries(new Headers(headers)) }, (incoming) => {
      const chunks = []
      incoming.on('data', (chunk) => chunks.push(chunk))
      incoming.on('end', () => {
        const { statusCode: status, headers } = incoming
        resolve(new Response(Buffer.concat(chunks), { status, headers }))
      })
    })
    outgoing.on('error', reject)
    outgoing.end(body?.toString())
  })
}

async function client(svid) {
  const jwtSpiffe = (_as, _client, body, _headers) => {
    body.set('client_assertion_type', 'urn:ietf:params:oauth:client-assertion-type:jwt-spiffe')
    body.set('client_assertion', svid)
  }
  return oauth.discovery(issuer, AGENT, undefined, jwtSpiffe, {
    algorithm: 'oauth2',
    execute: [oauth.allowInsecureRequests], // loopback without TLS
  })
}

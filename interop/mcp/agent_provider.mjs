// How an agent (`mandate exec`) authenticates, in the form in which both official typescript clients ask an application:
// grant and client authentication of the exchange `access`, and a key where the agent has one.
import { readFileSync } from 'node:fs'
import { request as send } from 'node:http'

const { MANDATE_SPIFFE_ID, MANDATE_SVID_FILE, MANDATE_TOKEN_FILE, MANDATE_PROOF_SOCKET } = process.env
const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'
const JWT_SPIFFE = 'urn:ietf:params:oauth:client-assertion-type:jwt-spiffe'
const TASK_TOKEN = 'urn:ietf:params:oauth:token-type:txn_token'
const secret = (file) => readFileSync(file, 'utf8').trim()

export const bound = () => MANDATE_PROOF_SOCKET !== undefined
export const svid = () => secret(MANDATE_SVID_FILE)

export class AgentProvider {
  exchanges = 0
  redirectUrl = undefined
  clientMetadata = { redirect_uris: [] }

  clientInformation = () => ({ client_id: MANDATE_SPIFFE_ID })
  tokens = () => this.held
  saveTokens = (tokens) => {
    this.held = tokens
  }

  prepareTokenRequest = () => {
    this.exchanges += 1
    const subject = { subject_token: secret(MANDATE_TOKEN_FILE), subject_token_type: TASK_TOKEN }
    return new URLSearchParams({ grant_type: EXCHANGE, ...subject })
  }

  addClientAuthentication = (_headers, parameters) => {
    parameters.set('client_assertion_type', JWT_SPIFFE)
    parameters.set('client_assertion', svid())
  }

  dpop = () => (bound() ? this.session : undefined)

  // The key is `mandate exec`'s, which signs.
  session = {
    nonces: new Map(),
    observeNonce(response, url) {
      const nonce = response.headers.get('dpop-nonce')
      if (nonce) this.nonces.set(new URL(url).origin, nonce)
    },
    buildProof({ htm, htu, accessToken, nonce }) {
      const given = nonce ?? this.nonces.get(new URL(htu).origin)
      return proof({ method: htm, url: String(htu), access_token: accessToken, nonce: given })
    },
  }
}

function proof(request) {
  return new Promise((resolve, reject) => {
    const headers = { host: 'exec', 'content-type': 'application/json' }
    const options = { socketPath: MANDATE_PROOF_SOCKET, path: '/proof', method: 'POST', headers }
    const outgoing = send(options, async (answer) => {
      const parts = []
      for await (const part of answer) parts.push(part)
      const text = Buffer.concat(parts).toString()
      if (answer.statusCode === 200) resolve(JSON.parse(text).proof)
      else reject(new Error(text))
    })
    outgoing.on('error', reject)
    outgoing.end(JSON.stringify(request))
  })
}

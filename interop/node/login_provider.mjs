// A certified OpenID provider, as operators of a house have one: a public client for `mandate login`, with the code
// and the device flow. Says its issuer on the first line. Whoever logs in is who they say: it is for tests alone.
import { createServer } from 'node:http'
import Provider from 'oidc-provider'

const server = createServer()
await new Promise((ready) => server.listen(0, '127.0.0.1', ready))
const issuer = `http://127.0.0.1:${server.address().port}`

const provider = new Provider(issuer, {
  clients: [{
    client_id: 'mandate-cli',
    application_type: 'native',
    token_endpoint_auth_method: 'none',
    redirect_uris: ['http://127.0.0.1/callback'],
    grant_types: ['authorization_code', 'urn:ietf:params:oauth:grant-type:device_code'],
    response_types: ['code'],
  }, {
    // Its device grant puts no nonce into the ID token: a client of its own, for a trust provider that says so.
    client_id: 'mandate-device',
    application_type: 'native',
    token_endpoint_auth_method: 'none',
    redirect_uris: [],
    grant_types: ['urn:ietf:params:oauth:grant-type:device_code'],
    response_types: [],
  }],
  claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['groups'] },
  // Claims of a scope come in the ID token, as `Operator` documents need them.
  conformIdTokenClaims: false,
  features: { deviceFlow: { enabled: true }, devInteractions: { enabled: true } },
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({ sub: id, groups: ['sre'], email: `${id}@interop.example`, email_verified: true }),
  }),
})
server.on('request', provider.callback())
console.log(issuer)

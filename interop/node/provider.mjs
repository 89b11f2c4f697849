// A certified OpenID provider (oidc-provider) that gives its clients tokens in the shapes that platforms document:
// one client for each file line of SHAPES. Only issuer, audience and times are its own.
import { generateKeyPairSync } from 'node:crypto'
import { createServer } from 'node:http'
import { readFileSync } from 'node:fs'
import Provider from 'oidc-provider'

const shapes = JSON.parse(readFileSync(process.argv[2], 'utf8'))
const audience = 'https://mandate.interop.example'

const server = createServer()
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`
  const provider = new Provider(issuer, {
    clients: Object.keys(shapes).map((name) => ({
      client_id: name,
      client_secret: `secret-of-${name}`,
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: [],
    })),
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => audience,
        getResourceServerInfo: () => ({ scope: '', audience, accessTokenFormat: 'jwt', accessTokenTTL: 300 }),
      },
    },
    jwks: { keys: [signingKey()] },
    formats: {
      customizers: {
        jwt(ctx, token, parts) {
          const shape = shapes[token.clientId]
          if (shape.typ) parts.header = { typ: shape.typ }
          // What a platform says of its workloads replaces what this provider says of its clients.
          Object.assign(parts.payload, shape.claims)
        },
      },
    },
  })
  provider.on('server_error', (ctx, error) => console.error(error))
  server.on('request', provider.callback())
  console.log(issuer)
})

function signingKey() {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  return { ...privateKey.export({ format: 'jwk' }), kid: 'interop', alg: 'RS256', use: 'sig' }
}

// `mandate login` at a provider that is not ours, by a script in place of the browser, and what the session is good for.
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { promisify } from 'node:util'
import { endpoints, folder } from './world.mjs'

const run = promisify(execFile)
const mandate = process.env.MANDATE
const authority = `http://${endpoints.authority}`
const env = { ...process.env, MANDATE_AUTHORITY: authority, XDG_RUNTIME_DIR: `${folder}/runtime` }
const issuer = process.env.INTEROP_PROVIDER

// A browser without a screen: cookies, redirects, and the forms of the provider's own pages.
class Browser {
  cookies = new Map()

  async get(url) { return this.follow(url, { method: 'GET' }) }

  async submit(page, fields) {
    const action = /<form[^>]* action="([^"]+)"/.exec(page.text)[1].replaceAll('&amp;', '&')
    const inputs = [...page.text.matchAll(/<input[^>]*type="hidden"[^>]*>/g)].map(([tag]) => [
      /name="([^"]+)"/.exec(tag)[1], /value="([^"]*)"/.exec(tag)?.[1] ?? '',
    ])
    const body = new URLSearchParams([...inputs, ...Object.entries(fields)])
    return this.follow(new URL(action, page.url).href, { method: 'POST', body })
  }

  async follow(url, options) {
    for (let hops = 0; hops < 20; hops += 1) {
      const at = new URL(url)
      const cookie = [...this.cookies].map(([name, value]) => `${name}=${value}`).join('; ')
      // The loopback redirect is another host: it gets no cookies of the provider.
      const headers = at.origin === issuer ? { cookie } : {}
      const answer = await fetch(url, { ...options, headers, redirect: 'manual' })
      for (const line of answer.headers.getSetCookie()) {
        const [, name, value] = /^([^=]+)=([^;]*)/.exec(line)
        if (value) this.cookies.set(name, value)
        else this.cookies.delete(name)
      }
      const location = answer.headers.get('location')
      if (!location) return { url, status: answer.status, text: await answer.text() }
      url = new URL(location, url).href
      options = { method: 'GET' }
    }
    throw new Error('too many redirects')
  }

  // The provider's pages for tests: who one is, then that the client may know it.
  async prove(page, user) {
    const consent = await this.submit(page, { login: user, password: 'any' })
    return this.submit(consent, {})
  }
}

// Runs a login, hands what it says to `act`, and gives back how it ended.
async function login(args, pattern, act) {
  const child = spawn(mandate, ['login', '--output', 'json', ...args], { env })
  let said = ''
  let result = ''
  let acted
  child.stdout.on('data', (data) => { result += data })
  child.stderr.on('data', (data) => {
    said += data
    const found = pattern.exec(said)
    if (found && !acted) {
      acted = act(found)
      // A browser that fails comes back never: the command would wait for it.
      acted.catch(() => child.kill())
    }
  })
  const code = await new Promise((ended) => child.on('close', ended))
  await acted
  return { code, said, result: result && JSON.parse(result) }
}

async function status() {
  const { stdout } = await run(mandate, ['status', '--output', 'json'], { env })
  return JSON.parse(stdout)
}

const address = /^(http:\S+code_challenge\S+)$/m
const amy = await login(['--provider', 'staff'], address, async ([url]) => {
  const browser = new Browser()
  const port = new URL(new URL(url).searchParams.get('redirect_uri')).origin
  // Somebody else's answer, and one of another login, end nothing.
  const foreign = await fetch(`${port}/callback?code=x&state=y`)
  assert.equal(foreign.status, 400)
  const page = await browser.prove(await browser.get(url), 'amy')
  assert.equal(page.status, 200, page.text)
  assert.match(page.text, /close this page/)
})
assert.equal(amy.code, 0, amy.said)
assert.equal(amy.result.operator, 'amy')
const kept = readdirSync(`${folder}/runtime/mandate`)
assert.equal(kept.length, 1)
assert.equal(statSync(`${folder}/runtime/mandate/${kept[0]}`).mode & 0o777, 0o600)
assert.equal((await status()).operator, 'amy')

// Any operators' command over it: suspend and resume.
await run(mandate, ['suspend', 'agent', 'retriever', '--reason', 'INC-1'], { env })
const { stdout } = await run(mandate, ['suspensions', '--output', 'json'], { env })
assert.equal(JSON.parse(stdout).suspensions[0].operator, 'operator:amy')
await run(mandate, ['resume', 'agent', 'retriever', '--reason', 'mended'], { env })

// What was kept is no use after the session has ended.
const session = JSON.parse(readFileSync(`${folder}/runtime/mandate/${kept[0]}`, 'utf8')).session
await run(mandate, ['logout'], { env })
assert.equal(readdirSync(`${folder}/runtime/mandate`).length, 0)
const after = await fetch(`${authority}/operator/v1/status`, { headers: { authorization: `Bearer ${session}` } })
assert.equal(after.status, 401)
await assert.rejects(status())

// On another device (RFC 8628), as a person whom no declaration names, and as one whom one does.
const device = /go to (\S+) and enter (\S+)/
async function confirm(user, [, place, code]) {
  const browser = new Browser()
  const asked = await browser.submit(await browser.get(place), { user_code: code })
  const page = await browser.prove(await browser.submit(asked, {}), user)
  assert.equal(page.status, 200, page.text)
}
// A token that is bound to no server is not shown to one that wants it bound.
const unbound = await login(['--provider', 'staff', '--device'], device, (found) => confirm('amy', found))
assert.notEqual(unbound.code, 0)
assert.match(unbound.said, /without the login's nonce/)
const devices = ['--provider', 'devices', '--device']
const mallory = await login(devices, device, (found) => confirm('mallory', found))
assert.notEqual(mallory.code, 0)
assert.match(mallory.said, /operator\.none/)
const bob = await login(devices, device, (found) => confirm('bob', found))
assert.equal(bob.code, 0, bob.said)
assert.match(bob.said, /may be good at other servers too/)
assert.equal(bob.result.operator, 'bob')
assert.equal((await status()).operator, 'bob')
console.log('operators: code and device flow at oidc-provider, session, logout')

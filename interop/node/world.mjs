// Where the server is, and who is logged in. `run` sets MANDATE_DATA and INTEROP_FOLDER.
import { readFileSync } from 'node:fs'

export const folder = process.env.INTEROP_FOLDER
export const endpoints = JSON.parse(readFileSync(`${process.env.MANDATE_DATA}/run/endpoints.json`, 'utf8'))
export const RESOURCE = 'https://records.interop.example'

// An ID token of the test issuer that `mandate serve --dev` brings.
export async function login(user, claims) {
  const answer = await fetch(`http://${endpoints.dev_issuer}/login`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ user, claims }),
  })
  if (!answer.ok) throw new Error(`login: ${answer.status} ${await answer.text()}`)
  return (await answer.json()).id_token
}

export function token(name) {
  return readFileSync(`${folder}/${name}.jwt`, 'utf8').trim()
}

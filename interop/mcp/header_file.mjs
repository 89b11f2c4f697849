// Headers that a caller of the gateway adds: one `Name: value` a line, where `@FILE` as a word of the value is what that
// file says. Read again for each request, since tokens live minutes.
import { readFileSync } from 'node:fs'

export function headersOf(file) {
  if (file === undefined) return []
  const lines = readFileSync(file, 'utf8').split('\n').filter((line) => line.trim() !== '')
  return lines.map((line) => {
    const colon = line.indexOf(':')
    const value = line.slice(colon + 1).trim().split(' ').map(word)
    return [line.slice(0, colon).trim(), value.join(' ')]
  })
}

function word(word) {
  return word.startsWith('@') ? readFileSync(word.slice(1), 'utf8').trim() : word
}

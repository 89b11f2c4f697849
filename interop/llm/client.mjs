// The official SDKs for Node, unchanged. Prints what they got as JSON.
//
// usage: client.mjs OPENAI-URL ANTHROPIC-URL OPENAI-TOKEN ANTHROPIC-TOKEN bearer|key
import Anthropic from '@anthropic-ai/sdk'
import OpenAI from 'openai'

const [gpt, claude, gptToken, claudeToken, kind] = process.argv.slice(2)
const model = 'gpt-4.1'
const messages = [{ role: 'user', content: 'Hello' }]
const chat = new OpenAI({ baseURL: `${gpt}/v1`, apiKey: gptToken, maxRetries: 0 })
const how = kind === 'bearer' ? { authToken: claudeToken, apiKey: null } : { apiKey: claudeToken }
const anthropic = new Anthropic({ baseURL: claude, maxRetries: 0, ...how })
const prompt = { model: 'claude-sonnet-4-5', max_tokens: 16, messages }

const all = async (stream) => {
  const events = []
  for await (const event of await stream) events.push(event)
  return events
}
const said = {
  'chat': await chat.chat.completions.create({ model, messages }),
  'chat, streamed': await all(chat.chat.completions.create({ model, messages, stream: true, stream_options: { include_usage: true } })),
  'chat, streamed, without usage': await all(chat.chat.completions.create({ model, messages, stream: true })),
  'response': await chat.responses.create({ model, input: 'Hello' }),
  'response, streamed': await all(chat.responses.create({ model, input: 'Hello', stream: true })),
  'embeddings': await chat.embeddings.create({ model: 'text-embedding-3-small', input: 'Hello', encoding_format: 'float' }),
  'message': await anthropic.messages.create(prompt),
  'message, streamed': await anthropic.messages.stream(prompt).finalMessage(),
}
const refused = {}
const denied = async (name, call) => {
  try {
    await call()
  } catch (error) {
    if (error.status !== 403) throw error
    refused[name] = /mandate\.unfit/.exec(JSON.stringify([error.error, error.message]))?.[0]
  }
}
if (kind === 'bearer') {
  await denied('chat', () => chat.chat.completions.create({ model: 'gpt-5-pro', messages }))
  await denied('message', () => anthropic.messages.create({ ...prompt, model: 'claude-opus-4-5' }))
}
console.log(JSON.stringify({ said, refused }))

"""The official Python SDKs, unchanged. Prints what they got as JSON.

usage: client.py OPENAI-URL ANTHROPIC-URL OPENAI-TOKEN ANTHROPIC-TOKEN bearer|key
"""

import json
import sys

import anthropic
import openai

GPT, CLAUDE = "gpt-4.1", "claude-sonnet-4-5"
ASKED = [{"role": "user", "content": "Hello"}]


def plain(result):
    return result.model_dump(mode="json", exclude_none=True)


def main(gpt, claude, gpt_token, claude_token, kind):
    chat = openai.OpenAI(base_url=f"{gpt}/v1", api_key=gpt_token, max_retries=0)
    how = {"auth_token": claude_token} if kind == "bearer" else {"api_key": claude_token}
    messages = anthropic.Anthropic(base_url=claude, max_retries=0, **how)
    said = {"chat": plain(chat.chat.completions.create(model=GPT, messages=ASKED))}
    stream = chat.chat.completions.create(model=GPT, messages=ASKED, stream=True, stream_options={"include_usage": True})
    said["chat, streamed"] = [plain(chunk) for chunk in stream]
    said["chat, streamed, without usage"] = [plain(chunk) for chunk in chat.chat.completions.create(model=GPT, messages=ASKED, stream=True)]
    said["response"] = plain(chat.responses.create(model=GPT, input="Hello"))
    said["response, streamed"] = [plain(event) for event in chat.responses.create(model=GPT, input="Hello", stream=True)]
    said["embeddings"] = plain(chat.embeddings.create(model="text-embedding-3-small", input="Hello", encoding_format="float"))
    said["message"] = plain(messages.messages.create(model=CLAUDE, max_tokens=16, messages=ASKED))
    with messages.messages.stream(model=CLAUDE, max_tokens=16, messages=ASKED) as stream:
        said["message, streamed"] = plain(stream.get_final_message())
    refused = {}
    if kind == "bearer":
        for name, call in {
            "chat": lambda: chat.chat.completions.create(model="gpt-5-pro", messages=ASKED),
            "message": lambda: messages.messages.create(model="claude-opus-4-5", max_tokens=16, messages=ASKED),
        }.items():
            try:
                call()
            except (openai.PermissionDeniedError, anthropic.PermissionDeniedError) as denied:
                refused[name] = denied.response.json()["rule"]
    print(json.dumps({"said": said, "refused": refused}))


if __name__ == "__main__":
    main(*sys.argv[1:])

"""An upstream that says what it got: one line of JSON per request, when its body has come to its end."""

import json
import os


def application(environ, start_response):
    length = 0
    while chunk := environ["wsgi.input"].read(65536):
        length += len(chunk)
    # gunicorn ends a body that breaks off without an error. Werkzeug and Django count too.
    if length < int(environ.get("CONTENT_LENGTH") or 0):
        raise ConnectionError("the body broke off")
    seen = {
        "method": environ["REQUEST_METHOD"],
        "target": environ["RAW_URI"],
        "length": length,
        "status": 200,
    }
    with open(os.environ["SEEN_LOG"], "a", encoding="utf-8") as log:
        log.write(json.dumps(seen) + "\n")
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "18")])
    return [b"the record of acme"]

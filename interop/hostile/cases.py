"""The cases of vectors/http, as its README says: read, and sent."""

import dataclasses
import errno
import pathlib
import re
import socket
import struct

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "vectors" / "http"
# `limits.txt` is for a gateway with short limits, which this is not.
FILES = ["smuggling.txt", "targets.txt", "fields.txt", "bodies.txt", "upgrades.txt", "http2.txt"]
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PATIENCE = 30


@dataclasses.dataclass
class Case:
    name: str
    http2: bool = False
    sent: bytes = b""
    answers: list = dataclasses.field(default_factory=list)
    upstream: list = dataclasses.field(default_factory=list)
    maybe: bool = False
    # The fields of a HEADERS frame that is being read.
    open_frame: tuple = None
    streams: list = dataclasses.field(default_factory=list)

    def end_frame(self):
        if self.open_frame:
            stream, flags, fields = self.open_frame
            self.sent += frame(1, flags, stream, fields)
            self.open_frame = None


def read(file, token):
    cases = []
    for line in (FOLDER / file).read_text(encoding="utf-8").split("\n"):
        if not line or line.startswith("#"):
            continue
        if line.startswith(("target ", "field ")):
            cases.append(one_line(line, token))
        elif line.startswith("== "):
            cases.append(Case(line[3:]))
        else:
            more(cases[-1], line, token)
    for case in cases:
        case.end_frame()
        assert case.answers, case.name
    return cases


def more(case, line, token):
    if line.startswith("why: ") or line.startswith(("has: ", "lacks: ")):
        return
    if line == "h2":
        case.http2 = True
        case.sent = PREFACE + frame(4, 0, 0, bytes([0, 1, 0, 0, 0, 0]))
    elif line.startswith("& "):
        case.sent += request_line(line[2:], token)
    elif line.startswith("+ "):
        case.sent += bytes_of(line[2:], token)
    elif line.startswith("> "):
        case.end_frame()
        frames(case, line[2:], token)
    elif line.startswith("|") and case.http2:
        text = bytes_of(line[1:], token)
        at = text.index(b":", 1)
        stream, flags, fields = case.open_frame
        case.open_frame = (stream, flags, fields + literal(text[:at], text[at + 2 :]))
    elif line.startswith("|"):
        case.sent += bytes_of(line[1:].removeprefix(" "), token) + b"\r\n"
    elif line.startswith("answer: "):
        case.end_frame()
        case.answers.append(line[8:].split(" or "))
    elif line.startswith(("upstream: ", "upstream?: ")):
        case.maybe |= line.startswith("upstream?")
        case.upstream.append(bytes_of(line.split(": ", 1)[1], token).decode())
    else:
        raise ValueError(line)


def one_line(line, token):
    kind, rest = line.split(" ", 1)
    name, rest = rest.split(": ", 1)
    what, rest = rest.split(" -> ", 1)
    answer = rest.split(" -- ", 1)[0]
    case = Case(f"{kind} {name}")
    if kind == "target":
        case.sent = request_line(what, token) + b"\r\n"
        arrives = what.replace(" /records", " ", 1)
    else:
        head = request_line("GET /records/customers/acme/notes", token)
        case.sent = head + bytes_of(what, token) + b"\r\n\r\n"
        arrives = "GET /customers/acme/notes"
    if answer in ("ok", "passes", "stripped"):
        answer = "200"
        case.upstream.append(bytes_of(arrives + " body=0", token).decode())
    case.answers.append(answer.split(" or "))
    return case


def frames(case, text, token):
    times, text = text.split(" times ") if " times " in text else ("1", text)
    words = text.split(" ")
    if words[0] == "headers":
        stream = int(words[1])
        if stream not in case.streams:
            case.streams.append(stream)
        case.open_frame = (stream, 4 | ("end" in words[2:]), b"")
    elif words[0] == "data":
        rest = text.split(" ", 2)[2]
        flags, rest = (1, rest[4:]) if rest.startswith("end ") else (0, rest)
        case.sent += frame(0, flags, int(words[1]), bytes_of(rest, token)) * int(times)
    elif words[0] == "frame":
        kind, flags, stream = map(int, words[1:4])
        payload = text.split(" ", 4)[4] if len(words) > 4 else ""
        case.sent += frame(kind, flags, stream, bytes_of(payload, token)) * int(times)
    else:
        by_server = words[0] == "bad-request"
        fields = [(":method", "GET"), (":scheme", "http")]
        fields += [(":path", "/records/customers/acme/notes"), (":authority", "gateway")]
        block = b"".join(literal(n.encode(), v.encode()) for n, v in fields)
        for n in range(int(times)):
            stream = 2 * n + 1
            case.sent += frame(1, 5, stream, block)
            case.sent += frame(8, 0, stream, bytes(4)) if by_server else frame(3, 0, stream, b"\0\0\0\x08")


def request_line(request, token):
    head = f" HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {token}\r\n"
    return bytes_of(request, token) + head.encode()


def bytes_of(text, token):
    text = text.replace("${token}", token)
    out = b""
    while match := re.search(r"\$\{(\d+)\*([^}]*)\}", text):
        out += unescaped(text[: match.start()]) + unescaped(match[2]) * int(match[1])
        text = text[match.end() :]
    return out + unescaped(text)


def unescaped(text):
    plain = {"r": b"\r", "n": b"\n", "t": b"\t", "0": b"\0", "\\": b"\\"}
    return re.sub(rb"\\(?:([rnt0\\])|x([0-9a-fA-F]{2}))", lambda m: one_of(m, plain), text.encode())


def one_of(match, plain):
    return plain[match[1].decode()] if match[1] else bytes([int(match[2], 16)])


def frame(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(name, value):
    """A literal field without indexing (RFC 7541 §6.2.2)."""
    out = b"\0"
    for text in (name, value):
        left = len(text)
        if left < 127:
            out += bytes([left])
        else:
            out += b"\x7f"
            left -= 127
            while left >= 128:
                out += bytes([left % 128 | 128])
                left //= 128
            out += bytes([left])
        out += text
    return out


def drive(address, case):
    """Sends a case and waits for its end. What the gateway answers is held by the tests in Rust; here
    it only matters that it has nothing more to do."""
    with socket.create_connection(address, timeout=PATIENCE) as connection:
        try:
            connection.sendall(case.sent)
        except OSError:
            return
        wanted = sum(1 for one in case.answers if one != ["closed"])
        came = b""
        while True:
            done = answered_http2(came, case) if case.http2 else answered(came, case) >= wanted
            if done and case.http2:
                return
            if done:
                # The gateway ends the connection once it has nothing more to say.
                try:
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(65536):
                        pass
                except ConnectionError:
                    pass
                except OSError as why:
                    if why.errno != errno.ENOTCONN:
                        raise
                return
            try:
                piece = connection.recv(65536)
            except ConnectionError:
                return
            if not piece:
                return
            came += piece


def answered(came, case):
    """How many whole answers have come."""
    count = 0
    without_body = case.sent.startswith(b"HEAD ")
    while (end := came.find(b"\r\n\r\n")) >= 0:
        head = came[:end].lower()
        interim = head.split(b" ", 2)[1].startswith(b"1")
        length = re.search(rb"\r\ncontent-length: (\d+)", head)
        length = int(length[1]) if length and not without_body else 0
        if b"\r\ntransfer-encoding: chunked" in head and not without_body:
            ended = came.find(b"0\r\n\r\n", end + 4)
            if ended < 0:
                return count
            length = ended + 5 - end - 4
        if len(came) < end + 4 + length:
            return count
        came = came[end + 4 + length :]
        count += not interim
    return count


def answered_http2(came, case):
    """Whether every stream that was asked for has ended, or the connection has."""
    ended = set()
    while len(came) >= 9:
        length = int.from_bytes(came[:3], "big")
        kind, flags, stream = came[3], came[4], int.from_bytes(came[5:9], "big")
        if len(came) < 9 + length:
            return False
        if kind == 7:
            return True
        if kind == 3 or (kind in (0, 1) and flags & 1):
            ended.add(stream)
        came = came[9 + length :]
    return bool(case.streams) and ended >= set(case.streams)

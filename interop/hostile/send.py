"""Sends every case through the gateway, and believes what the upstream says it got.

usage: send.py NAME GATEWAY LOG TOKEN-FILE
"""

import json
import pathlib
import sys
import time

import cases


def main():
    name, gateway, log, token_file = sys.argv[1:]
    host, port = gateway.rsplit(":", 1)
    address = (host, int(port))
    token = pathlib.Path(token_file).read_text(encoding="utf-8").strip()
    upstream = Upstream(address, pathlib.Path(log), token)
    upstream.until_marked()
    count, wrong = 0, []
    for file in cases.FILES:
        for case in cases.read(file, token):
            count += 1
            try:
                cases.drive(address, case)
            except TimeoutError:
                wrong.append(f"{case.name}: no end")
                continue
            seen = upstream.until_marked()
            if seen != case.upstream and not (case.maybe and not seen):
                wrong.append(f"{case.name}: {name} got {seen}, due {case.upstream}")
    if wrong:
        print("\n".join(wrong), file=sys.stderr)
        sys.exit(f"{name}: {len(wrong)} of {count} cases are wrong")
    print(f"{name}: {count} cases, and it got what was decided and nothing else")


class Upstream:
    def __init__(self, address, log, token):
        self.address, self.log, self.token = address, log, token
        self.marks, self.read = 0, 0

    def until_marked(self):
        """What reached the upstream since the last mark: a good request that is told apart by its path."""
        self.marks += 1
        mark = f"GET /customers/acme/mark-{self.marks} body=0"
        request = cases.request_line(f"GET /records/customers/acme/mark-{self.marks}", self.token)
        cases.drive(self.address, cases.Case("mark", sent=request + b"\r\n", answers=[["200"]]))
        seen = []
        end = time.monotonic() + cases.PATIENCE
        while time.monotonic() < end:
            for line in self.news():
                if line == mark:
                    return seen
                seen.append(line)
            time.sleep(0.002)
        sys.exit(f"the upstream never told of `{mark}`; it told of {seen}")

    def news(self):
        if not self.log.exists():
            return
        text = self.log.read_bytes()[self.read :]
        for line in text.split(b"\n")[:-1]:
            self.read += len(line) + 1
            seen = json.loads(line.decode("utf-8", "replace").encode("utf-8", "replace"))
            # What broke off is no request: nobody carries it out.
            if seen["status"] == 200:
                length = seen["length"] if "length" in seen else len(seen["body"])
                yield f"{seen['method']} {seen['target']} body={length}"


main()

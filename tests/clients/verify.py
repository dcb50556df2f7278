"""Runs a Python snippet of docs/resource-servers.md: its `verify` must accept and refuse these tokens."""

import importlib
import json
import sys

snippet = importlib.import_module(sys.argv[1])
cases = json.load(sys.stdin)
for case in cases:
    try:
        claims = snippet.verify(case["token"])
    except Exception as error:
        assert not case["valid"], f"{case['name']}: refused: {error!r}"
    else:
        assert case["valid"], f"{case['name']}: accepted"
        assert (claims["sub"], claims["sid"]) == (case["user"], case["session"]), claims
print(f"{sys.argv[1]}: {len(cases)} tokens are judged correctly")

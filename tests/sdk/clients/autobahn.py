"""The Autobahn test suite, as a program: the protocol's worst caller, or its worst endpoint.

`tests/wire/test_autobahn.py` runs it. `caller URL` tries every case on whatever echoes there; `endpoint` prints its
port, and tries them on whoever connects and echoes. It prints the verdicts as JSON, and judges none of them.
"""

import asyncio
import json
import sys

from kosoku import FailureError, run_fuzzingclient, run_fuzzingserver

LEFT_OUT = ["9.*", "12.*", "13.*"]  # speed and size; compression, twice
AT_ONCE = 8


async def main(role: str, url: str = "") -> None:
    try:
        if role == "caller":
            results = await run_fuzzingclient(url, exclude_cases=LEFT_OUT, concurrency=AT_ONCE)
        else:
            async with run_fuzzingserver(exclude_cases=LEFT_OUT, port=0) as server:
                sys.stdout.write(f"{server.port}\n")
                sys.stdout.flush()
                results = await server.get_result()
    except FailureError as failure:
        results = failure.results
    json.dump({case.case_id: [case.behavior.value, case.behavior_close.value] for case in results}, sys.stdout)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

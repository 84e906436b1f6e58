"""One script on stock asyncio and on Tulipa: the same results, order, exception types and texts.

A case is a function `case_NAME(log)` in a file under `cases/`: ordinary asyncio code that tells `log` what it sees.
Each case runs in two fresh processes, one as it is and one after `tulipa.install()`, and the two logs must be equal.

`log` says what a case can record, `harness` runs the processes and compares, `child` is what they execute.
"""

"""CPython's own asyncio tests, run against Tulipa.

The running Python carries a thorough description of asyncio: its `test.test_asyncio` package. This package executes
it with Tulipa put in place of the stock classes, in four modes:

- `loop`: every way of getting a loop gives Tulipa's, whose tasks and futures are its own;
- `inject`: the tests of Task and Future that CPython runs once per implementation are run on the native classes,
  alone and mixed with the C and the pure Python ones;
- `global`: asyncio's names for loop, Future and Task are swapped, as `tulipa.install()` does, and all tests run;
- `toolbox`: as `global`, with the native primitives in place of asyncio's as well.

`python -m tests.stdlib` is the command, `tests/stdlib/test_stdlib.py` the same under pytest. A failing test must be
named in `expected/MODE.toml` with its reason; an entry there that no longer fails is itself a failure.

Reading order: `__main__` (the command), `results` (its table), `runner` (the watching side), `child` (the process that
runs one module), `replace` and `inject` (how the classes get in), `expectations` (the verdict), `report`
(docs/conformance.md). `tests/peers` runs uvloop's suite with the same machinery.
"""

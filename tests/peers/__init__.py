"""uvloop's own tests, run on Tulipa.

uvloop tests everything twice, on its loop and on asyncio's, so its suite describes the contract as those see it who
have implemented it once. Its source archive, of a pinned version and hash, is fetched (`archive`), and its tests are
run with Tulipa in uvloop's place: what they import as `uvloop` is `stand_in`. So do the programs that they start.

`python -m tests.peers` is the command, `tests/peers/test_peers.py` the same under pytest. As with CPython's suite,
whose machinery this shares (`tests.stdlib`), a failing test must be named with its reason in `expected.toml`, and an
entry there that no longer fails is itself a failure.
"""

"""The crawler: one small web site, fetched in ten styles.

Read the styles in this order, each adds one idea to the one before: `blocking`, `process_pool`,
`thread_pool`, `busy_loop`, `callbacks`, `generators`, `yield_from`, `protocol`, `streams`, `with_aiohttp`.
Each has one function, `crawl(site)`, which returns the pages, and is a program of its own: the styles that
need a loop create it.

What they share is `web` (HTTP without any input or output). Around them: `website` (the site's own process),
`hosting` (starts and stops it), `styles` (the list), `measuring`, `reporting`, `chart` and `command`.

This file imports nothing, because the workers of the process pool import it while the clock runs.
"""

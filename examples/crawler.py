"""Ten articles, fetched in every style by which asynchronous programming evolved.

Run as `tulipa run examples/crawler.py`, or as `python examples/crawler.py` for the loop that comes with
Python: nothing below knows which of the two runs it. The work is in the package `crawler/` beside this file
(a package wins over a module of the same name), one file per style.

This file imports nothing at its top: the workers of the process pool import it again when they start, and
whatever it imported would be added to the time that style is charged with.
"""

if __name__ == "__main__":
    from crawler.command import main

    main()

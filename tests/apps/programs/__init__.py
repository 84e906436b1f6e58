"""The programs that the tests of this folder run; each can be run by hand with `python` or `tulipa run`."""

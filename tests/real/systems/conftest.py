"""Which servers are asked for: those of `make test-servers`, and none otherwise."""

from ..servers.recipe import apart, here

collect_ignore = [*([] if here() else ["test_servers.py"]), *([] if apart() else ["test_servers_apart.py"])]

"""`every_method` as one of several processes under FSDP2, with the settings that `accelerate launch` has read."""

from __future__ import annotations

import sys

from accelerate.utils import FullyShardedDataParallelPlugin

from tests.train.sharding import shard


def launched() -> FullyShardedDataParallelPlugin:
    """The plugin of the configuration file."""
    plugin = FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 2
    assert plugin.reshard_after_forward
    return plugin


if __name__ == "__main__":
    shard(launched)
    from tests.train.every_method import run_all

    run_all(*sys.argv[1:4], sys.argv[4:])

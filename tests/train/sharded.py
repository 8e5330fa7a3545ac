"""`cai WORDS` as one of several processes under FSDP2 on a CPU, over gloo."""

from __future__ import annotations

import sys

from accelerate.utils import FullyShardedDataParallelPlugin

from tests.train.sharding import shard


def given() -> FullyShardedDataParallelPlugin:
    """FSDP2 as our configuration file asks for it."""
    return FullyShardedDataParallelPlugin(
        fsdp_version=2,
        auto_wrap_policy="transformer_based_wrap",
        state_dict_type="FULL_STATE_DICT",
        reshard_after_forward=True,
        cpu_ram_efficient_loading=False,
    )


if __name__ == "__main__":
    shard(given)
    from cai.cli import main

    sys.argv = ["cai", *sys.argv[1:]]
    main()

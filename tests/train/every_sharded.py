"""`every_method` as one of several processes under FSDP2 on a CPU, over gloo.

accelerate shards on accelerators only: on a CPU it takes the same settings for plain data parallelism and does not say
so. torch itself shards on a CPU, so this process tells accelerate's state what to do, right after it has made it. The
settings are those that `accelerate launch` has read from its configuration file.
"""

from __future__ import annotations

import sys
from typing import Any

from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin


def shard() -> None:
    """Shard every training of this process, and fail where a loss is taken of what is not sharded."""
    from torch.distributed.fsdp import FSDPModule

    from cai.train.stepping import Stepping

    made, step = AcceleratorState.__init__, Stepping.compute_loss

    def sharded(self: Any, *args: Any, **kwargs: Any) -> None:
        made(self, *args, **kwargs)
        if self.distributed_type != DistributedType.FSDP:
            self.distributed_type = DistributedType.FSDP
            self.fsdp_plugin = FullyShardedDataParallelPlugin()
            if self.mixed_precision != "no":
                self.fsdp_plugin.set_mixed_precision(self.mixed_precision)
            assert self.fsdp_plugin.fsdp_version == 2
            assert self.fsdp_plugin.reshard_after_forward

    def counted(self: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
        assert isinstance(model, FSDPModule), "nothing is sharded"
        return step(self, model, *args, **kwargs)

    AcceleratorState.__init__ = sharded  # type: ignore[method-assign]
    Stepping.compute_loss = counted  # type: ignore[method-assign]


if __name__ == "__main__":
    shard()
    from tests.train.every_method import run_all

    run_all(*sys.argv[1:4], sys.argv[4:])

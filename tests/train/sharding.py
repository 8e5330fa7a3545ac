"""FSDP2 on a CPU: for programs that are one of several processes over gloo.

accelerate shards on accelerators only: on a CPU it takes the same settings for plain data parallelism and does not say
so. torch itself shards on a CPU, so `shard` tells accelerate's state what to do, right after it has made it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin


def shard(make_plugin: Callable[[], FullyShardedDataParallelPlugin]) -> None:
    """Shard every training of this process by that plugin, and fail where a loss is taken of what is not sharded."""
    from torch.distributed.fsdp import FSDPModule

    from cai.train.stepping import Stepping

    made, step = AcceleratorState.__init__, Stepping.compute_loss

    def sharded(self: Any, *args: Any, **kwargs: Any) -> None:
        made(self, *args, **kwargs)
        if self.distributed_type != DistributedType.FSDP:
            self.distributed_type = DistributedType.FSDP
            self.fsdp_plugin = make_plugin()

    def counted(self: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
        assert isinstance(model, FSDPModule), "nothing is sharded"
        return step(self, model, *args, **kwargs)

    AcceleratorState.__init__ = sharded  # type: ignore[method-assign]
    Stepping.compute_loss = counted  # type: ignore[method-assign]

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

_make = AcceleratorState.__init__


def _sharded(self: Any, *args: Any, **kwargs: Any) -> None:
    _make(self, *args, **kwargs)
    if self.distributed_type != DistributedType.FSDP:
        self.distributed_type = DistributedType.FSDP
        self.fsdp_plugin = FullyShardedDataParallelPlugin()
        assert self.fsdp_plugin.fsdp_version == 2
        assert self.fsdp_plugin.reshard_after_forward


if __name__ == "__main__":
    AcceleratorState.__init__ = _sharded  # type: ignore[method-assign]
    from torch.distributed.fsdp import FSDPModule

    from cai.train.stepping import Stepping
    from tests.train.every_method import run_all

    step = Stepping.compute_loss

    def counted(self: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
        assert isinstance(model, FSDPModule), "nothing is sharded"
        return step(self, model, *args, **kwargs)

    Stepping.compute_loss = counted  # type: ignore[method-assign]
    run_all(*sys.argv[1:4], sys.argv[4:])

"""`cai WORDS` as one of several processes under FSDP2 on a CPU, over gloo.

accelerate shards on accelerators only: on a CPU it takes the same settings for plain data parallelism and does not say
so. torch itself shards on a CPU, so this process tells accelerate's state what to do, right after it has made it.
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
        self.fsdp_plugin = FullyShardedDataParallelPlugin(
            fsdp_version=2,
            auto_wrap_policy="transformer_based_wrap",
            state_dict_type="FULL_STATE_DICT",
            reshard_after_forward=True,
            cpu_ram_efficient_loading=False,
        )


if __name__ == "__main__":
    AcceleratorState.__init__ = _sharded  # type: ignore[method-assign]
    from torch.distributed.fsdp import FSDPModule

    from cai.cli import main
    from cai.train.stepping import Stepping

    step = Stepping.compute_loss

    def counted(self: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
        assert isinstance(model, FSDPModule), "nothing is sharded"
        return step(self, model, *args, **kwargs)

    Stepping.compute_loss = counted  # type: ignore[method-assign]
    sys.argv = ["cai", *sys.argv[1:]]
    main()

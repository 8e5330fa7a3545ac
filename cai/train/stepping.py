"""What the three hosts do alike on top of TRL's trainers: exact averages, safe checkpoints, and a stop at the first
NaN.

A mixin, because each host inherits from another TRL class; it holds no training objective. Everything it overrides is
pinned by tests/train/test_contracts.py.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors.torch import load_file
from torch import Tensor
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from transformers.trainer_callback import ExportableState
from transformers.trainer_utils import EvalLoopOutput

from cai.train import checkpoints
from cai.train.checkpoints import NonFinite
from cai.train.collate import Batch
from cai.train.tally import Facts, Tally

_Base: Any = object
"""Typed as anything: at run time the next class is one of TRL's trainers."""

KEPT_CHECKPOINTS = 2
WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


class Stepping(_Base):
    """Overrides of `transformers.Trainer` and of the hooks that TRL's trainers add to it."""

    loss_is_scaled_for_ga = True
    """We divide by the whole step's count ourselves, so the trainer must not divide by its micro-batches again."""
    _step_ids: tuple[str, ...] = ()
    _step_tokens: int = 0
    """Positions computed in the last step, padding included, over all processes."""

    def step_sum(self, model: Any, batch: Batch) -> tuple[Tensor, Facts]:
        """The *sum* of the losses of one micro-batch, and what to report about it. Each host has its own."""
        raise NotImplementedError

    @staticmethod
    def step_count(batch: Batch) -> int:
        """What a step's loss is divided by: examples here, tokens in supervised learning."""
        return len(batch["ids"])

    # Data: ours comes tokenised and laid out.

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset

    def look_ahead(self, batches: Iterable[Batch]) -> None:
        """What a loss has to know of the whole step, or of a whole evaluation, before its first micro-batch."""

    def _get_num_items_in_batch(self, batch_samples: Sequence[Batch], device: torch.device) -> int:
        self.look_ahead(batch_samples)
        self._step_ids = tuple(id for batch in batch_samples for id in batch["ids"])
        counts = [sum(map(self.step_count, batch_samples)), sum(batch["input_ids"].numel() for batch in batch_samples)]
        total = self.accelerator.reduce(torch.tensor(counts, device=device), reduction="sum")
        count, self._step_tokens = (int(n) for n in total)
        return count

    # Loss and metrics.

    def compute_loss(
        self, model: Any, inputs: Batch, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Sum over this micro-batch, divided by the count of the whole step over all processes.

        DDP and FSDP average gradients over processes, which the factor undoes.
        """
        assert not return_outputs, "the fused head builds no outputs to return"
        total, facts = self.step_sum(model, inputs)
        if not torch.isfinite(total):
            self._stop("loss", inputs["ids"])
        self.tally().add(facts)
        if num_items_in_batch is None:
            return total / self.step_count(inputs)
        return total / num_items_in_batch * self.accelerator.num_processes

    def tally(self) -> Tally:
        """Metrics since the last log."""
        if not hasattr(self, "_tally"):
            self._tally = Tally()
        return self._tally

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the step's means to what the trainer logs about a step."""
        if "loss" in logs:
            logs.update(self.tally().means(self.accelerator), tokens=self._step_tokens)
        super().log(logs, start_time)

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        if norm is not None and not torch.isfinite(torch.as_tensor(float(norm))):
            self._stop("gradient", self._step_ids)
        return norm

    def _stop(self, what: str, ids: Sequence[str]) -> None:
        shown = ", ".join(ids[:16]) + (f" and {len(ids) - 16} more" if len(ids) > 16 else "")
        raise NonFinite(
            f"the {what} of step {self.state.global_step + 1} is not a finite number; the batch was {shown}. "
            "The last checkpoint is kept: lower train.learning_rate or look at these rows, then run again"
        )

    def evaluation_loop(
        self, dataloader: Any, description: str, *_: Any, metric_key_prefix: str = "eval", **__: Any
    ) -> EvalLoopOutput:
        """Means over all evaluation examples, each example weighing the same."""
        model = self.model_wrapped if self.is_fsdp_enabled else self.model
        model.eval()
        self.look_ahead(dataloader)
        kept, self._tally = self.tally(), Tally()
        seen = 0
        with torch.no_grad(), self.compute_loss_context_manager():
            for inputs in dataloader:
                batch = self._prepare_inputs(inputs)
                total, facts = self.step_sum(model, batch)
                self._tally.add({**facts, "loss": (total, self.step_count(batch))})
                seen += len(batch["ids"])
        means = self._tally.means(self.accelerator)
        self._tally = kept
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in means.items()}
        return EvalLoopOutput(predictions=np.empty(0), label_ids=None, metrics=metrics, num_samples=seen)

    # Checkpoints.

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = Path(self.args.output_dir)
        final = folder / f"{checkpoints.PREFIX}{self.state.global_step}"
        partial = folder / f".{final.name}"
        if self.args.should_save:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
        self.accelerator.wait_for_everyone()
        self.save_model(str(partial), _internal_call=True)
        state = self._optimizer_state()
        if self.args.should_save:
            checkpoints.save_optimizer(partial, state, self.lr_scheduler)
        checkpoints.save_random(partial, self.args.process_index)
        if self.state.best_global_step:
            self.state.best_model_checkpoint = str(folder / f"{checkpoints.PREFIX}{self.state.best_global_step}")
        if self.args.should_save:
            for part in (*self.callback_handler.callbacks, self.control):
                if isinstance(part, ExportableState):
                    self.state.stateful_callbacks[type(part).__name__] = part.state()
            self.state.save_to_json(str(partial / checkpoints.STATE))
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            checkpoints.finish(partial, final)
            checkpoints.keep_last(folder, KEPT_CHECKPOINTS, self.state.best_model_checkpoint)
        self.accelerator.wait_for_everyone()

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Weights and tokenizer; the trainer would add a pickle of its arguments."""
        folder = output_dir or self.args.output_dir
        self.accelerator.unwrap_model(self.model).save_pretrained(folder, state_dict=state_dict)
        if self.args.should_save and self.processing_class is not None:
            self.processing_class.save_pretrained(folder)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        state = checkpoints.load_optimizer(Path(checkpoint), self.lr_scheduler)
        if self.is_fsdp_enabled:
            set_optimizer_state_dict(self.model_wrapped, self.optimizer.optimizer, state, options=WHOLE)
        else:
            self.optimizer.load_state_dict(state)

    def _optimizer_state(self) -> dict[str, Any]:
        """Whole, whatever it is sharded over; every process takes part."""
        if self.is_fsdp_enabled:
            return get_optimizer_state_dict(self.model_wrapped, self.optimizer.optimizer, options=WHOLE)
        return self.optimizer.state_dict()

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if not self.is_fsdp_enabled:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        adapted, weights = isinstance(self.model, PeftModel), dict[str, Any]()
        files = "adapter_model*.safetensors" if adapted else "model*.safetensors"
        for file in sorted(Path(resume_from_checkpoint).glob(files)):
            weights |= load_file(file)
        assert weights, f"no weights: {resume_from_checkpoint}"
        if adapted:
            names = adapter_names(self.model)
            weights = {names[name]: value for name, value in weights.items()}
        # Tied weights are stored once, and below an adapter none: what is missing is tied to what is there, or frozen.
        told = set_model_state_dict(self.model_wrapped, weights, options=replace(WHOLE, strict=False))
        assert not told.unexpected_keys, f"not the weights of this model: {resume_from_checkpoint}"

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            checkpoints.load_random(Path(checkpoint), self.args.process_index)

    # What TRL would tell or write.

    def _send_telemetry(self) -> None:
        """Nothing leaves the machine."""

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Ours is written once, at the end."""


def adapter_names(model: PeftModel) -> dict[str, str]:
    """The model's own name of each weight of an adapter, by the name that PEFT saves it under."""
    own = list(model.state_dict())
    told = get_peft_model_state_dict(model, state_dict={name: torch.tensor(at) for at, name in enumerate(own)})
    return {name: own[int(at)] for name, at in told.items()}

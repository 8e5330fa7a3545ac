"""The stages of `cai run`, each the command of its name on the same run folder, fed by the stage before it."""

from __future__ import annotations

from functools import partial
from typing import Any

from cai.cli.pipeline_recipe import Pipeline
from cai.cli.pipeline_steps import Step, read_by
from cai.config.label import LabelSettings
from cai.config.methods import REINFORCEMENT
from cai.config.rl import RLSettings


def steps(pipeline: Pipeline) -> list[Step]:
    """Every stage in order; what a stage loads is looked for when it runs, because the one before writes it.

    The table is shown again each time, and rounds look by themselves which of their steps are done.
    """
    return [
        Step(
            name, settings, partial(_go, pipeline, name, settings), always=name in ("iterate", "evaluate"),
            reads=read_by(settings, pipeline.engine_for(pipeline.settings.model)),
        )
        for name, settings in pipeline.check()
    ]  # fmt: skip


def _go(pipeline: Pipeline, name: str, settings: Any) -> None:
    if name == "critique":
        from cai.cli.critique_job import prepare, work

        work(prepare(settings, pipeline.engine_for(pipeline.settings.model), pipeline.base)).counts.check_errors()
    elif name == "label":
        _label(pipeline, settings)
    elif name in REINFORCEMENT:
        _reinforce(pipeline, name, settings)
    elif name == "iterate":
        from cai.cli.rounds import Rounds, work_rounds

        judge = pipeline.engine_for(pipeline.settings.model)
        work_rounds(Rounds(settings, judge, pipeline.recipe, pipeline.overrides, pipeline.base))
    elif name == "evaluate":
        from cai.cli.pipeline_table import evaluate

        evaluate(pipeline)
    else:
        from cai.cli.train_job import prepare_training, train_job

        train_job(prepare_training(name, settings, pipeline.base), pipeline.base)


def _label(pipeline: Pipeline, settings: LabelSettings) -> None:
    """The supervised policy draws the replies; the base model judges them, unless the recipe names judges."""
    from cai.cli.label_job import prepare
    from cai.cli.label_work import work

    supervised = pipeline.folder / "sft" / "model"
    policy = str(supervised) if "sft" in pipeline.before("label") else pipeline.settings.model
    judges = settings.judges or (pipeline.engine_for(pipeline.settings.model),)
    with_judges = settings.model_copy(update={"judges": tuple(judges)})
    for counts in work(prepare(with_judges, pipeline.engine_for(policy), pipeline.base)).counts:
        counts.check_errors()


def _reinforce(pipeline: Pipeline, name: str, settings: RLSettings) -> None:
    from cai.cli.rl_job import announce, prepare
    from cai.cli.rl_work import work
    from cai.cli.step_lines import show_rl_step

    job = prepare(name, settings, pipeline.base)
    announce(job)
    work(job, show_rl_step)

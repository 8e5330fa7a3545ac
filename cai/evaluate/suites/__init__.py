"""One file a suite: importer, prompts, reader and metrics. `SUITES` is the table of them."""

from cai.evaluate.suite import Suite
from cai.evaluate.suites import bbq, gsm8k, harm, languages, persona, testbed, truthfulqa, unknown, xstest

SUITES: dict[str, Suite] = {
    suite.name: suite
    for suite in (
        testbed.SUITE,
        xstest.SUITE,
        harm.SUITE,
        truthfulqa.SUITE,
        truthfulqa.SYCOPHANCY_SUITE,
        bbq.SUITE,
        gsm8k.SUITE,
        persona.SUITE,
        languages.SUITE,
        unknown.SUITE,
    )
}

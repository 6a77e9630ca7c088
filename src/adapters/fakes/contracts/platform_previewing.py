"""Previews: what would be made, without making it."""

import json

from prefect.agent.adapters.fakes.contracts.harnesses import PlatformHarness
from prefect.agent.adapters.fakes.contracts.platform_base import PlatformContractBase
from prefect.agent.ports.platform import ExecutionPlatform


class PreviewingContract(PlatformContractBase):
    """Method ``preview``."""

    def test_a_preview_makes_no_unit(self, platform: ExecutionPlatform, harness: PlatformHarness) -> None:
        """Neither does a second one; the unit may be created afterwards."""
        submission = harness.submission(exit_code=0)

        for _ in range(2):
            platform.preview(submission)

        assert platform.unit(submission.name) is None
        assert platform.create(submission).name == submission.name

    def test_a_preview_is_json_and_names_unit_command_and_variables(
        self, platform: ExecutionPlatform, harness: PlatformHarness
    ) -> None:
        """One document at least; what else it has is the platform's own."""
        submission = harness.submission(exit_code=0, env={"PREVIEWED": "a=b c"})

        documents = list(platform.preview(submission))

        text = json.dumps(documents)
        assert documents
        assert submission.name in text
        assert json.dumps(submission.command[-1])[1:-1] in text
        assert "PREVIEWED" in text
        assert "a=b c" in text

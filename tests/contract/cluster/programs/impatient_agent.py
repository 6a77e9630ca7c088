"""An agent outside of the cluster that gives nobody time: ``impatient_agent.py NAMESPACE API``."""

import sys

from prefect.agent import KubernetesAgent
from prefect.agent.domain.model.settings import AgentSettings

namespace, api = sys.argv[1:]
settings = AgentSettings(
    name="impatient", labels=["impatient"], cancel_grace=1, stop_grace=1, sweep_every=1, poll_last=1
)
KubernetesAgent(namespace=namespace, api=api, settings=settings).start()

"""What tests need of this package, under one short name: fakes, contract suites and a running embedded Cloud.

    from prefect.agent.testing import InMemoryCloudApi, InMemoryPlatform, ManualClock

The fakes need nothing but the package itself. Contract suites and :func:`eventually` need pytest
(``pip install 'prefect-agent[testing]'``); :func:`running_server` and :class:`Routine` need the libraries of the
server (``pip install 'prefect-agent[server]'``). Each name is loaded when it is asked for, so that a missing extra
matters only to those who use it: an ``ImportError`` says in one sentence which extra to install.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from prefect.agent.adapters.fakes import FailingCloudApi as FailingCloudApi
    from prefect.agent.adapters.fakes import FailingPlatform as FailingPlatform
    from prefect.agent.adapters.fakes import FlowRunView as FlowRunView
    from prefect.agent.adapters.fakes import InMemoryCloudApi as InMemoryCloudApi
    from prefect.agent.adapters.fakes import InMemoryPlatform as InMemoryPlatform
    from prefect.agent.adapters.fakes import InMemoryPresence as InMemoryPresence
    from prefect.agent.adapters.fakes import ManualClock as ManualClock
    from prefect.agent.adapters.fakes.contracts import ClockContract as ClockContract
    from prefect.agent.adapters.fakes.contracts import CloudApiContract as CloudApiContract
    from prefect.agent.adapters.fakes.contracts import CloudHarness as CloudHarness
    from prefect.agent.adapters.fakes.contracts import CloudWorld as CloudWorld
    from prefect.agent.adapters.fakes.contracts import ExecutionPlatformContract as ExecutionPlatformContract
    from prefect.agent.adapters.fakes.contracts import LooseClaimContract as LooseClaimContract
    from prefect.agent.adapters.fakes.contracts import LooseCloudContract as LooseCloudContract
    from prefect.agent.adapters.fakes.contracts import LooseCloudHarness as LooseCloudHarness
    from prefect.agent.adapters.fakes.contracts import LooseCloudWorld as LooseCloudWorld
    from prefect.agent.adapters.fakes.contracts import PatientPlatformContract as PatientPlatformContract
    from prefect.agent.adapters.fakes.contracts import PlatformHarness as PlatformHarness
    from prefect.agent.adapters.fakes.contracts import PlatformWorld as PlatformWorld
    from prefect.agent.adapters.fakes.contracts import ReportStoreContract as ReportStoreContract
    from prefect.agent.adapters.fakes.contracts import RunSeen as RunSeen
    from prefect.agent.adapters.fakes.contracts.harnesses import eventually as eventually
    from prefect.agent.entrypoints.server.services import Routine as Routine
    from prefect.agent.entrypoints.server.testing import running_server as running_server

_FAKES: Final = "prefect.agent.adapters.fakes"
_SUITES: Final = "prefect.agent.adapters.fakes.contracts"
_SERVER: Final = "prefect.agent.entrypoints.server"

_HOMES: Final = {
    "ClockContract": _SUITES,
    "CloudApiContract": _SUITES,
    "CloudHarness": _SUITES,
    "CloudWorld": _SUITES,
    "ExecutionPlatformContract": _SUITES,
    "FailingCloudApi": _FAKES,
    "FailingPlatform": _FAKES,
    "FlowRunView": _FAKES,
    "InMemoryCloudApi": _FAKES,
    "InMemoryPlatform": _FAKES,
    "InMemoryPresence": _FAKES,
    "LooseClaimContract": _SUITES,
    "LooseCloudContract": _SUITES,
    "LooseCloudHarness": _SUITES,
    "LooseCloudWorld": _SUITES,
    "ManualClock": _FAKES,
    "PatientPlatformContract": _SUITES,
    "PlatformHarness": _SUITES,
    "PlatformWorld": _SUITES,
    "ReportStoreContract": _SUITES,
    "Routine": f"{_SERVER}.services",
    "RunSeen": _SUITES,
    "eventually": f"{_SUITES}.harnesses",
    "running_server": f"{_SERVER}.testing",
}
"""The module that each public name comes from."""

__all__ = [
    "ClockContract",
    "CloudApiContract",
    "CloudHarness",
    "CloudWorld",
    "ExecutionPlatformContract",
    "FailingCloudApi",
    "FailingPlatform",
    "FlowRunView",
    "InMemoryCloudApi",
    "InMemoryPlatform",
    "InMemoryPresence",
    "LooseClaimContract",
    "LooseCloudContract",
    "LooseCloudHarness",
    "LooseCloudWorld",
    "ManualClock",
    "PatientPlatformContract",
    "PlatformHarness",
    "PlatformWorld",
    "ReportStoreContract",
    "Routine",
    "RunSeen",
    "eventually",
    "running_server",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(_load(_HOMES[name]), name)
    except ModuleNotFoundError as missing:
        if (missing.name or "").startswith("prefect."):
            raise
        extra = "server" if _HOMES[name].startswith(_SERVER) else "testing"
        needs = f"{__name__}.{name} needs {missing.name}, which is not installed"
        raise ImportError(f"{needs}: pip install 'prefect-agent[{extra}]'", name=missing.name) from missing


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})


def _load(module: str) -> Any:
    """Import *module*; let pytest explain the failed assertions of suites as it does those of test modules."""
    if module.startswith(_SUITES) and _SUITES not in sys.modules:
        import_module("pytest").register_assert_rewrite(_SUITES)
    return import_module(module)

"""The contract of every store of reports, whether it keeps them or not."""

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor

import pytest

from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.ports.reports import ReportStore

RUN = FlowRunId("00000000-0000-4000-8000-000000000001")
LINE = {"line": "a\x00b \udcff", "level": "INFO", "at": "2024-01-01T00:00:00.000000+00:00"}
END = {"end": "failed", "unit": "unit-1", "message": "broken"}


class ReportStoreContract:
    """A subclass defines the fixture ``store``: an empty store, which the suite closes."""

    @pytest.fixture
    def store(self) -> ReportStore:
        """Return the store under test."""
        raise NotImplementedError

    @pytest.fixture(autouse=True)
    def _close(self, store: ReportStore) -> Generator[None]:
        yield
        store.close()

    def test_it_says_where_reports_are_kept(self, store: ReportStore) -> None:
        """A store says for people where it keeps reports; a new one has no problem and has dropped nothing."""
        assert store.where
        assert (store.problem, store.dropped) == ("", 0)

    def test_a_new_store_has_nothing(self, store: ReportStore) -> None:
        """A new store has no reports of an earlier process."""
        assert dict(store.load()) == {}

    def test_unknown_runs_may_be_forgotten(self, store: ReportStore) -> None:
        """Forgetting may be repeated, and may name more lines than there are."""
        store.load()
        store.add(RUN, LINE)
        store.forget_lines(RUN, 5)
        store.forget(RUN)
        store.forget(RUN)
        store.forget_lines(RUN, 1)
        assert store.problem == ""

    def test_it_may_be_closed_again_and_takes_no_more(self, store: ReportStore) -> None:
        """A closed store may be closed again, and no call raises."""
        store.load()
        store.add(RUN, END)
        store.close()
        store.close()
        store.add(RUN, LINE)
        store.forget_lines(RUN, 1)
        store.forget(RUN)

    def test_threads_may_add_and_forget_together(self, store: ReportStore) -> None:
        """Calls from several threads raise nothing and leave no problem."""
        store.load()

        def work(number: int) -> None:
            run = FlowRunId(f"run-{number}")
            for _ in range(50):
                store.add(run, LINE)
                store.add(RUN, LINE)
                store.forget_lines(run, 1)
            store.forget(run)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(4)))
        assert store.problem == ""

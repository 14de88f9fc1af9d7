"""Hostile cases are outside `make test`: they are collected only where their folder, or a file of it, is named."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .tiny_tasks import TASKS, TinyTask
from .verdict import Case, Outcome, Verdict, table


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return None if any("hostile" in argument for argument in config.args) else True


@pytest.fixture
def verdict(request: pytest.FixtureRequest) -> Iterator[Verdict]:
    """The test's cases; at its end they go into the table that is shown after all tests."""
    verdict = Verdict()
    yield verdict
    # Properties of a test are what parallel workers hand back.
    request.node.user_properties += [
        ("case", [case.kind, case.name, case.outcome.value, case.message]) for case in verdict.cases
    ]
    lines = [f"{case.kind}, {case.name}: {case.outcome.value}. {case.message}" for case in verdict.failures()]
    assert not lines, "\n".join(lines)


@pytest.fixture(scope="session", params=TASKS)
def task(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TinyTask:
    """A tiny run of each script; the undisturbed one is done."""
    return TinyTask(request.param, tmp_path_factory.mktemp(request.param))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    cases = [
        Case(kind, name, Outcome(outcome), message)
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", None) == "teardown"
        for property, (kind, name, outcome, message) in report.user_properties
        if property == "case"
    ]
    if cases:
        terminalreporter.section("verdict")
        terminalreporter.write_line(table(cases))
        for case in cases:
            if case.outcome is not Outcome.FINE and case.outcome is not Outcome.CLEAR:
                terminalreporter.write_line(f"{case.outcome.value}: {case.kind}, {case.name}: {case.message}")

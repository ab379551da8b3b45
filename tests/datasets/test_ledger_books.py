"""The ledger against plain dicts: whatever is written in whatever order, both say the same."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy.exc import IntegrityError

from datasets.errors import NotFoundError, UsageError
from datasets.ledger import ItemRecord, LedgerSession, OutputRecord, RunRecord, StageRecord, open_ledger
from tests.datasets.ledger_rows import DIGEST, NOW, a_run, a_stage, an_item, an_output

TENANTS = st.sampled_from(["anna", "bert"])
RUN_IDS = st.sampled_from(["a", "ab", "ab_", "b%", "B"])
NAMES = st.sampled_from(["shoe", "boot", "Boot", "ä"])
STATUSES = st.sampled_from(["running", "delivered", "failed"])
MOMENTS = st.integers(0, 10**17).map(lambda microseconds: NOW + timedelta(microseconds=microseconds))
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
JSONS = st.dictionaries(
    TEXTS,
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**60), 2**60)
        | st.floats(allow_nan=False, allow_infinity=False)
        | TEXTS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
        max_leaves=5,
    ),
    max_size=3,
)
Key = tuple[str, str]


def _finish_and_fail(session: LedgerSession, run_id: str) -> None:
    session.finish_run(run_id, "never")
    session.record_stage(a_stage(run_id="nowhere"))


class Books(RuleBasedStateMachine):
    """The ledger does what dicts of records do."""

    known = Bundle("known")

    @initialize()
    def open(self) -> None:
        self.ledger = open_ledger("sqlite:///:memory:")
        self.runs: dict[Key, RunRecord] = {}
        self.items: dict[Key, dict[str, ItemRecord]] = {}
        self.stages: dict[Key, list[StageRecord]] = {}
        self.outputs: dict[Key, dict[tuple[str, str], OutputRecord]] = {}

    @rule(target=known, tenant=TENANTS, run_id=RUN_IDS, at=MOMENTS, parameters=JSONS, recipe=TEXTS)
    def start_run(self, tenant: str, run_id: str, at: datetime, parameters: dict[str, Any], recipe: str) -> Key:
        run, key = a_run(run_id, started_at=at, parameters=parameters, recipe=recipe), (tenant, run_id)
        with self.ledger.session(tenant) as session:
            session.start_run(run)
        self.runs[key] = replace(run, started_at=self.runs[key].started_at) if key in self.runs else run
        return key

    @rule(key=known, status=STATUSES, summary=st.none() | JSONS)
    def finish_run(self, key: Key, status: str, summary: dict[str, Any] | None) -> None:
        with self.ledger.session(key[0]) as session:
            session.finish_run(key[1], status, summary)
            finished_at = session.find_run(key[1]).finished_at
        self.runs[key] = replace(self.runs[key], status=status, summary=summary, finished_at=finished_at)

    @rule(key=known, names=st.lists(NAMES, unique=True), source=TEXTS)
    def save_items(self, key: Key, names: list[str], source: str) -> None:
        records = [an_item(name, position, key[1], source=source) for position, name in enumerate(names)]
        with self.ledger.session(key[0]) as session:
            session.save_items(key[1], records)
        items = self.items.setdefault(key, {})
        self.items[key] = {record.item: record for record in records} | items

    @rule(
        key=known, name=NAMES, status=STATUSES, reasons=st.lists(JSONS, max_size=2), digest=st.none() | st.just(DIGEST)
    )
    def finish_item(self, key: Key, name: str, status: str, reasons: list[dict[str, Any]], digest: str | None) -> None:
        with self.ledger.session(key[0]) as session:
            session.finish_item(key[1], name, status, reasons, digest)
        items = self.items.get(key, {})
        if name in items:
            percent = 100.0 if status == "delivered" else items[name].percent
            items[name] = replace(items[name], status=status, reasons=reasons, asset_digest=digest, percent=percent)

    @rule(key=known, at=MOMENTS, seconds=st.floats(0, 1e9), peak=st.none() | st.integers(0, 2**62), name=NAMES)
    def record_stage(self, key: Key, at: datetime, seconds: float, peak: int | None, name: str) -> None:
        stages = self.stages.setdefault(key, [])
        number = f"{key[1]}-{len(stages)}"
        stage = a_stage(number, key[1], started_at=at, seconds=seconds, peak_memory_bytes=peak, item=name)
        with self.ledger.session(key[0]) as session:
            session.record_stage(stage)
        stages.append(stage)

    @rule(key=known, name=NAMES, path=TEXTS, size=st.integers(0, 2**62), extra=JSONS)
    def record_output(self, key: Key, name: str, path: str, size: int, extra: dict[str, Any]) -> None:
        output = an_output(path, key[1], item=name, bytes=size, extra=extra)
        with self.ledger.session(key[0]) as session:
            session.record_output(output)
        self.outputs.setdefault(key, {})[name, path] = output

    @rule(key=known)
    def fail(self, key: Key) -> None:
        with pytest.raises(IntegrityError), self.ledger.session(key[0]) as session:
            _finish_and_fail(session, key[1])

    @rule(tenant=TENANTS, name=st.sampled_from(["", "a", "ab", "ab_", "b", "B", "%", "c", "latest"]))
    def find_run(self, tenant: str, name: str) -> None:
        runs = [run for (owner, _), run in self.runs.items() if owner == tenant]
        begin_so = [run for run in runs if run.run_id.startswith(name)]
        exact = [run for run in runs if run.run_id == name]
        latest = sorted(runs, key=lambda run: (-run.started_at.timestamp(), run.run_id))[:1]
        expected = latest if name == "latest" else exact or begin_so
        with self.ledger.session(tenant) as session:
            try:
                found = [session.find_run(name)]
            except NotFoundError:
                found = []
            except UsageError:
                assert len(expected) > 1
                return
        assert found == expected

    @invariant()
    def the_same(self) -> None:
        for key, run in self.runs.items():
            with self.ledger.session(key[0]) as session:
                assert session.find_run(key[1]) == run
                assert {item.item: item for item in session.items(key[1])} == self.items.get(key, {})
                stages = sorted(self.stages.get(key, []), key=lambda s: (s.started_at, s.position, s.stage_run_id))
                assert session.stages(key[1]) == stages
                outputs = self.outputs.get(key, {})
                assert {(output.item, output.path): output for output in session.outputs(key[1])} == outputs

    def teardown(self) -> None:
        self.ledger.close()


TestBooks = Books.TestCase
TestBooks.settings = settings(max_examples=15, stateful_step_count=15, deadline=None)

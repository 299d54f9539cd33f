"""What an owner may ask in a minute and of a model, and that a restart does not give it more."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest
from freediv.cluster.configuration import PartyConfig, Peer, Quota
from freediv.cluster.identity import Role
from freediv.party import quotas as module
from freediv.party.models.model_store import ModelStore
from freediv.party.quotas import Quotas
from freediv.party.requests import Refused

MODEL, OTHER = "0" * 64, "1" * 64  # what is public about two models
ALICE, BOB, NOBODY = (Role("lab", "data-owner", name=name) for name in ("alice", "bob", None))


def quotas(folder: Path, quota: Quota | None = None, **named: Quota) -> Quotas:
    parties = tuple(Peer(rank=r, host="127.0.0.1", grpc_port=7000 + r, link_port=7100 + r) for r in range(3))
    config = PartyConfig(
        cluster="lab", rank=0, listen="127.0.0.1", metrics_port=7200, parties=parties, max_batch=8,
        quota=quota or Quota(), quotas=named,
    )  # fmt: skip
    return Quotas(config, ModelStore(folder / "store"))


def answer(one: Quotas, owner: Role, sentences: int, model: str = MODEL) -> None:
    claim = one.reserve(owner, model, sentences)
    claim.spend()
    claim.close(give_back=False)


def test_without_quotas_nothing_is_counted_or_written(tmp_path: Path) -> None:
    one = quotas(tmp_path)
    for _ in range(100):
        answer(one, ALICE, 8)
    assert not list(tmp_path.rglob("*.json"))


def test_a_budget_is_spent_for_good_also_over_a_restart(tmp_path: Path) -> None:
    one = quotas(tmp_path, Quota(budget=10))
    answer(one, ALICE, 8)
    restarted = quotas(tmp_path, Quota(budget=10))
    assert restarted.left(ALICE, MODEL).budget == 2
    with pytest.raises(
        Refused, match=r"of the 10 sentences that data-owner/alice may ask of this model 2 are left, and 3"
    ):
        restarted.reserve(ALICE, MODEL, 3)
    answer(restarted, ALICE, 2)
    with pytest.raises(Refused, match="0 are left") as caught:
        restarted.reserve(ALICE, MODEL, 1)
    assert (caught.value.code, caught.value.retry_after_s) == (grpc.StatusCode.RESOURCE_EXHAUSTED, None)
    answer(restarted, BOB, 10)  # each owner has its own,
    answer(restarted, ALICE, 10, OTHER)  # and for each model


def test_requests_under_way_together_cannot_exceed_the_budget(tmp_path: Path) -> None:
    one = quotas(tmp_path, Quota(budget=10))
    claim = one.reserve(ALICE, MODEL, 6)
    with pytest.raises(Refused, match="4 are left"):
        one.reserve(ALICE, MODEL, 6)
    claim.close(give_back=True)  # it failed: nothing was learned from it
    answer(one, ALICE, 10)


def test_what_is_spent_is_on_disk_before_a_run_and_comes_back_only_where_that_is_said(tmp_path: Path) -> None:
    one = quotas(tmp_path, Quota(budget=10, sentences_per_minute=10))
    kept, returned = one.reserve(ALICE, MODEL, 4), one.reserve(ALICE, MODEL, 3)
    kept.spend()
    returned.spend()
    assert quotas(tmp_path, Quota(budget=10)).left(ALICE, MODEL).budget == 3
    kept.close(give_back=False)
    returned.close(give_back=True)
    assert (one.left(ALICE, MODEL).budget, one.left(ALICE, MODEL).this_minute) == (6, 6)
    assert quotas(tmp_path, Quota(budget=10)).left(ALICE, MODEL).budget == 6
    one.reserve(ALICE, MODEL, 6).close(give_back=False)  # went away before a run: the minute is gone, not the budget
    assert (one.left(ALICE, MODEL).budget, one.left(ALICE, MODEL).this_minute) == (6, 0)


def test_a_model_whose_owner_says_so_begins_anew(tmp_path: Path) -> None:
    one = quotas(tmp_path, Quota(budget=10))
    answer(one, ALICE, 8)
    under_way = one.reserve(ALICE, MODEL, 2)
    under_way.spend()
    one.forget(MODEL)
    assert one.left(ALICE, MODEL).budget == 10
    under_way.close(give_back=True)  # counted before: it gives nobody more than all
    assert one.left(ALICE, MODEL).budget == 10
    assert quotas(tmp_path, Quota(budget=10)).left(ALICE, MODEL).budget == 10


def test_an_owners_own_quota_goes_before_the_one_for_all(tmp_path: Path) -> None:
    one = quotas(tmp_path, Quota(budget=4), alice=Quota(budget=100), bob=Quota())
    answer(one, ALICE, 8)
    answer(one, BOB, 8)
    with pytest.raises(Refused):
        one.reserve(NOBODY, MODEL, 8)


def test_a_rate_is_told_with_the_time_to_come_back_and_refills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    one = quotas(tmp_path, Quota(sentences_per_minute=12))
    answer(one, ALICE, 8)
    claim = one.reserve(ALICE, MODEL, 4)
    with pytest.raises(Refused, match=r"12 sentences a minute; come back in 10 s") as caught:
        one.reserve(ALICE, MODEL, 2)
    assert caught.value.retry_after_s == 10
    now[0] += 10
    answer(one, ALICE, 2)
    claim.close(give_back=True)
    answer(one, ALICE, 4)
    answer(one, BOB, 8)
    now[0] += 3600  # no more than a minute's is saved up
    assert one.left(ALICE, MODEL).this_minute == 12


def test_the_largest_request_is_answered_at_any_rate(tmp_path: Path) -> None:
    answer(quotas(tmp_path, Quota(sentences_per_minute=1)), ALICE, 8)


def test_a_damaged_count_refuses_rather_than_starts_again(tmp_path: Path) -> None:
    one = quotas(tmp_path, Quota(budget=10))
    answer(one, ALICE, 8)
    (tmp_path / "store" / "spent" / f"{MODEL}.json").write_text('{"data-owner/alice": -5}')
    with pytest.raises(Refused, match="cannot be read"):
        quotas(tmp_path, Quota(budget=10)).reserve(ALICE, MODEL, 1)


def test_what_cannot_be_counted_is_not_answered(tmp_path: Path) -> None:
    one = quotas(tmp_path, Quota(budget=10))
    claim = one.reserve(ALICE, MODEL, 1)
    (tmp_path / "store" / "spent" / f"{MODEL}.json").mkdir()  # as on a disk that takes nothing
    with pytest.raises(Refused, match="cannot keep count"):
        claim.spend()
    claim.close(give_back=True)
    assert one.left(ALICE, MODEL).budget == 10


def test_all_who_have_a_quota_or_have_asked_are_listed(tmp_path: Path) -> None:
    answer(quotas(tmp_path, Quota(budget=10)), BOB, 1)
    one = quotas(tmp_path, Quota(budget=10), alice=Quota(budget=5))
    assert [(str(left.owner), left.budget) for left in one.all_left(MODEL)] == [
        ("data-owner/alice", 5),
        ("data-owner/bob", 9),
    ]


def test_what_is_left_of_budgets_is_told_without_names_and_changes_nothing(tmp_path: Path) -> None:
    one = quotas(tmp_path, Quota(budget=10), bob=Quota(budget=4), carol=Quota(sentences_per_minute=1))
    assert one.budgets_left(MODEL) == (1.0,)  # bob's; of the others nobody has asked, or has no budget
    answer(one, ALICE, 8)
    answer(one, BOB, 4)
    assert sorted(one.budgets_left(MODEL)) == pytest.approx([0, 0.2])
    restarted = quotas(tmp_path, Quota(budget=10), bob=Quota(budget=8))
    assert sorted(restarted.budgets_left(MODEL)) == pytest.approx([0.2, 0.5])
    assert restarted.budgets_left("") == (1.0,)  # no model, nothing spent
    answer(restarted, ALICE, 1)  # counted on, although it was looked at before
    assert restarted.left(ALICE, MODEL).budget == 1


def test_a_refusal_says_which_limit_it_is_about(tmp_path: Path) -> None:
    one = quotas(tmp_path, Quota(budget=10, sentences_per_minute=8))
    for sentences, limit in ((11, "budget"), (9, "rate")):
        with pytest.raises(Refused) as caught:
            one.reserve(ALICE, MODEL, sentences)
        assert caught.value.limit == limit

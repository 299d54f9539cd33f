"""The randomness of an upload: the same when it goes on, another one for anything else."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import numpy as np
import pytest
from freediv.cluster.configuration import MOST_UNFINISHED_S, Agreement
from freediv.errors import UserError
from freediv.mpc.sharing.settings import ProtocolSettings
from freediv.mpc.sharing.shares import reconstruct, share
from freediv.owners.upload_randomness import begin_sharing, sharing_digest

AGREEMENT = Agreement(cluster="test")
WEIGHTS = {"classifier": {"weight": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.zeros(3, np.float32)}}


def digest_of(**changes: np.ndarray) -> bytes:
    return sharing_digest(AGREEMENT, b"bundle", {"classifier": WEIGHTS["classifier"] | changes})


def test_an_upload_that_goes_on_shares_as_it_did(tmp_path: Path) -> None:
    first, again = begin_sharing(tmp_path, digest_of()), begin_sharing(tmp_path, digest_of())
    assert first.model_id == again.model_id
    weight = WEIGHTS["classifier"]["weight"]
    before, after = (share(weight, seeds=one.seeds("classifier", "weight", 2)) for one in (first, again))
    assert before == after
    np.testing.assert_allclose(reconstruct([before[0], after[1], before[2]]), weight, atol=1e-5)


def test_no_seed_is_ever_used_for_two_arrays(tmp_path: Path) -> None:
    """Not for another parameter, another word of one, other weights, another setting, nor for the same model again."""
    weight, bundle = WEIGHTS["classifier"]["weight"], b"bundle"
    digests = {
        digest_of(),
        digest_of(weight=weight + np.float32(2**-20)),
        digest_of(weight=weight.reshape(3, 2)),
        sharing_digest(AGREEMENT.model_copy(update={"fraction_bits": 17}), bundle, WEIGHTS),
        sharing_digest(AGREEMENT, b"another", WEIGHTS),
    }
    assert len(digests) == 5
    sharings = [begin_sharing(tmp_path, one) for one in sorted(digests)]
    sharings[0].finish()
    sharings.append(begin_sharing(tmp_path, sharings[0].digest))
    assert len({one.model_id for one in sharings}) == 6
    names = [("classifier", "weight"), ("classifier", "bias"), ("encoder.0.attention", "weight")]
    seeds = [seed for one in sharings for name in names for seed in one.seeds(*name, 2)]
    # Were two sharings' keys one and the same, their digests would still tell their seeds apart.
    seeds += [type(one)("", one.digest, bytes(32), None).seeds(*names[0], 1)[0] for one in sharings[1:]]
    assert {len(seed) for seed in seeds} == {16}
    assert len(set(seeds)) == len(seeds) == 6 * 3 * 2 + 5


def test_the_key_is_its_owners_alone_and_goes_with_the_upload(tmp_path: Path) -> None:
    sharing = begin_sharing(tmp_path, digest_of())
    assert sharing.path is not None
    assert [stat.S_IMODE(path.stat().st_mode) for path in (sharing.path, sharing.path.parent)] == [0o600, 0o700]
    assert sharing.key.hex() not in repr(sharing)
    sharing.path.chmod(0o640)
    with pytest.raises(UserError, match="other users can read this"):
        begin_sharing(tmp_path, digest_of())
    sharing.path.chmod(0o600)
    sharing.finish()
    assert list((tmp_path / "uploads").iterdir()) == []


def test_a_key_that_no_party_has_shares_of_any_more_is_forgotten(tmp_path: Path) -> None:
    old, other = begin_sharing(tmp_path, b"1" * 32), begin_sharing(tmp_path, b"2" * 32)
    assert old.path is not None
    assert other.path is not None
    os.utime(old.path, (0, time.time() - MOST_UNFINISHED_S - 1))
    begin_sharing(tmp_path, b"3" * 32)
    assert (old.path.exists(), other.path.exists()) == (False, True)


def test_a_damaged_key_is_one_clear_line(tmp_path: Path) -> None:
    sharing = begin_sharing(tmp_path, digest_of())
    assert sharing.path is not None
    for content in ("", "{}", '{"model_id": "../../x", "key": "00"}'):
        sharing.path.write_text(content)
        with pytest.raises(UserError, match=r"\.json: damaged; remove it"):
            begin_sharing(tmp_path, digest_of())


def test_where_nothing_can_be_kept_every_upload_is_one_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "uploads").touch()  # root may write into anything, but not into a file
    first, second = begin_sharing(tmp_path, digest_of()), begin_sharing(tmp_path, digest_of())
    assert first.path is None
    assert first.model_id != second.model_id
    assert first.key != second.key
    first.finish()


def test_seeds_that_do_not_fit_are_refused() -> None:
    array = np.ones(3)
    for seeds in ([bytes(16)], [bytes(16)] * 3, [bytes(15)] * 2):
        with pytest.raises(ValueError, match="seed"):
            share(array, seeds=seeds)
    with pytest.raises(ValueError, match="seeds"):
        share(array, ProtocolSettings(field="FM128"), seeds=[bytes(16)] * 2)

"""A whole audit: the attacks that were chosen, on one model, with texts in common."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from ..cluster.folders import owner_folder
from ..conversion.texts.pairing import as_read
from ..errors import UserError
from ..model import Model, read_model
from ..model.answers import LABEL, Output, answer_of
from . import shadownet
from .agreement import ask
from .asking import continuous, extraction, oracle, student
from .asking.extraction import Learned
from .asking.sent_numbers import Tried, try_deployment
from .asking.texts import Texts, random_texts, texts_of
from .finding import Finding
from .offsets import seek_everywhere

SIZES = (100, 1_000, 10_000)
"""Queries, where nobody says."""
_HELD_OUT = 1_000
_COPIED = 500
"""Texts that a model with stolen weights is compared on: it is as large as the model itself."""


def audit_model(
    directory: Path,
    attacks: Collection[str],
    *,
    sizes: Sequence[int] = (),
    texts: Path | None = None,
    text_columns: Sequence[str] = ("sentence",),
    encoder: Path | None = None,
    output: Output = "label",
    through: Path | None = None,
    published: Path | None = None,
    longest: int = 64,
    seed: int = 0,
) -> list[Finding]:
    """Try attacks on a model.

    Args:
        directory: the model's, or `demo`.
        attacks: out of extraction, continuous, seek and shadownet.
        sizes: numbers of queries.
        texts: a file of the attacker's texts; random ones otherwise.
        text_columns: its columns.
        encoder: the attacker's pretrained encoder; else a small fresh one.
        output: what is revealed, where the model is asked in plaintext.
        through: a rendered directory, or a data owner's folder: the model is asked there.
        published: what the model was tuned from.
        longest: pieces that texts are cut at.
        seed: of all that is random.

    Raises:
        UserError: a model, a file or a deployment is not as it should be.
    """
    sizes = sorted(set(sizes)) or list(SIZES)
    model = read_model(directory)
    if not model.architecture.padded:
        raise UserError(f"{directory}: reads images, and what asking tells is measured with texts")
    if not set(attacks) - {"seek"}:  # which asks about no text
        return [seek_everywhere.run(model, seed=seed)]
    if (answer := answer_of(model.architecture)) is not LABEL:
        raise UserError(
            f"{directory}: it answers {answer.words.kind}; what asking tells is measured of {LABEL.words.kind}"
        )
    if texts is None:
        asked_about = random_texts(model, sizes[-1], _HELD_OUT, seed)
    else:
        asked_about = texts_of(texts, text_columns, model, sizes[-1], _HELD_OUT, seed)
        model = as_read(model, asked_about.queries, texts)
    folder = None if through is None else owner_folder(through, "data-owner")
    return _Audit(model, asked_about, sizes, longest, seed).run(attacks, encoder, output, folder, published)


class _Audit:
    """One model, and the texts that all attacks on it have in common."""

    def __init__(self, model: Model, texts: Texts, sizes: Sequence[int], longest: int, seed: int) -> None:
        self._model, self._texts, self._sizes = model, texts, sizes
        self._longest, self._seed = longest, seed
        self._learned: list[Learned] = []

    def run(
        self, attacks: Collection[str], encoder: Path | None, output: Output, folder: Path | None, tuned: Path | None
    ) -> list[Finding]:
        findings = []
        # Before a budget is spent on texts: a refusal would not say of what.
        tried = try_deployment(folder) if folder is not None and "continuous" in attacks else None
        if "extraction" in attacks:
            findings.append(self._extraction(encoder, output, folder))
        if "continuous" in attacks:
            findings.append(self._continuous(tried))
        if "seek" in attacks:
            findings.append(seek_everywhere.run(self._model, seed=self._seed))
        if "shadownet" in attacks:
            findings.append(self._shadownet(tuned))
        return findings

    def _extraction(self, encoder: Path | None, output: Output, folder: Path | None) -> Finding:
        fresh = student.fresh(self._model, self._longest, self._seed)
        attacker = fresh if encoder is None else student.pretrained(encoder, self._model, self._longest, self._seed)
        plain = oracle.plain(self._model, self._longest, output)
        asked = plain if folder is None else oracle.deployed(folder, self._model)
        beside = self._beside(attacker)
        finding, learned = extraction.run(attacker, asked, self._texts, beside, sizes=self._sizes, seed=self._seed)
        if encoder is None and folder is None and output == "label":
            self._learned = learned  # of the same student, from the same answers
        return finding

    def _continuous(self, tried: Tried | None) -> Finding:
        attacker = student.fresh(self._model, self._longest, self._seed)
        return continuous.run(
            self._model,
            attacker,
            self._texts,
            self._beside(attacker),
            sizes=self._sizes,
            seed=self._seed,
            learned=self._learned,
            tried=tried,
        )

    def _shadownet(self, tuned: Path | None) -> Finding:
        sequences = oracle.sequences_of(self._model, self._texts.held_out[:_COPIED], self._longest)
        asked = ask(self._model, sequences, "the model's answers")
        if not len(asked):
            raise UserError("the model answers none of the texts; give others with --texts")
        return shadownet.run(
            self._model, asked, seed=self._seed, published=None if tuned is None else read_model(tuned)
        )

    def _beside(self, attacker: student.Attacker) -> extraction.Compared:
        plain = oracle.plain(self._model, self._longest, "label")
        beside = extraction.compared(attacker, self._texts, plain.answer(self._texts.held_out))
        if not len(beside.labels):
            raise UserError("the model answers none of the texts; give others with --texts")
        return beside

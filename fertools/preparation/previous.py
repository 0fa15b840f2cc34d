"""The manifest that an earlier run left, and what of it must not be lost unasked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from fertools.errors import FertoolsError
from fertools.preparation import ledger
from manifests import files, schema

OPTIONS = ("command", "crop", "detector", "protocol")  # of the metadata: what a manifest was asked to be
ADDED = ("fold", "group", "image")  # columns that are filled in later, and one that follows from the others


class EarlierError(FertoolsError):
    """A manifest is in the way whose loss has not been asked for."""


@dataclass(frozen=True)
class Earlier:
    """A manifest, if there is one; no metadata and no rows where there is none."""

    manifest: Path
    metadata: Mapping[str, Any]
    rows: Mapping[bytes, ledger.Row]  # in its order; none where its ledger is missing

    @classmethod
    def read(cls, manifest: Path) -> "Earlier":
        """Read what is there.

        Raises:
            ManifestError: it is no manifest, or one of another version.
        """
        if not manifest.exists():
            return cls(manifest, {}, {})
        metadata = files.read_metadata(manifest)
        return cls(manifest, metadata, ledger.of_manifest(manifest, metadata.get("prepared_from", "")))

    def check_options(self, about: Mapping[str, Any]) -> None:
        """Refuse to replace a manifest that was asked to be another one.

        Raises:
            EarlierError: it was.
        """
        if self.metadata and self._options(self.metadata) != self._options(about):
            lost = f", with its {self._added}" if self._added else ""
            raise EarlierError(
                f"{self.manifest} was prepared with other options or weights ({self.metadata['command']}); "
                f"--overwrite replaces it{lost}, doing again only what depends on them; --manifests DIR keeps both"
            )

    def check_loss(self, jobs: Sequence[ledger.Job], rows: Mapping[bytes, ledger.Row]) -> None:
        """Refuse a change of rows for which folds or groups were made, as soon as it is sure to come.

        Args:
            jobs: of the manifest that is asked for.
            rows: those that still hold.

        Raises:
            EarlierError: rows change, and there are folds or groups.
        """
        if not self._added or not self.rows:
            return  # without a ledger nothing is known yet
        changed = [job for job in jobs if job.key not in rows and self._was_read(job.key)]
        gone = self.rows.keys() - {job.key for job in jobs}
        if changed or gone or list(self.rows) != [job.key for job in jobs]:
            self.refuse(f"{len(changed)} images are new or changed, {len(gone)} are gone")

    def refuse(self, change: str) -> None:
        """Refuse a change of rows.

        Raises:
            EarlierError: there are folds or groups.
        """
        if self._added:
            raise EarlierError(
                f"{self.manifest}: {change}, so its {self._added} would not fit its rows any more; it is as it was. "
                f"--overwrite brings it up to date and drops them (make them again: fertools make-folds"
                f"{', fertools group' * ('groups' in self.metadata)}); --manifests DIR keeps both"
            )

    def _was_read(self, key: bytes) -> bool:
        """Whether an image is new, or could be read: what cannot be read is tried each time and may stay so."""
        return key not in self.rows or len(self.rows[key].digest) == ledger.HASH

    @property
    def _added(self) -> str:
        """What was made of its rows, in words; empty: nothing."""
        return " and ".join(name for name in ("folds", "groups") if name in self.metadata)

    @staticmethod
    def _options(about: Mapping[str, Any]) -> dict[str, Any]:
        usual = {"crop": vars(schema.DEFAULT_CROP)}
        return {name: about.get(name, usual.get(name)) for name in OPTIONS}

    def has_rows(self, rows: Sequence[ledger.Row], about: Mapping[str, Any]) -> bool:
        """Whether these rows are the manifest's, in its order; reads no image, as that follows from the rest."""
        if not self.metadata or self._options(self.metadata) != self._options(about):
            return False
        if self.metadata.get("prepared_from") == about["prepared_from"]:
            return True
        names = [name for name in schema.FACES.names if name not in ADDED]
        present = pq.read_table(self.manifest, columns=names)
        if len(present) != len(rows):
            return False
        start = 0
        for table in ledger.gather(rows, names):
            if not table.equals(present.slice(start, len(table))):
                return False
            start += len(table)
        return True

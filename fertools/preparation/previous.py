"""The manifest that an earlier run left, and what of it may only be discarded with --overwrite."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from fertools.errors import FertoolsError
from fertools.preparation import ledger
from manifests import faces as crops
from manifests import files, schema

OPTIONS = ("command", "crop", "detector", "protocol")  # of the metadata: what a manifest was asked to be
ADDED = ("group", "fold")  # columns that are filled in later


class OverwriteError(FertoolsError):
    """A manifest is in the way that is only replaced with --overwrite."""


@dataclass(frozen=True)
class PreviousManifest:
    """A manifest, if there is one; nothing but its path where there is none."""

    manifest: Path
    metadata: Mapping[str, Any] = field(default_factory=dict)
    parts: Mapping[int, crops.Part] = field(default_factory=dict)  # of its crops, those that are sound, by index
    damaged: Sequence[str] = ()  # names of the others
    rows: Mapping[bytes, ledger.Row] = field(default_factory=dict)  # in its order; none where its ledger is missing

    @classmethod
    def read(cls, manifest: Path, overwrite: bool) -> "PreviousManifest":
        """Read every byte of what there is, once parts that an interrupted preparation has written are in their places.

        Args:
            manifest: where it lies.
            overwrite: take one that cannot be read for none.

        Raises:
            ManifestError: it is no manifest, or one of another version.
        """
        if not manifest.exists():
            return cls(manifest)
        try:
            metadata = files.read_metadata(manifest)
            files.read(manifest)
            crops.settle(manifest)
        except schema.ManifestError:
            if overwrite:
                return cls(manifest)
            raise
        recorded = dict(enumerate(crops.parts(manifest)))
        sound = {index: part for index, part in recorded.items() if crops.is_unchanged(manifest, part)}
        damaged = [part.name for index, part in recorded.items() if index not in sound]
        rows = ledger.of_manifest(manifest, metadata.get("prepared_from", ""))
        return cls(manifest, metadata, sound, damaged, rows)

    @property
    def sound_rows(self) -> dict[bytes, ledger.Row]:
        """Rows whose crops are there."""
        return {key: row for key, row in self.rows.items() if row.number // crops.PART_ROWS in self.parts}

    def check_options(self, about: Mapping[str, Any]) -> None:
        """Refuse to replace a manifest that was asked to be another one.

        Raises:
            OverwriteError: it was.
        """
        if self.metadata and self._options(self.metadata) != self._options(about):
            lost = f", with its {self._added}" if self._added else ""
            raise OverwriteError(
                f"{self.manifest} was prepared with other options or weights ({self.metadata['command']}); "
                f"--overwrite replaces it{lost}, doing again only what depends on them; --manifests DIR keeps both"
            )

    def check_loss(self, jobs: Sequence[ledger.Job], rows: Mapping[bytes, ledger.Row]) -> None:
        """Refuse a change of rows for which folds or groups were made, as soon as it is sure to come.

        Args:
            jobs: of the manifest that is asked for.
            rows: those that still hold.

        Raises:
            OverwriteError: rows change, and there are folds or groups.
        """
        if not self._added or not self.rows:
            return  # without a ledger nothing is known yet
        lost = self.rows.keys() - self.sound_rows.keys()  # their crops: they are made again, and should be the same
        changed = [job for job in jobs if job.key not in rows and job.key not in lost and self._was_read(job.key)]
        gone = self.rows.keys() - {job.key for job in jobs}
        if changed or gone or list(self.rows) != [job.key for job in jobs]:
            self.refuse(f"{len(changed)} images are new or changed, {len(gone)} are gone")

    def refuse(self, change: str) -> None:
        """Refuse a change of rows.

        Raises:
            OverwriteError: there are folds or groups.
        """
        if self._added:
            raise OverwriteError(
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

    def holds(self, faces: pa.Table, about: Mapping[str, Any]) -> bool:
        """Whether these rows, without folds and groups, are the manifest's, in its order."""
        if not self.metadata or self._options(self.metadata) != self._options(about):
            return False
        return bool(faces.equals(files.read(self.manifest).drop_columns(list(ADDED))))

    def part(self, index: int, rows: Sequence[ledger.Row]) -> crops.Part | None:
        """Return the part that holds the crops of just these rows already, in their order; null: there is none."""
        part, first = self.parts.get(index), index * crops.PART_ROWS
        if part is None or part.rows != len(rows):
            return None
        in_place = all(row.file == self.manifest and row.number == number for number, row in enumerate(rows, first))
        return part if in_place else None

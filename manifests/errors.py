"""User-facing errors of manifests."""


class ManifestError(ValueError):
    """A manifest breaks the contract; the message names the rule and the row, and says what to do."""


class WriteError(ManifestError):
    """A file that cannot be written; the message names it and the reason, and says what to do."""


class LockedError(ManifestError):
    """Another process writes what was to be written; the message names it, and says what to do."""

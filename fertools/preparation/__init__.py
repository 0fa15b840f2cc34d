"""`fertools prepare`: raw folders to manifests, resumable and in parallel."""

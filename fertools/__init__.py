"""Raw dataset folders to manifests: dataset -> detect -> align -> folds -> pairs -> whiten."""

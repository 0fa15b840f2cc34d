"""What a trained method is worth: numbers (`evaluate`, `metrics`) and the pages that show them (`reporting`)."""

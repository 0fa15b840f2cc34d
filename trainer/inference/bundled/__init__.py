"""What `trainer export --format bundle` puts beside a model: a script that needs none of this code, and a picture."""

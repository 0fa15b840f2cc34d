"""What a user can mend."""


class TrainerError(ValueError):
    """Wrong input, or a training that cannot go on: the message says what was found and what to do; exit 1."""

"""What the encoders of an experiment start from: pre-trained weights, or chance, and how its tables name it."""

import dataclasses
from dataclasses import dataclass

from trainer.training.fit import RunSpec


@dataclass(frozen=True)
class Start:
    """What the encoders start from.

    Attributes:
        encoder_weights: as of `trainer fit --encoder-weights`; None: no pre-trained weights.
        from_scratch: whether presets that ask for pre-trained weights go on without.
    """

    encoder_weights: str | None = None
    from_scratch: bool = False

    def of(self, spec: RunSpec) -> RunSpec:
        """Return a run that starts so."""
        known = {field.name for field in dataclasses.fields(spec)}
        return dataclasses.replace(
            spec, **{name: value for name, value in dataclasses.asdict(self).items() if name in known and value}
        )

    def sentence(self) -> str:
        """Return what a table says of it."""
        if self.encoder_weights:
            return f"Encoders start from {self.encoder_weights}."
        option = " (--from-scratch)" if self.from_scratch else ""
        return f"Encoders start at random{option}: no pre-trained weights."


RANDOM_START = Start()

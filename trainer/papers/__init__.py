"""What papers print, as data: their tables and figures, and what is trained for each of our cells."""

from trainer.papers import dicefer
from trainer.papers.item import Item

ITEMS: dict[str, Item] = {f"dice-fer/{name}": item for name, item in dicefer.ITEMS.items()}

"""What papers print, as data: their tables and figures, and what is trained for each of our cells."""

from trainer.experiments.papers import dicefer, ifgan
from trainer.experiments.papers.item import Item

TITLES = {
    "dice-fer": "DICE-FER (Aquib, Verma, Akhtar; CVPR Workshops 2025): printed and measured",
    "if-gan": "IF-GAN (Cai et al.; ICIP 2021): printed and measured",
}
ITEMS: dict[str, Item] = {
    f"{paper}/{name}": item
    for paper, items in (("dice-fer", dicefer.ITEMS), ("if-gan", ifgan.ITEMS))
    for name, item in items.items()
}

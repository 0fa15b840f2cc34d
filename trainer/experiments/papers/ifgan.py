"""The tables and figures of IF-GAN (Cai et al.; ICIP 2021; arXiv:1903.08051 is its earlier version).

The printed numbers are those of `printed.csv`. Each of the paper's own twelve accuracies can be a whole number of faces
of 927 (CK+), 1,200 (BU-3DFE), 624 (MMI) and 3,068 (RAF-DB).
"""

from trainer.experiments.papers.item import Item, Variant
from trainer.experiments.papers.printed import numbers

CKPLUS, BU3DFE, MMI, RAFDB = DATASETS = ("ckplus", "bu3dfe", "mmi", "rafdb")
PROTOCOLS = {  # RAF-DB's are one: the same faces in the same parts
    CKPLUS: ("ifgan_ckplus",), BU3DFE: ("ifgan_bu3dfe",), MMI: ("ifgan_mmi",), RAFDB: ("ifgan_rafdb", "dice_rafdb")
}  # fmt: skip
IF_GAN = Variant(title="IF-GAN", method="ifgan", printed_as="IF-GAN", paints=True)
VARIANTS = (
    IF_GAN,
    Variant(
        title="IF-GAN without attention",
        method="ifgan",
        printed_as="IF-GAN w/o attention",
        settings=("attention=false",),
        paints=True,
    ),
    Variant(title="ResNet-101, softmax and island loss", method="resnet_island", printed_as="ResNet-101"),
)
LEAKS = ("identity AUC by E", "identity AUC by G(I)", "identity from E", "identity from G(I)", "chance of identity")
CLASSES = "The paper prints accuracies only, of six classes; RAF-DB: seven."
OURS = "The paper's faces have 224 px; here they are as large, and the ResNet-101 as deep and wide, as the preset says."
POSED = (CKPLUS, BU3DFE, MMI)
EXTRA = {dataset: tuple(other for other in DATASETS if other != dataset) for dataset in POSED}
AVERAGES = {RAFDB: POSED}  # with neutral, of the protocols ifgan_*_neutral


def _figure(number: int, title: str, name: str, variants: tuple[Variant, ...], note: str) -> Item:
    """Figures 5 and 6: pictures, and what the runs they are of can read and hide."""
    return Item(
        title=f"{title} (Figure {number})",
        variants=variants,
        datasets=DATASETS,
        protocols=PROTOCOLS,
        extra=EXTRA,
        averages=AVERAGES,
        measures=("accuracy", "expression from G(I)", "identity from G(I)", "chance of identity"),
        figure=name,
        notes=(note, OURS),
    )


ITEMS = {
    "table1": Item(
        title="Accuracy on CK+, BU-3DFE and MMI (Table 1)",
        variants=VARIANTS,
        datasets=(CKPLUS, BU3DFE, MMI),
        protocols=PROTOCOLS,
        extra=EXTRA,
        averages=AVERAGES,
        printed=numbers("if-gan", "table1"),
        measures=("accuracy", *LEAKS, "macro recall", "macro F1", "expression from G(I)"),
        notes=(
            CLASSES,
            OURS,
            "G(I) is the generated picture; the paper asserts that it shows nobody, the probes measure it.",
        ),
    ),
    "table2": Item(
        title="Accuracy on RAF-DB (Table 2)",
        variants=VARIANTS,
        datasets=(RAFDB,),
        protocols=PROTOCOLS,
        extra=EXTRA,
        averages=AVERAGES,
        printed=numbers("if-gan", "table2"),
        measures=("accuracy", "macro recall", "macro F1", "expression from G(I)"),
        notes=(
            CLASSES,
            OURS,
            "In the paper, average faces are of the three posed sets, with neutral (protocols ifgan_*_neutral). RAF-DB "
            "names nobody: identity cannot be judged, and intervals take every face for a person.",
        ),
    ),
    "fig5": _figure(
        5, "Expressions carried onto the average face", "transfer", (IF_GAN,), "The paper shows chosen faces."
    ),
    "fig6": _figure(
        6, "Where the generator's attention goes", "attention", (IF_GAN,),
        "The paper shows chosen query dots on chosen faces.",
    ),
}  # fmt: skip

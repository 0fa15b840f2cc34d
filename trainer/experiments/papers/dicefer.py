"""The tables and figures of DICE-FER (Aquib, Verma, Akhtar; CVPR Workshops 2025, pp. 5561-5570).

The printed numbers are those of `printed.csv`. The points of Figure 4 and the entries of Figure 5 are not in its text.
"""

from dataclasses import replace

from trainer.experiments.papers.item import Item, Variant
from trainer.experiments.papers.printed import numbers

CKPLUS, OULU, RAFDB, AFFECTNET = DATASETS = ("ckplus", "oulucasia", "rafdb", "affectnet")
PROTOCOLS = {  # RAF-DB's are one: the same faces in the same parts
    CKPLUS: ("dice_ckplus", "dice_ckplus_7c"), OULU: ("dice_oulu",), RAFDB: ("dice_rafdb", "ifgan_rafdb"),
    AFFECTNET: ("dice_affectnet7",),
}  # fmt: skip
PRINTED_FACES = {CKPLUS: 327, OULU: 480, RAFDB: 3068, AFFECTNET: 3500}  # that a printed accuracy is of
SIX = ("anger", "disgust", "fear", "happiness", "sadness", "surprise")
SEVEN = tuple(sorted((*SIX, "neutral")))
DICE_FER = Variant(title="DICE-FER", printed_as="DICE-FER (ours)")
RESNET = Variant(title="ResNet-18", method="resnet", printed_as="ResNet-18")
ZETAS = (0.0, 0.005, 0.01, 0.025, 0.04, 0.05)  # section 5.6
STRONGER_ZETAS = (0.1, 0.5, 1.0)  # ours: the printed range hardly acts


def _accuracies(table: str, dataset: str, name: str) -> Item:
    """Tables 3 to 6: one dataset, against other methods."""
    return Item(
        title=f"Accuracy on {name} (Table {table[-1]})",
        variants=(
            DICE_FER,
            Variant(title="DICE-FER, E fine-tuned", settings=("finetuned=true",), branch="classifier"),
            RESNET,
        ),
        datasets=(dataset,),
        protocols=PROTOCOLS,
        measures=("accuracy", "identity AUC by E", "macro precision", "macro recall", "macro F1", "H(P, R)"),
        printed=numbers("dice-fer", table),
        printed_faces=PRINTED_FACES,
        notes=(
            "The paper's F1 is the harmonic mean of its printed precision and recall, here H(P, R); macro F1 is the "
            "mean of the classes' F1. The paper does not say over what it averages precision and recall; here they "
            "stand beside the mean over classes.",
        ),
    )


def _sweep(joint: bool) -> tuple[Variant, ...]:
    """Figure 4: stage 2 with E frozen, as the equations have it, or moving."""
    kind, extra = ("joint", ("joint=true",)) if joint else ("frozen", ())
    return tuple(
        Variant(title=f"{kind}, zeta {zeta:g}", settings=(f"adversarial_weight={zeta:g}", *extra), branch="identity")
        for zeta in (*ZETAS, *STRONGER_ZETAS)
    )


ITEMS = {
    "table1": Item(
        title="Mutual information gap, I(E_M; E_N) - I(E_M; I_M) (Table 1)",
        variants=(DICE_FER,),
        datasets=DATASETS,
        protocols=PROTOCOLS,
        measures=(
            "MIG (InfoNCE)", "MIG (InfoNCE) / H(Y)", "MIG (DV)", "MIG (SMILE)", "MIG (KSG)", "I(E_M; E_N)",
            "I(E_M; E_N), posterior", "I(E_M; E_N), permuted", "I(E_M; I_M)", "I(E_M; I_M), permuted",
        ),
        printed=numbers("dice-fer", "table1"),
        notes=(
            "In nats. The paper names neither estimator nor unit of its MIG; the printed value stands at InfoNCE for "
            "want of a better place. It is a difference of two lower bounds, and no bound on anything.",
            "Of faces of people that no weight was trained on. Permuted codes share nothing: what they show is error.",
        ),
    ),
    "table2": Item(
        title="Ablations of stage 1 (Table 2)",
        variants=(
            replace(DICE_FER, printed_as="DICE-FER: Baseline"),
            Variant(title="no swap", printed_as="DICE-FER: Non-SER", settings=("swap=false",)),
            Variant(title="delta = 0", printed_as="DICE-FER: delta = 0", settings=("distance_weight=0",)),
            Variant(title="mu^exp = 0", printed_as="DICE-FER: mu^exp = 0", settings=("global_weight=0",)),
            Variant(title="nu^exp = 0", printed_as="DICE-FER: nu^exp = 0", settings=("local_weight=0",)),
        ),
        datasets=DATASETS,
        protocols=PROTOCOLS,
        measures=("accuracy", "identity AUC by E", "identity from E", "chance of identity"),
        printed=numbers("dice-fer", "table2"),
        printed_faces=PRINTED_FACES,
        notes=(
            "The row DICE-FER is the paper's Baseline, with the numbers of Tables 3 to 6. The paper's row Ideal, "
            "100 %, is no measurement.",
        ),
    ),
    "table3": _accuracies("table3", CKPLUS, "CK+"),
    "table4": _accuracies("table4", OULU, "Oulu-CASIA"),
    "table5": _accuracies("table5", RAFDB, "RAF-DB"),
    "table6": _accuracies("table6", AFFECTNET, "AffectNet, 7 classes"),
    "table7": Item(
        title="Trained on one dataset, judged on another (Table 7)",
        variants=(DICE_FER, RESNET),
        datasets=DATASETS,
        protocols=PROTOCOLS | {CKPLUS: ("dice_ckplus",)},  # whose first frames are neutral, the seventh class
        measures=("accuracy", "macro recall"),
        printed=numbers("dice-fer", "table7"),
        targets={CKPLUS: {OULU: SIX}, OULU: {CKPLUS: SIX}, RAFDB: {CKPLUS: SEVEN}, AFFECTNET: {CKPLUS: SEVEN}},
        notes=(
            "Trained and judged on the expressions that both datasets have: six between CK+ and Oulu-CASIA, seven from "
            "RAF-DB and AffectNet to CK+, whose first frames are neutral. The paper does not print how many it takes. "
            "Nothing of the target chooses, whitens or normalises anything. Every usable face of the target is "
            "judged, by the model of each fold and seed.",
        ),
    ),
    "fig3": Item(
        title="Retrieval by E and by I (Figure 3)",
        variants=(DICE_FER,),
        datasets=DATASETS,
        protocols=PROTOCOLS,
        measures=(
            "expression by E, precision@5", "chance of expression by E", "identity by E, precision@5",
            "identity by I, precision@5", "chance of identity by I", "expression by I, precision@5",
        ),
        figure="retrieval",
        notes=("The paper shows one query. Faces of the query's person (by E) or sequence (by I) are left out.",),
    ),
    "fig4": Item(
        title="The adversarial weight zeta (Figure 4)",
        variants=_sweep(joint=False) + _sweep(joint=True),
        datasets=DATASETS,
        protocols=PROTOCOLS,
        measures=("accuracy", "identity AUC by E", "identity from E", "expression from I", "identity from I"),
        figure="sweep",
        notes=(
            "With E frozen in stage 2, as Eq. 11 has it, the accuracy cannot depend on zeta. Where it is to, E must "
            "move (joint), which is not in the paper's equations.",
        ),
    ),
    "fig5": Item(
        title="Confusion matrices (Figure 5)",
        variants=(DICE_FER,),
        datasets=DATASETS,
        protocols=PROTOCOLS,
        measures=("accuracy", "macro recall"),
        figure="confusion",
        notes=(
            "Test faces of all runs together: of each true expression, the percentage read as which, and how many "
            "faces that are; a face counts once in each run that tests it. The entries of the printed matrices are not "
            "in the paper's text, which names fear and disgust, and neutral and sadness, as confused.",
        ),
    ),
    "tsne": Item(
        title="The codes in two dimensions (ours: no figure of the paper)",
        variants=(DICE_FER, RESNET),
        datasets=DATASETS,
        protocols=PROTOCOLS,
        measures=("accuracy", "identity AUC by E"),
        figure="tsne",
        notes=("t-SNE of E of people that no weight was trained on, coloured by expression and by person.",),
    ),
}  # fmt: skip

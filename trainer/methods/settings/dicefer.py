"""DICE-FER: expression and identity decoupled by mutual information, in two stages, then a classifier."""

from dataclasses import dataclass, replace

from trainer.methods.config import ConfigError, one_of

CRITICS = ("concat", "bilinear", "separable")
NEGATIVES = ("all", "shift", "other")
ESTIMATORS = ("dv", "jsd", "nce", "smile", "nwj", "mine")  # MINE keeps an average, all others are functions of a batch
SCHEDULES = ("constant", "cosine")


@dataclass(frozen=True, kw_only=True)
class DiceFerConfig:
    """The paper's values and places, where it gives them (section 5.3 unless said); (ours) where it does not."""

    batch_size: int = 32
    epochs_expression: int = 100
    epochs_identity: int = 100
    epochs_classifier: int = 100
    learning_rate: float = 1e-4
    weight_decay: float = 0.0  # (ours) decoupled: AdamW
    schedule: str = "constant"
    width: int = 64  # ResNet-18
    code_size: int = 64
    shared: bool = True  # (ours) one E and one I encoder for both faces of a pair; the paper writes psi_M, psi_N
    standardise: bool = False  # (ours) codes of mean 0 and spread 1
    critic: str = "concat"  # "derived from MINE": an MLP on map and code, joined (Belghazi et al. 2018)
    critic_width: int = 512  # (ours: Hjelm et al. 2019)
    balanced: bool = False  # (ours) draw the pairs' classes evenly
    swap: bool = True  # Eq. 6: the map of one face with the code of the other
    global_weight: float = 0.5  # mu^exp
    local_weight: float = 1.0  # nu^exp
    identity_global_weight: float = 0.5  # mu^id
    identity_local_weight: float = 1.0  # nu^id
    distance_weight: float = 0.1  # delta
    distance_warmup: int = 0  # (ours) epochs of stage 1 before the distance counts
    gated: bool = False  # (ours) the distance counts as far as the critics find information
    adversarial_weight: float = 0.01  # zeta (Fig. 4 sweeps 0 to 0.05)
    negatives: str = "all"  # (ours) pairs of a batch that do not belong together; `shift`: one a face
    expression_estimator: str = "dv"  # Eq. 3
    identity_estimator: str = "dv"
    discriminator_steps: int = 1  # (ours)
    discriminator_shifts: int = 1  # (ours) shuffles of I that stand for independence
    joint: bool = False  # (ours) stage 2 goes on with stage 1's objective and hides I from E as well as E from I
    finetuned: bool = False  # (ours) the classifier's gradient reaches E

    def __post_init__(self) -> None:
        """Refuse unknown names."""
        one_of("critic", self.critic, CRITICS)
        one_of("negatives", self.negatives, NEGATIVES)
        one_of("expression_estimator", self.expression_estimator, ESTIMATORS)
        one_of("identity_estimator", self.identity_estimator, ESTIMATORS)
        one_of("schedule", self.schedule, SCHEDULES)
        for name in ("expression_estimator", "identity_estimator"):
            if self.negatives == "other" and getattr(self, name) != "nce":
                raise ConfigError(
                    f"negatives=other with {name}={getattr(self, name)}: without pairs of one class the marginal is no "
                    "product of marginals and the divergence is infinite; use negatives=all, or the estimator nce"
                )


PAPER = DiceFerConfig()
DEFAULT = DiceFerConfig(
    batch_size=16, learning_rate=1e-3, weight_decay=1.0, schedule="cosine", standardise=True, balanced=True,
    critic="bilinear", critic_width=64, negatives="all", expression_estimator="nce", identity_estimator="jsd",
    distance_weight=0.2, gated=True, discriminator_steps=2, discriminator_shifts=4,
)  # fmt: skip
DEMO = replace(DEFAULT, width=16, epochs_expression=150, epochs_identity=20, epochs_classifier=20)
PRESETS = {"paper": PAPER, "default": DEFAULT, "demo": DEMO, "joint": replace(DEFAULT, joint=True)}
TRIED = {"default": 33, "demo": 33, "joint": 33, "paper": 0}  # settings, before a preset was chosen (docs/log.md)

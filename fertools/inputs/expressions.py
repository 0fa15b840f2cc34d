"""What labels and class folders are called in the languages of the field, and parts of a split likewise."""

import re
import unicodedata
from pathlib import Path

from fertools.inputs.table import Broken, Row, TableError, open_table

WORDS = {  # per expression; a word that means two of them in two languages (disgusto, calm) is in none
    "anger": "anger angry ang wut wütend ärger ärgerlich zorn zornig colère enfado enfadado enojo enojado ira "
    "raiva zangado rabbia arrabbiato 生气 生氣 愤怒 憤怒 怒り 怒 분노 화남 гнев злость",
    "contempt": "contempt contemptuous con verachtung mépris desprecio desprezo disprezzo 蔑视 蔑視 轻蔑 輕蔑 軽蔑 "
    "경멸 презрение",
    "disgust": "disgust disgusted dis ekel angeekelt dégoût asco repugnancia nojo repulsa 厌恶 厭惡 恶心 嫌悪 혐오 "
    "역겨움 отвращение",
    "fear": "fear fearful afraid scared fea angst furcht ängstlich peur miedo temor medo paura 恐惧 恐懼 害怕 "
    "恐怖 恐れ 두려움 공포 страх",
    "happiness": "happiness happy joy joyful hap freude fröhlich glück glücklich joie heureux heureuse bonheur "
    "felicidad feliz alegría alegre felicidade alegria felicità felice gioia 高兴 高興 快乐 快樂 开心 "
    "開心 喜び 幸せ 기쁨 행복 радость счастье",
    "neutral": "neutral neu neutrality neutre neutro neutra neutrale 中性 中立 無表情 无表情 중립 무표정 нейтральный",
    "sadness": "sadness sad trauer traurig traurigkeit tristesse triste tristeza tristezza 悲伤 悲傷 难过 難過 "
    "伤心 傷心 悲しみ 悲しい 슬픔 грусть печаль",
    "surprise": "surprise surprised sur suprise überraschung überrascht surpris sorpresa sorprendido surpresa "
    "surpreso sorpreso 惊讶 驚訝 吃惊 吃驚 惊喜 驚き 놀람 удивление",
}
ENGLISH = {  # the canonical names and their adjectives: what needs no note
    "anger", "angry", "contempt", "contemptuous", "disgust", "disgusted", "fear", "afraid", "fearful", "happiness",
    "happy", "neutral", "sadness", "sad", "surprise", "surprised",
}  # fmt: skip
PARTS = {
    "train": "train training trn trainset train_set ausbildung entrenamiento 训练 训练集",
    "validation": "val valid validation dev devel validate val_set valid_set validation_set publictest public_test "
    "验证 验证集",
    "test": "test testing tst testset test_set privatetest private_test 测试 测试集",
}
NUMBERED = re.compile(r"(?:\d+\s*[-_.:) ]\s*)?(.*?)(?:\s*[-_. (]\s*\d+\)?)?")  # 0_angry, 3 - sad, happy (2), fear_1


def fold(text: str) -> str:
    """Return a word without case, accents, blanks around it, and its Unicode form."""
    text = unicodedata.normalize("NFKD", text.strip().casefold())
    return unicodedata.normalize("NFC", "".join(c for c in text if unicodedata.category(c) != "Mn"))


LABELS = {word: name for name, words in WORDS.items() for word in map(fold, words.split())}
_PARTS = {word: name for name, words in PARTS.items() for word in map(fold, words.split())}


def label_of(text: str) -> str | None:
    """Return the word of LABELS that a label or a folder is, without a number before or after it; null: none."""
    word = fold(text)
    if word in LABELS:
        return word
    bare = NUMBERED.fullmatch(word)
    return bare[1] if bare and bare[1] in LABELS else None


def part_of(text: str) -> str | None:
    """Return train, validation or test for what a part of a split is called; null where it is none."""
    return _PARTS.get(fold(text))


def read_map(text: str) -> dict[str, str]:
    """Return what a user's --map says: label as written -> canonical expression.

    Args:
        text: `joy=happiness,0=anger`, or the path of a table with columns label and expression.

    Raises:
        TableError: neither, or an expression that is none.
    """
    if "=" in text and not Path(text).is_file():
        pairs = [tuple(part.split("=", 1)) if "=" in part else (part, "") for part in text.split(",") if part.strip()]
    else:
        table = open_table(
            Path(text), {"label": ("code", "from"), "expression": ("emotion", "to")}, ("label", "expression")
        )
        rows = list(table.rows())
        if broken := [row for row in rows if isinstance(row, Broken)]:
            raise TableError(f"{text}, line {broken[0].line}: {broken[0].reason}")
        pairs = [(row.cells["label"], row.cells["expression"]) for row in rows if isinstance(row, Row)]
    meant: dict[str, str] = {}
    for label, expression in pairs:
        if (word := label_of(expression)) is None or not label.strip():
            raise TableError(f"--map: {label}={expression}: no expression; known: {', '.join(WORDS)}")
        if meant.setdefault(label.strip(), LABELS[word]) != LABELS[word]:
            raise TableError(f"--map: {label} is both {meant[label.strip()]} and {LABELS[word]}")
    return meant

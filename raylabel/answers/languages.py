"""How languages say that something is not in a picture: their words, not their sentences."""

from __future__ import annotations

import functools
from dataclasses import dataclass


@dataclass(frozen=True)
class Language:
    """How language says that something is not in a picture.

    Args:
        negations: words of which a clause of absence holds one.
        seconds: those that may stand beside it without another meaning ("no hay ningún ..", "n'est pas").
        everything: nouns for all that was asked for.
        others: what else such a clause is made of.
        leads: words of clauses that may come before it.
        picture: words for the image itself.
        given: with one of these at its end a clause says that nothing was asked for.
        endings: by which the forms of one noun differ.
        numbers: they count all that was asked for ("none of the three objects"), or say something else.
        joiners: what stands before the last of several things that are denied together.
        conjunctions: those behind which something else may be said; they end what a negation denies.
        before_head: words that may stand between article and head noun where the head noun comes first.
        after_head: where a phrase goes on to say more of its head noun.
        spaced: words are parted by blanks; where they are not, ``head`` finds the head noun of a phrase.
    """

    negations: frozenset[str]
    everything: frozenset[str]
    others: frozenset[str]
    leads: frozenset[str]
    picture: frozenset[str] = frozenset()
    given: frozenset[str] = frozenset()
    endings: frozenset[str] = frozenset({""})
    numbers: frozenset[str] = frozenset()
    joiners: frozenset[str] = frozenset()
    conjunctions: frozenset[str] = frozenset()
    seconds: frozenset[str] = frozenset()
    before_head: frozenset[str] = frozenset()
    after_head: frozenset[str] = frozenset()
    head_first: bool = False
    spaced: bool = True
    head: str = ""

    @functools.cached_property
    def known(self) -> frozenset[str]:
        """All words of absence."""
        return self.negations | self.seconds | self.everything | self.others

    @functools.cached_property
    def before_noun(self) -> frozenset[str]:
        """What may stand before the head noun where that comes first."""
        return self.others | self.numbers | self.before_head


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


ENGLISH = Language(
    picture=_set("image picture photo photograph scene frame"),
    given=_set("specified provided given requested described supplied uploaded listed asked"),
    endings=_set("s es") | {""},
    numbers=_set("one two three four five six several"),
    joiners=_set("or nor"),
    conjunctions=_set("and both"),
    negations=_set("no not none nothing neither nor zero 0 unable absent missing nowhere"),
    everything=_set("object objects item items thing things target targets matches none nothing them they"),
    others=_set(
        """do there is are was were be been being s any a an the of or in on within from at here this that these
        those image picture photo photograph scene frame visible seen found present detected shown see find locate
        detect spot observe identify identified located depicted appear appears exist exists contain contains show
        shows include includes depict depicts has have i we can could does did am able to anywhere matching match
        matches such requested described specified mentioned given provided asked corresponding fitting fit fits for
        you your looking which instance instances description bounding single listed listing queried descriptions
        phrases phrase queries query criteria criterion kind type sort picturing wearing with sorry unfortunately
        confirm confirmed seems also both and seem m"""
    ),
    leads=_set(
        """no sorry unfortunately i m am afraid we apologize looked looking searched checked reviewed examined
        carefully at the whole entire image picture photo through after upon inspection twice answer and have has
        careful close closer further examining examination inspecting scanning reviewing checking searching
        analyzing analysis again for any based confirm confirmed confirms conclude concluded determine determined
        believe appears seems according as per given thoroughly visual content contents analysed analyzed it"""
    ),
    after_head=_set(
        """in on of with at near behind under above beside by to from for who that which wearing holding standing
        sitting riding carrying walking lying hanging parked next between inside"""
    ),
)
_GERMAN = Language(
    picture=_set("bild foto aufnahme szene"),
    given=_set("angegeben genannt gegeben"),
    endings=_set("e en er n s es r m") | {""},
    numbers=_set("zwei drei vier fünf beiden"),
    joiners=_set("oder"),
    conjunctions=_set("und"),
    negations=_set("kein keine keinen keiner keines keinem nicht nichts weder noch keinerlei"),
    everything=_set("objekt objekte objekten nichts gegenstand gegenstände ziel ziele"),
    others=_set(
        """es auf in im am dem der das die den des diesem dieser dieses bild foto aufnahme szene ist sind war wurde
        wurden zu sehen finden erkennen erkannt gefunden entdeckt sichtbar vorhanden enthalten abgebildet ich sehe
        finde erkenne kann konnte gibt hier ein eine einen passenden passendes passende entsprechenden gesuchten
        gesuchte solche solches solcher gesucht zeigt enthält oder werden weit breit und genannten genannte
        aufgeführten aufgelisteten erwähnten beschriebenen entdecken davon beiden einer eines irgendwo nirgends
        kommt vor man konnten mit von leider bereitgestellten bereitgestellte gegebenen vorliegenden nein habe
        befindet befinden sich"""
    ),
    leads=_set(
        """nein leider tut mir leid entschuldigung ich habe das bild genau untersucht geprüft angesehen nach genauer
        prüfung basierend laut zufolge bereitgestellten bereitgestellte gegebenen vorliegenden"""
    ),
    after_head=_set("in im auf mit an am vor hinter neben unter über der die das aus von bei"),
)
_FRENCH = Language(
    picture=_set("image photo scène"),
    given=_set("fourni fournie indiqué précisé"),
    endings=_set("s x e es") | {""},
    numbers=_set("deux trois quatre cinq"),
    joiners=_set("ou ni"),
    conjunctions=_set("et"),
    negations=_set("pas aucun aucune rien ni"),
    seconds=_set("ne n ni"),
    everything=_set("objet objets rien élément éléments cible cela"),
    others=_set(
        """il y a ces de d du la le les l un une sur dans cette cet ce image photo scène est sont été visible
        visibles présent présente présents présentes trouvé trouvée trouvés trouvées détecté détectée détectés vu
        vue je vois trouve peux voir trouver ou correspondant correspondants correspondante demandé demandés
        demandée tel tels contient montre on ai voit voient apparaît apparaissent figure figurent recherché
        recherchés recherchée recherchées des mentionné mentionnés listés éléments distingue aperçois pouvons avons
        nulle part parmi se en à avec tout cela tous toutes désolé désolée malheureusement"""
    ),
    leads=_set(
        """non désolé désolée malheureusement je suis après examen de l image d selon fournie fourni donnée avoir
        examiné attentivement"""
    ),
    before_head=_set(
        """grand grande petit petite gros grosse vieux vieille jeune beau belle nouveau nouvelle bon bonne"""
    ),
    after_head=_set("de du des d à au avec sur dans en sous devant derrière qui près"),
    head_first=True,
)
_SPANISH = Language(
    picture=_set("imagen foto fotografía escena"),
    given=_set("proporcionado especificado indicado"),
    endings=_set("s es") | {""},
    numbers=_set("dos tres cuatro cinco"),
    joiners=_set("o u ni"),
    conjunctions=_set("y e"),
    negations=_set("no nada ningún ninguna ninguno ni"),
    seconds=_set("ningún ninguna ninguno nada ni"),
    everything=_set("objeto objetos nada elemento elementos"),
    others=_set(
        """hay los existe existen aparece aparecen se ve ven observa observan encuentra encuentran encontró
        encontraron detecta detectan detectó detectaron aprecia aprecian veo encuentro puedo ver encontrar en la el
        las esta este imagen foto fotografía escena un una de está están es son visible visibles presente presentes
        ha han sido encontrado encontrada encontrados que coincida coincidan con descripción o solicitado
        solicitados contiene muestra he tal tales encontré hemos encontramos indicados indicado detectado detectados
        mencionados mencionado listados listado corresponda correspondan buscado buscados logro pude puede pueden
        haya parte alguna ninguna al estos estas lo siento lamentablemente proporcionada"""
    ),
    leads=_set(
        """no lo siento lamentablemente desafortunadamente he revisado la imagen tras examinar según proporcionada
        proporcionado dada después de revisar cuidadosamente"""
    ),
    before_head=_set("gran grande pequeño pequeña viejo vieja nuevo nueva buen buena"),
    after_head=_set("de del con en sobre bajo junto que al"),
    head_first=True,
)
CHINESE = Language(
    joiners=_set("和 或 与 及 以及 、"),
    picture=_set("图片 图像 照片 画面"),
    negations=_set(
        """没有 沒有 并未 未能 未 不存在 找不到 看不到 看不见 没 無法 无法 不在 无 無 不包含 不含 未见 并未见"""
    ),
    everything=_set("物体 目标 对象 物品 东西 物體 目標"),
    others=_set(
        """这些 那些 图片 图像 图 照片 画面 场景 圖片 圖像 圖 中 里 裡 内 上 这 這 张 張 幅 该 此 的 在 有 到 任何
        可见 我 并 能 检测到 检测 發現 发现 找到 看到 看见 识别到 定位到 出现 包含 见到 显示 符合 匹配 相关 描述
        要求 所 您 你 指定 提到 一 个 辆 只 把 条 台 座 位 名 艘 架 匹 头 件 棵 被 或 也 都 既 列 列出 列举 与 和 及
        以及 、 任意 该图像 本 其 可 见 幅画 里面 任一 均 能够 所列 提供 给定 画 种 抱歉 很抱歉 对不起 根据"""
    ),
    leads=_set("很抱歉 抱歉 对不起 不好意思 经过 仔细 查看 检查 后 根据 提供 提供的 给出 依据 看"),
    spaced=False,
    head=r"([^的]{1,2})\Z",
)
JAPANESE = Language(
    joiners=_set("と も や 、"),
    picture=_set("画像 写真"),
    negations=_set(
        """ありませんでした ありません いませんでした いません 見つかりませんでした 見つかりません
        見つけられませんでした 見つけられません 見当たりませんでした 見当たりません 見えません 写っていません
        映っていません 存在しません 検出されませんでした 検出されません 検出できませんでした 検出できません
        確認できませんでした 確認できません ない なし 見つからない 見当たらない 写っていない 存在しない 見られません
        見られませんでした 含まれていません 見受けられません 見つけることができません 見つけることができませんでした
        確認できない 写っておりません 含まれていない 見つかりませんです 写っていないです ないです"""
    ),
    everything=_set("物体 対象物 対象 オブジェクト もの 該当"),
    others=_set(
        """画像 写真 この その 図 シーン 内 中 上 には では に は が を も の で どこ 該当する 指定された 一致する
        ような 対応する と 条件 説明 合う 姿 いずれ どれ や 、 という 何 ご指定 お探し 挙げられた 全体 どちら すべて
        それら これら 提供された 与えられた です ます 内に いいえ 残念ながら 申し訳ありません 申し訳ございません
        すみません 一つも"""
    ),
    leads=_set(
        """申し訳ありません 申し訳ございません 残念ながら いいえ すみません 確認しましたが 探しましたが 見ましたが"""
    ),
    spaced=False,
    head=r"([\u4e00-\u9fff\u3005]+|[\u30a0-\u30ff]+)(?![\s\S]*[\u4e00-\u9fff\u3005\u30a0-\u30ff])",
)

LANGUAGES = (ENGLISH, _GERMAN, _FRENCH, _SPANISH, CHINESE, JAPANESE)
"""Those in which absence is understood; in any other it is asked again."""

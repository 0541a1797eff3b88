"""Replies in words: the model declines, or says that nothing is there."""

from __future__ import annotations

import re
from enum import Enum

MAX_LENGTH = 1200
"""A longer text is a description; it neither declines nor denies."""


class InWords(Enum):
    """What a reply without boxes says in words."""

    REFUSED = "refused"
    NOTHING = "nothing"
    UNCLEAR = "unclear"


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


# Declining to help, or to look at people: no sentence about absence says these.
_DECLINES = _any(
    r"\b(?:can(?:'t|not| not)|could(?:n't| not)|won't|will not|unable to|not able to|not allowed to|not "
    r"comfortable|(?:must|have to) decline|not permitted to|refuse to)\b[^.!?\n]{0,60}?\b(?:help|assist|"
    r"comply|fulfil+|support|provide|process|answer|do (?:that|this)|engage|participate|continue|discuss|"
    r"share|perform|complete|view images|analy[sz]e|(?:identify|recogni[sz]e|"
    r"name)\b[^.!?\n]{0,40}\b(?:people|person|persons|individuals?|faces?|who|someone|anyone|"
    r"identit\w+))\b",
    r"\bagainst (?:my|our|the) (?:polic|guidelines|rules|programming)",
    r"\b(?:violates?|due to) (?:my|our|the) (?:\w+ ){0,2}(?:polic|guidelines)",
    r"\b(?:don't|do not) (?:identify|recogni[sz]e|name|locate) (?:real )?(?:people|persons|individuals|faces)\b",
    r"\b(?:guidelines|polic(?:y|ies)|rules|privacy)\b[^.!?\n]{0,40}\b(?:not|n't|prevent|prohibit|forbid)",
    r"(?:\bnot|n't) allow me to\b|\b(?:kann|darf) keine \w+ (?:identifizieren|erkennen|benennen)\b",
    r"\bas an? (?:ai|large language|language model|artificial)",
    r"\b(?:have to|must|would|will) (?:\w+ly )?decline\b|\bnot comfortable (?:with )?\w+ing\b",
    r"\b(?:can(?:'t|not| not)|unable to) (?:see|view|access|open|load|display) (?:the |any |this |an |"
    r"your )?(?:images?|pictures?|photos?|attachments?|files?)\b(?! (?:of|with|that))",
    r"(?:无法|不能|不便|没办法|無法)(?:为您|为你|協助|协助|帮助|帮您|提供|识别(?:图中|图片中|"
    r"照片中)?(?:的)?人|回答|满足|处理|完成|執行|执行)",
    r"お手伝い(?:することは)?できません|お答えできません|対応できません|お応えできません",
    r"特定することはできません|識別することはできません",
    r"도와드릴 수 없|도움을 드릴 수 없|답변(?:을|해)? ?드릴 수 없|식별할 수 없|제공할 수 없",
    r"\bno puedo (?:ayudar|asistir|identificar (?:a )?(?:las? |los )?personas?|proporcionar|responder|"
    r"hacer eso)",
    r"\bne (?:peux|puis) pas (?:vous |t')?(?:aider|identifier (?:des|les) personnes|répondre|fournir|"
    r"faire cela)",
    r"\b(?:kann|darf|möchte) (?:ich )?(?:\w+ ){0,4}nicht (?:\w+ ){0,3}(?:helfen|unterstützen|beantworten|"
    r"identifizieren)",
    r"nicht (?:dabei )?(?:helfen|weiterhelfen)|nicht behilflich",
    r"\bnão posso (?:ajudar|identificar pessoas|fornecer|responder)",
    r"\bnon posso (?:aiutar|identificare (?:le )?persone|fornire|rispondere)",
    r"не могу (?:помочь|вам помочь|выполнить|ответить|предоставить|определить личност|опознать|"
    r"идентифицировать|это)",
    r"لا (?:أستطيع|يمكنني|يمكنني) (?:مساعد|المساعد|تقديم|التعرف|تحديد هوية)",
    r"yardımcı olam|nie mogę (?:w tym )?(?:pomóc|zidentyf)",
    r"kan (?:ik )?(?:je |u )?(?:hier )?(?:niet|daar niet) (?:mee )?helpen",
    r"không thể (?:giúp|hỗ trợ|cung cấp)",
    r"tidak (?:dapat|bisa) (?:membantu|menyediakan|mengidentifikasi orang)",
    r"मदद नहीं कर|सहायता नहीं कर|ไม่สามารถ(?:ช่วย|ให้)",
)

_ABSENT = _any(
    # English
    r"\bthere (?:is|are|was|were|does|do)(?:n't| not| no\b)(?! (?:doubt|need|problem|longer))",
    r"\bthere(?:'s| is| are|'re) (?:no|not|none|nothing|zero)\b(?! (?:doubt|need|problem))",
    r"\b(?:can(?:'t|not| not)|could(?:n't| not)|do(?:es)?(?:n't| not)|did(?:n't| not)|unable to|not able "
    r"to|failed to|was(?:n't| not) able to|fail to) (?:\w+ ){0,2}?(?:see|find|locate|detect|spot|observe|"
    r"discern|make out|identify|recogni[sz]e|notice|contain|show|depict|include|appear|feature|exist|have|"
    r"match)\b",
    r"\bno\b[^.!?\n]{0,80}?\b(?:visible|found|present|detected|seen|shown|appears?|exists?|matches|match|"
    r"in (?:the|this) (?:image|picture|photo|scene)|be found|be seen|located|depicted|identified|"
    r"available)\b",
    r"\b(?:not|nowhere) (?:\w+ ){0,2}?(?:visible|found|present|detected|seen|shown|in (?:the|this) "
    r"(?:image|picture|photo|scene)|in view|there|depicted|pictured|identified|to be (?:seen|found))\b",
    r"\b(?:is|are|was|were)(?:n't) (?:\w+ ){0,2}?(?:visible|found|present|detected|seen|shown|in (?:the|"
    r"this)|there|depicted)\b",
    r"\b(?:none|neither|nothing) (?:of|that|matching|match|in|is|are|was|were|found|here|can|could|"
    r"visible|detected|to)\b",
    r"\bneither\b[^.!?\n]{1,80}\bnor\b|(?:^\W*|\bthere (?:are|were|is) )(?:0|zero) \w+|\bfound 0\b",
    r"\bi (?:see|found|find|detect|detected|saw) (?:no|none|nothing)\b",
    r"^\W*(?:no (?:\w+ ){0,3}(?:objects?|match(?:es)?|box(?:es)?|bounding box(?:es)?|detections?|"
    r"instances?|results?|items?|targets?|such \w+)|none|nothing|not (?:found|visible|present|there|"
    r"detected)|n/?a|null|no|absent|empty)(?: (?:found|detected|visible|present|here|there))?\W*$",
    r"\b(?:is|are) (?:absent|missing) (?:from|in)\b",
    r"\b(?:image|picture|photo|scene|frame)\b[^.!?\n]{0,40}\b(?:has|contains|shows|depicts) no\b",
    r"\bdevoid of\b|\bzero (?:objects|instances|matches)\b",
    # Chinese, Japanese, Korean
    r"(?:未|没有|没能|沒有|无法|無法|不能|并未|並未|未能)(?:\w{0,4})?(?:检测|檢測|发现|發現|找到|看到|"
    r"看见|定位|出现|出現|识别到|存在|包含|见到|匹配)",
    r"(?:图|圖|图片|图像|照片|画面|畫面|場景|场景)(?:中|里|裡|内|內|上)?(?:并|並|都)?(?:没有|沒有|不存在|"
    r"无|無|未见|不含)",
    r"^\W*(?:没有|沒有|无|無|不存在|找不到|看不到)|不存在|找不到|看不到|没有任何|沒有任何|没有符合",
    r"无目标",
    r"見つかりません|見つけられません|見当たりません|見えません|写っていません|映っていません",
    r"存在しません|ありません(?!か)|いません(?!か)|検出されません|検出できません|確認できません",
    r"該当なし",
    r"없습니다|없어요|보이지 않|찾을 수 없|존재하지 않|발견되지 않|감지되지 않|검출되지 않|없음",
    # Spanish, Portuguese, Italian, French
    r"\bno (?:hay|existen?|aparecen?|contiene|encuentro|veo|encontré|he encontrado|se (?:ven?|observan?|"
    r"encuentran?|encontr\w+|detect\w+|aprecian?|aprecia|muestra\w*))\b",
    r"\bning[uú]n[oa]?\b|\bno (?:está|están) (?:presente|visible|en la)",
    r"\bnão (?:há|existem?|aparecem?|vejo|encontr\w+|foi|foram|consigo (?:ver|encontrar)|se vê|contém)\b",
    r"\bnenhum[a]?\b",
    r"\bnon (?:ci sono|c'è|c’è|vedo|trovo|ho trovato|sono presenti|è presente|sono visibili|è visibile|si "
    r"ved\w+|compare|contiene|riesco a (?:vedere|trovare))",
    r"\bnessun[oa]?\b",
    r"\b(?:il )?n['’](?:y a|y en a|est|apparaî\w+|a pas|ai pas|existe)\b[^.!?\n]{0,30}\b(?:pas|aucune?|"
    r"rien)\b",
    r"\baucune?\b",
    r"\bne (?:vois|trouve|détecte|contient|montre|sont|distingue)\b[^.!?\n]{0,20}\b(?:pas|aucune?|rien)\b",
    r"\brien (?:de|n)|\bintrouvable",
    # German, Dutch, Nordic
    r"\bich (?:sehe|finde|erkenne) (?:\w+ ){0,3}(?:keine?\w{0,2}|nichts)\b",
    r"\bkeine?[mnrs]?\b[^.!?\n]{0,80}\b(?:zu (?:sehen|finden|erkennen)|sichtbar|vorhanden|gefunden|"
    r"erkennbar|erkannt|entdeckt|entdecken|erkennen|sehen|finden|bild|foto|aufnahme|szene)",
    r"\bes gibt (?:hier |auf \w+ \w+ |im bild )?(?:keine?|nichts)",
    r"\bnicht (?:\w+ ){0,2}?(?:zu (?:sehen|finden|erkennen)|sichtbar|vorhanden|gefunden|erkennbar|"
    r"enthalten|abgebildet)",
    r"\bnichts\b[^.!?\n]{0,40}\b(?:zu sehen|gefunden|erkennbar)",
    r"^\W*(?:keine?[rs]?|nichts)(?: \w+){0,3}\W*$",
    r"\bgeen\b[^.!?\n]{0,80}\b(?:zichtbaar|gevonden|aanwezig|te zien|afbeelding|foto|beeld)",
    r"\ber (?:is|zijn) geen\b|\bniet (?:zichtbaar|gevonden|aanwezig|te zien)",
    r"\bdet finns (?:inga|ingen|inget)|\bingen\w* .{0,40}(?:synlig|hittade|fundet)",
    r"\bder er (?:ingen|ikke)",
    # Slavic, Turkish, others
    r"\bнет\b",
    r"не (?:вижу|видно|найден\w*|обнаружен\w*|наш[ёе]л\w*|удалось (?:найти|обнаружить)|присутству\w*|"
    r"содержит|виден|видны|видна)",
    r"отсутству|нема[єе]?\b|не знайдено",
    r"\bnie (?:ma|widać|znalezion\w*|widzę|wykryto|znajduje)\b|\bbrak\b|\bžádn\w+|\bnení\b|\bnejsou\b",
    r"\byok(?:tur)?\b|bulunamadı|bulunmu?yor|bulunmamakta|görünmüyor|görülmüyor|görmüyorum",
    r"tespit edilemedi",
    r"لا (?:يوجد|توجد|يظهر|تظهر|أرى|تحتوي|يحتوي)|لم (?:يتم العثور|أجد|أعثر|يُعثر|يتم اكتشاف)",
    r"غير موجود|ليس هناك|ليست هناك",
    r"אין |לא (?:נמצא|נראה|רואה)",
    r"नहीं (?:है|हैं|मिल|दिख|पाय)|कोई .{0,60}नहीं",
    r"\bkhông (?:có|thấy|tìm thấy|phát hiện|xuất hiện|nhìn thấy)\b",
    r"\btidak (?:ada|ditemukan|terlihat|terdapat|terdeteksi|menemukan|tampak)\b|ไม่พบ|ไม่มี|ไม่ปรากฏ",
    r"ไม่เห็น",
)

_SORRY = _any(
    r"\bledsen\b|\bbeklager\b|\bpahoittelen\b|\bi'd rather not\b|\bprefer not to\b",
    r"\b(?:i(?:'m| am)|we(?:'re| are)) (?:so |very |really )?(?:sorry|afraid)\b|\bsorry\b",
    r"\bapologi[sz]e\b|\bunfortunately\b",
    r"\bi (?:can(?:'t|not| not)|won't|will not)\b|\bi(?:'m| am) (?:unable|not able|not allowed)\b",
    r"\bnot appropriate\b|\binappropriate\b",
    r"抱歉|对不起|對不起|不好意思|申し訳|すみません|죄송|미안",
    r"\blo siento\b|\bno puedo\b|\bdésolée?\b|\bne peux pas\b|\btut mir (?:sehr )?leid\b|\bleider\b",
    r"\bkann ich nicht\b|\bdesculpe\b|\bsinto muito\b|\bnão posso\b|\bmi dispiace\b|\bnon posso\b",
    r"извините|к сожалению|не могу|عذر|آسف|لا أستطيع|لا يمكنني|üzgünüm|przykro|przepraszam|het spijt",
    r"xin lỗi|\bmaaf\b|ขออภัย|क्षमा|माफ|סליחה|מצטער",
)

_POSITIVE = re.compile(
    r"\b(?:but|however|although|though|yet|instead|aber|jedoch|pero|sin embargo|mais|cependant|mas|però|"
    r"но|однако)\b[^.!?\n]{0,60}?\b(?:there (?:is|are)|there's|i (?:can |do )?(?:see|found|find)|(?:is|"
    r"are) (?:at|located|visible|in|on|there|standing|parked)|ist|sind|hay|il y a|есть|stands?|"
    r"shows?)\b(?! (?:no|not|nothing|none|kein\w*|nicht|pas)\b)",
    re.IGNORECASE,
)


def said_in_words(text: str) -> InWords:
    """What a reply says that holds no box: it declines, it denies, or neither.

    >>> said_in_words("There are no fire extinguishers visible in this image.").value
    'nothing'
    >>> said_in_words("I'm sorry, but I can't help with that.").value
    'refused'
    >>> said_in_words("There is no cat, but a dog is at the door.").value
    'unclear'
    """
    text = " ".join(text.replace("\u2019", "'").replace("\u2018", "'").replace("\u00b4", "'").split())
    if not text or len(text) > MAX_LENGTH:
        return InWords.UNCLEAR
    if _DECLINES.search(text):
        return InWords.REFUSED
    if _ABSENT.search(text):
        return InWords.UNCLEAR if _POSITIVE.search(text) else InWords.NOTHING
    if _SORRY.search(text) and len(text) < 600:
        return InWords.REFUSED
    return InWords.UNCLEAR

"""How a server says that an answer ended: one table of words for all backends.

Spelling does not matter: case, ``-``, ``_`` and blanks are dropped before a word is looked up. What the four groups
mean for an answer:

* *stop*: it is whole.
* *length*: it was cut; asked again with more room, and what is there counts in part at most.
* *broken*: the server broke off; the request failed, in passing, and is tried again like a lost connection.
* *refused*: a filter, or the model, declines; settled.

Every other word vouches for nothing (``Finish.OTHER``): a new one; ``OTHER`` and ``LANGUAGE`` of Gemini; those of tool
calls, since none was offered and the text beside it need not be all that was said. Such an answer is used, flagged with
its word (rule ``unknown_finish``), and never believed that something is *not* there: the server says that something
happened, and an emptied list is what filters leave behind. Where the word means a whole answer after all, the user says
so (``vlm.finish_words``).

No word at all (absent, null, ``"null"``: older servers on whole answers, and gateways whose stream was cut) is flagged
too, as ``none``. It says nothing rather than something, so that an absence counts once a second answer, asked for anew,
says the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raylabel.clients.base import Finish
from raylabel.errors import printable

NO_WORD = "none"
"""Stands for a word that is missing where words are counted."""

ONLY_REASONING = "nothing but reasoning"
"""Stands after the word of an answer whose text is empty and whose reasoning is not."""

_LONGEST = 40
"""Characters of a word that are kept."""

_WORDS: Mapping[Finish, str] = {
    # OpenAI; Anthropic; TGI, Together, watsonx; AI21; Cohere, Responses; Titan; ERNIE; llama.cpp; HyperCLOVA.
    Finish.STOP: """
        stop end_turn stop_sequence eos eos_token endoftext end_token complete completed finish finished normal word
        stop_before stop_token end_of_turn end_of_sequence
    """,
    # OpenAI; Gemini; Responses; Anthropic, GLM; Mistral; watsonx; Cohere; llama.cpp; vLLM ends loops by "repetition".
    Finish.LENGTH: """
        length max_tokens max_output_tokens max_completion_tokens max_new_tokens max_length max_token_limit incomplete
        model_length model_context_window_exceeded context_window_exceeded context_length context_length_exceeded
        token_limit limit error_limit truncated not_finished continuation pause_turn repetition
    """,
    # OpenRouter, Mistral, LMDeploy; GLM; DeepSeek; vLLM, SGLang; watsonx; Cohere; Gemini; Bedrock; Ollama; Responses.
    Finish.BROKEN: """
        error network_error insufficient_system_resource abort aborted cancel cancelled canceled user_cancel
        user_cancelled timeout time_limit deadline_exceeded malformed_function_call malformed_response
        malformed_model_output malformed_tool_use unexpected_tool_call too_many_tool_calls missing_thought_signature
        load unload failed interrupted internal_error internal_server_error server_error engine_error upstream_error
    """,
    # OpenAI; Vercel, Titan; GLM, Hunyuan; Gemini; Anthropic; Bedrock; Cohere; gateways with filters of their own.
    Finish.REFUSED: """
        content_filter content_filtered content_filter_error content_policy content_policy_violation policy_violation
        sensitive safety recitation blocklist prohibited_content spii escalation image_safety image_prohibited_content
        image_recitation model_armor jailbreak refusal refused guardrail guardrail_intervened guardrails error_toxic
        moderation moderated moderation_blocked flagged blocked unsafe censored
    """,
}


def normalized(word: str) -> str:
    """A machine's word without what spellings differ in.

    >>> normalized("content-filter") == normalized("contentFilter") == normalized("CONTENT_FILTER")
    True
    """
    return "".join(char for char in word.casefold() if char.isalnum())


_TABLE = {normalized(word): finish for finish, words in _WORDS.items() for word in words.split()}
_MISSING = ("", "null", "none")


def read_finish(value: Any) -> tuple[Finish, str]:
    """What a server's word for the end of an answer means, and the word, fit to be shown; empty where there is none.

    Args:
        value: as it stands in the body; SGLang wraps the word into ``{"type": ...}``.

    >>> read_finish("max tokens"), read_finish({"type": "stop", "matched": 2}), read_finish(None)
    ((<Finish.LENGTH: 'length'>, 'max tokens'), (<Finish.STOP: 'stop'>, 'stop'), (<Finish.OTHER: 'other'>, ''))
    """
    if isinstance(value, Mapping):
        value = value.get("type")
    word = "" if value is None else printable(str(value)).replace(",", " ")[:_LONGEST].strip()
    if word.casefold() in _MISSING:
        return Finish.OTHER, ""
    return _TABLE.get(normalized(word), Finish.OTHER) if isinstance(value, str) else Finish.OTHER, word


def decisive_finish(one: tuple[Finish, str], other: tuple[Finish, str]) -> tuple[Finish, str]:
    """The word of a gateway, unless it says "whole" and that of the server behind it contradicts.

    >>> [decisive_finish(read_finish("stop"), read_finish(behind))[1] for behind in ("SAFETY", "new")]
    ['SAFETY', 'stop']
    """
    contradicted = one[0] is Finish.STOP and other[0] in (Finish.LENGTH, Finish.BROKEN, Finish.REFUSED)
    return other if contradicted else one


def word_of(finish_detail: str) -> str:
    """The server's word in a ``Reply.finish_detail``; ``none`` where it said none."""
    return finish_detail.partition(",")[0].strip() or NO_WORD

"""Families of chat models: how each writes a conversation, in templates of our own.

The control strings, the order of the parts, the white space and the special cases are each
family's; the templates are written anew and shortened to what matters for tokens: default system
texts are cut to a few words, and tools, images and documents are left out.

Source: the formats that the families' model cards and `tokenizer_config.json` files describe.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """One way to write conversations."""

    name: str
    template: str
    control: tuple[str, ...]
    """Strings that are control tokens of the vocabulary (``special`` in ``tokenizer.json``),
    ``bos`` and ``eos`` among them. Text from outside must never become one of them."""
    eos: str
    """``eos_token`` in ``tokenizer_config.json``, and the only id in ``eos_token_id``."""
    turn_end: str
    """What ends an assistant's turn, as a model of the family generates it."""
    bos: str | None = None
    adds_bos: bool = False
    """Whether the tokenizer puts ``bos`` before a text; the template may write it as well."""
    added: tuple[str, ...] = ()
    """Strings that are one token but no control token (``special: false``), such as ``<think>``:
    both libraries recognise them in any text."""
    keeps_prompt: bool = True
    """Whether an earlier prompt, its answer and the end of the turn are the beginning of the next
    prompt, in a conversation without a system turn."""
    trims: bool = False
    """Whether the template strips white space round an assistant's text."""
    refuses_system: bool = False
    """Whether the template raises an exception at a system turn, so that its text has to be put
    before the first user turn's."""
    sentencepiece: str = ""
    """Of the family's real vocabulary: ``prefix`` = a space before every text, ``plain`` = none;
    empty = byte-level."""


_ALTERNATE = (
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('user and assistant turns must alternate') }}{% endif %}"
)
_TAKE_SYSTEM = (
    "{% if messages[0].role == 'system' %}{% set system = messages[0].content %}"
    "{% set turns = messages[1:] %}"
    "{% else %}{% set system = '' %}{% set turns = messages %}{% endif %}"
)
_CHATML_TURNS = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
_CHATML_PROMPT = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
_CHATML = _CHATML_TURNS + "{% endfor %}" + _CHATML_PROMPT
_NO_SYSTEM = "{% if messages[0].role != 'system' %}"
_IM = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_THINK = ("<think>", "</think>")
_INST_V3 = ("<unk>", "<s>", "</s>", "[INST]", "[/INST]")

_LLAMA_2 = (
    _TAKE_SYSTEM + "{% for m in turns %}" + _ALTERNATE + "{% if m.role == 'user' %}"
    "{% set head = '<<SYS>>\\n' ~ system ~ '\\n<</SYS>>\\n\\n' if loop.first and system else '' %}"
    "{{ bos_token ~ '[INST] ' ~ (head ~ m.content).strip() ~ ' [/INST]' }}"
    "{% else %}{{ ' ' ~ m.content.strip() ~ ' ' ~ eos_token }}{% endif %}{% endfor %}"
)
"""BOS opens every exchange, not only the first."""

_LLAMA_3 = (
    _TAKE_SYSTEM + "{{ bos_token }}<|start_header_id|>system<|end_header_id|>\n\n"
    "Cutting Knowledge Date: December 2023\nToday Date: {{ strftime_now('%d %b %Y') }}\n\n"
    "{{ system | trim }}<|eot_id|>{% for m in turns %}"
    "<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content | trim }}<|eot_id|>"
    "{% endfor %}{% if add_generation_prompt %}"
    "<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)

_MISTRAL_V1 = (
    _TAKE_SYSTEM + "{{ bos_token }}{% for m in turns %}" + _ALTERNATE + "{% if m.role == 'user' %}"
    "{{ ' [INST] ' ~ (system ~ '\\n\\n' if loop.first and system else '') ~ m.content"
    " ~ ' [/INST]' }}"
    "{% else %}{{ ' ' ~ m.content | trim ~ eos_token }}{% endif %}{% endfor %}"
)
_MISTRAL_V3 = (
    _TAKE_SYSTEM + "{{ bos_token }}{% for m in turns %}" + _ALTERNATE + "{% if m.role == 'user' %}"
    "[INST] {% if loop.last and system %}{{ system ~ '\\n\\n' }}{% endif %}{{ m.content }}[/INST]"
    "{% else %}{{ ' ' ~ m.content | trim ~ eos_token }}{% endif %}{% endfor %}"
)
"""The system text stands in the last user turn, and nowhere if an assistant's turn is last."""
_TEKKEN = _MISTRAL_V3.replace("[INST] ", "[INST]").replace("' ' ~ m.content | trim", "m.content")

_GEMMA_TURNS = (
    "{% for m in turns %}" + _ALTERNATE + "<start_of_turn>"
    "{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{% if loop.first and system %}{{ system ~ '\\n\\n' }}{% endif %}"
    "{{ m.content | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
_GEMMA_2 = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}"
    "{{ raise_exception('there is no system role') }}{% endif %}"
    "{% set system = '' %}{% set turns = messages %}" + _GEMMA_TURNS
)
_GEMMA_3 = "{{ bos_token }}" + _TAKE_SYSTEM + _GEMMA_TURNS
_GEMMA = ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>")

_PHI_3 = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}"
)
_PHI_4 = (
    "{% for m in messages %}<|im_start|>{{ m.role }}<|im_sep|>{{ m.content }}<|im_end|>"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant<|im_sep|>{% endif %}"
)

_QWEN_3 = (
    "{% set ns = namespace(query=-1) %}{% for m in messages %}{% if m.role == 'user' %}"
    "{% set ns.query = loop.index0 %}{% endif %}{% endfor %}{% for m in messages %}"
    "{% set text = m.content %}{% set thought = '' %}"
    "{% if m.role == 'assistant' and '</think>' in text %}"
    "{% set thought = text.split('</think>')[0].split('<think>')[-1].strip('\\n') %}"
    "{% set text = text.split('</think>')[-1].lstrip('\\n') %}{% endif %}"
    "<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and loop.index0 > ns.query and (loop.last or thought) %}"
    "<think>\n{{ thought }}\n</think>\n\n{{ text.lstrip('\\n') }}"
    "{% else %}{{ text }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}"
    "<think>\n\n</think>\n\n{% endif %}{% endif %}"
)

_DEEPSEEK = ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>")
_DEEPSEEK_ROLES = ("<｜User｜>", "<｜Assistant｜>")
_DEEPSEEK_2 = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}User: {{ m.content }}\n\n"
    "{% elif m.role == 'assistant' %}Assistant: {{ m.content }}{{ eos_token }}"
    "{% else %}{{ m.content }}\n\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)


def _deepseek_3(opening: str, history: str) -> str:
    """``opening`` stands in the prompt after the assistant's token, ``history`` in earlier turns.

    All system texts come first, wherever they stand.
    """
    return (
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}"
        "{% endif %}{% endfor %}{% for m in messages %}{% if m.role == 'user' %}"
        "<｜User｜>{{ m.content }}{% elif m.role == 'assistant' %}<｜Assistant｜>" + history + ""
        "{{ m.content.split('</think>')[-1] }}<｜end▁of▁sentence｜>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<｜Assistant｜>" + opening + "{% endif %}"
    )


_GLM_4 = (
    "[gMASK]<sop>{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
_GLM_4_MOE = (
    "[gMASK]<sop>{% set quiet = enable_thinking is defined and not enable_thinking %}"
    "{% for m in messages %}<|{{ m.role }}|>\n{% if m.role == 'assistant' %}"
    "{% set text = m.content.split('</think>')[-1].strip() %}"
    "<think></think>{% if text %}{{ '\\n' ~ text }}{% endif %}"
    "{% else %}{{ m.content }}"
    "{% if m.role == 'user' and quiet and not m.content.endswith('/nothink') %}/nothink{% endif %}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{{ '\\n<think></think>' if quiet }}{% endif %}"
)
_GLM = (
    *("<|endoftext|>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>"),
    *("<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"),
)

_GPT_OSS = (
    "<|start|>system<|message|>You are a model.\nCurrent date: {{ strftime_now('%Y-%m-%d') }}\n\n"
    "# Valid channels: analysis, commentary, final.<|end|>{% for m in messages %}"
    "{% if m.role == 'system' %}"
    "<|start|>developer<|message|># Instructions\n\n{{ m.content }}\n\n<|end|>"
    "{% elif m.role == 'user' %}<|start|>user<|message|>{{ m.content }}<|end|>"
    "{% else %}<|start|>assistant<|channel|>final<|message|>{{ m.content }}"
    "{{ '<|return|>' if loop.last and not add_generation_prompt else '<|end|>' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)
"""A turn ends with <|return|> where the model stops, and with <|end|> in the history."""

_GRANITE = (
    _NO_SYSTEM + "<|start_of_role|>system<|end_of_role|>Today's Date: "
    "{{ strftime_now('%B %d, %Y') }}.\nYou are Granite.<|end_of_text|>\n{% endif %}"
    "{% for m in messages %}<|start_of_role|>{{ m.role }}<|end_of_role|>{{ m.content }}"
    "<|end_of_text|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start_of_role|>assistant<|end_of_role|>{% endif %}"
)

_COMMAND_R = (
    "{{ bos_token }}{% for m in messages %}<|START_OF_TURN_TOKEN|>"
    "{{ {'system': '<|SYSTEM_TOKEN|>', 'user': '<|USER_TOKEN|>',"
    " 'assistant': '<|CHATBOT_TOKEN|>'}[m.role] }}{{ m.content.strip() }}<|END_OF_TURN_TOKEN|>"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>{% endif %}"
)
_COMMAND_R_CONTROL = (
    *("<PAD>", "<UNK>", "<BOS_TOKEN>", "<EOS_TOKEN>", "<|START_OF_TURN_TOKEN|>"),
    *("<|END_OF_TURN_TOKEN|>", "<|SYSTEM_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>"),
)

_VICUNA = (
    _TAKE_SYSTEM + "{{ system or 'A chat between a user and an assistant.' }} "
    "{% for m in turns %}{% if m.role == 'user' %}USER: {{ m.content }} "
    "{% else %}ASSISTANT: {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
"""It leaves BOS to the tokenizer."""
_ALPACA = (
    _TAKE_SYSTEM + "{% if system %}{{ system ~ '\\n\\n' }}{% endif %}{% for m in turns %}"
    "{% if m.role == 'user' %}### Instruction:\n{{ m.content }}\n\n"
    "{% else %}### Response:\n{{ m.content }}{{ eos_token }}\n\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}### Response:\n{% endif %}"
)
_ZEPHYR = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content ~ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
_OLMO_2 = (
    "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}"
    "{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}"
    "{% if m.role != 'assistant' or not loop.last %}{{ '\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
"""The roles are plain text; BOS and EOS are one token."""

_SPM = ("<unk>", "<s>", "</s>")

FAMILIES = (
    Family(
        "qwen-2.5",
        _NO_SYSTEM + "<|im_start|>system\nYou are Qwen.<|im_end|>\n{% endif %}" + _CHATML,
        _IM,
        eos="<|im_end|>",
        turn_end="<|im_end|>",
    ),
    Family(
        "smollm2",
        _NO_SYSTEM + "<|im_start|>system\nYou are SmolLM.<|im_end|>\n{% endif %}" + _CHATML,
        _IM,
        eos="<|im_end|>",
        turn_end="<|im_end|>",
        bos="<|im_start|>",
    ),
    # A base model's tokenizer with a chat template: a frequent mistake in tuned models.
    Family("chatml-endoftext", _CHATML, _IM, eos="<|endoftext|>", turn_end="<|im_end|>"),
    Family(
        "llama-2",
        _LLAMA_2,
        _SPM,
        eos="</s>",
        turn_end="</s>",
        bos="<s>",
        adds_bos=True,
        trims=True,
        sentencepiece="prefix",
    ),
    Family(
        "llama-3.1",
        _LLAMA_3,
        (
            *("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>"),
            *("<|end_header_id|>", "<|eom_id|>", "<|eot_id|>", "<|python_tag|>"),
        ),
        eos="<|eot_id|>",
        turn_end="<|eot_id|>",
        bos="<|begin_of_text|>",
        adds_bos=True,
        trims=True,
    ),
    Family(
        "mistral-v1",
        _MISTRAL_V1,
        _SPM,
        eos="</s>",
        turn_end="</s>",
        bos="<s>",
        adds_bos=True,
        trims=True,
        sentencepiece="prefix",
    ),
    Family(
        "mistral-v3",
        _MISTRAL_V3,
        _INST_V3,
        eos="</s>",
        turn_end="</s>",
        bos="<s>",
        adds_bos=True,
        trims=True,
        sentencepiece="prefix",
    ),
    Family(
        "mistral-nemo",
        _TEKKEN,
        _INST_V3,
        eos="</s>",
        turn_end="</s>",
        bos="<s>",
        adds_bos=True,
    ),
    Family(
        "gemma-2",
        _GEMMA_2,
        _GEMMA,
        eos="<eos>",
        turn_end="<end_of_turn>",
        bos="<bos>",
        adds_bos=True,
        trims=True,
        refuses_system=True,
        sentencepiece="plain",
    ),
    Family(
        "gemma-3",
        _GEMMA_3,
        _GEMMA,
        eos="<eos>",
        turn_end="<end_of_turn>",
        bos="<bos>",
        adds_bos=True,
        trims=True,
        sentencepiece="plain",
    ),
    Family(
        "phi-3",
        _PHI_3,
        (*_SPM, "<|endoftext|>", "<|assistant|>", "<|system|>", "<|end|>", "<|user|>"),
        eos="<|endoftext|>",
        turn_end="<|end|>",
        bos="<s>",
        sentencepiece="prefix",
    ),
    Family(
        "phi-4",
        _PHI_4,
        (*_IM, "<|im_sep|>"),
        eos="<|im_end|>",
        turn_end="<|im_end|>",
        bos="<|endoftext|>",
    ),
    Family(
        "qwen-3",
        _QWEN_3,
        _IM,
        eos="<|im_end|>",
        turn_end="<|im_end|>",
        added=_THINK,
        keeps_prompt=False,
    ),
    Family(
        "qwen-3-2507",
        _CHATML,
        _IM,
        eos="<|im_end|>",
        turn_end="<|im_end|>",
        added=_THINK,
    ),
    Family(
        "deepseek-v2",
        _DEEPSEEK_2,
        _DEEPSEEK,
        eos="<｜end▁of▁sentence｜>",
        turn_end="<｜end▁of▁sentence｜>",
        bos="<｜begin▁of▁sentence｜>",
        adds_bos=True,
    ),
    Family(
        "deepseek-v3",
        _deepseek_3("<think>\n", ""),
        (*_DEEPSEEK, *_DEEPSEEK_ROLES),
        eos="<｜end▁of▁sentence｜>",
        turn_end="<｜end▁of▁sentence｜>",
        bos="<｜begin▁of▁sentence｜>",
        adds_bos=True,
        added=_THINK,
        keeps_prompt=False,
    ),
    Family(
        "deepseek-v3.1",
        _deepseek_3("</think>", "</think>"),
        (*_DEEPSEEK, *_DEEPSEEK_ROLES),
        eos="<｜end▁of▁sentence｜>",
        turn_end="<｜end▁of▁sentence｜>",
        bos="<｜begin▁of▁sentence｜>",
        adds_bos=True,
        added=_THINK,
    ),
    # The next role's token ends a turn; a conversation that ends with one shows none.
    Family("glm-4", _GLM_4, _GLM, eos="<|endoftext|>", turn_end="<|user|>"),
    Family(
        "glm-4-moe",
        _GLM_4_MOE,
        _GLM,
        eos="<|endoftext|>",
        turn_end="<|user|>",
        added=_THINK,
        trims=True,
    ),
    Family(
        "gpt-oss",
        _GPT_OSS,
        (
            *("<|startoftext|>", "<|endoftext|>", "<|return|>", "<|constrain|>", "<|channel|>"),
            *("<|start|>", "<|end|>", "<|message|>", "<|call|>"),
        ),
        eos="<|return|>",
        turn_end="<|return|>",
        bos="<|startoftext|>",
        keeps_prompt=False,
    ),
    Family(
        "granite-3",
        _GRANITE,
        ("<|end_of_text|>", "<|start_of_role|>", "<|end_of_role|>", "<|tool_call|>"),
        eos="<|end_of_text|>",
        turn_end="<|end_of_text|>",
        bos="<|end_of_text|>",
    ),
    Family(
        "lfm2",
        "{{ bos_token }}" + _CHATML,
        ("<|pad|>", "<|startoftext|>", *_IM),
        eos="<|im_end|>",
        turn_end="<|im_end|>",
        bos="<|startoftext|>",
        adds_bos=True,
    ),
    Family(
        "command-r",
        _COMMAND_R,
        _COMMAND_R_CONTROL,
        eos="<|END_OF_TURN_TOKEN|>",
        turn_end="<|END_OF_TURN_TOKEN|>",
        bos="<BOS_TOKEN>",
        adds_bos=True,
        trims=True,
    ),
    Family(
        "vicuna",
        _VICUNA,
        _SPM,
        eos="</s>",
        turn_end="</s>",
        bos="<s>",
        adds_bos=True,
        sentencepiece="prefix",
    ),
    Family(
        "alpaca",
        _ALPACA,
        _SPM,
        eos="</s>",
        turn_end="</s>",
        bos="<s>",
        adds_bos=True,
        sentencepiece="prefix",
    ),
    Family(
        "zephyr",
        _ZEPHYR,
        _SPM,
        eos="</s>",
        turn_end="</s>",
        bos="<s>",
        sentencepiece="prefix",
    ),
    Family(
        "olmo-2",
        _OLMO_2,
        ("<|endoftext|>", "<|pad|>"),
        eos="<|endoftext|>",
        turn_end="<|endoftext|>",
        bos="<|endoftext|>",
    ),
)
"""All families, each with the features that have been got wrong somewhere."""

"""Chat templates: the common families' ways, and hostile ones."""

from __future__ import annotations

import pytest

from agentr_lite.actors.chat.template import ChatTemplate, merge_system
from agentr_lite.core.errors import ModelError
from agentr_lite.core.messages import Message
from tests.support.tiny_gguf import CHATML

CHAT: list[Message] = [
    {"role": "system", "content": "Rules."},
    {"role": "user", "content": "Task."},
    {"role": "assistant", "content": "Act."},
    {"role": "user", "content": "Seen."},
]

NO_SYSTEM = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m.role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate') }}{% endif %}"
    "[{{ m.role }}]{{ m['content'] | trim }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}[model]{% endif %}"
)


def template(source: str) -> ChatTemplate:
    return ChatTemplate(source, origin="model.gguf", bos="<s>", eos="</s>")


def test_chatml() -> None:
    text = template(CHATML).render(CHAT)
    assert text.startswith("<|im_start|>system\nRules.<|im_end|>\n<|im_start|>user\nTask.")
    assert text.endswith("Seen.<|im_end|>\n<|im_start|>assistant\n")


def test_a_refused_system_turn_goes_before_the_first_user_turn() -> None:
    made = template(NO_SYSTEM)
    assert made.merges_system
    assert made.render(CHAT) == (
        "<s>[user]Rules.\n\nTask.</s>[assistant]Act.</s>[user]Seen.</s>[model]"
    )


def test_a_dropped_system_turn_is_merged_too() -> None:
    made = template("{% for m in messages if m.role != 'system' %}[{{ m.content }}]{% endfor %}")
    assert made.render(CHAT) == "[Rules.\n\nTask.][Act.][Seen.]"


def test_merging_without_a_user_turn() -> None:
    assert merge_system(CHAT[:1]) == [{"role": "user", "content": "Rules."}]
    assert merge_system(CHAT[1:]) == CHAT[1:]


def test_other_refusals_name_the_file_and_the_reason() -> None:
    made = template(NO_SYSTEM)
    with pytest.raises(ModelError, match=r"model\.gguf.*Roles must alternate"):
        made.render([CHAT[1], CHAT[3]])


def test_things_that_real_templates_use() -> None:
    source = (
        "{%- set ns = namespace(first=true) -%}"
        "{%- macro turn(m) -%}<{{ m.role }}>{{ m.content }}{%- endmacro -%}"
        "{%- for m in messages -%}"
        "{%- if m.role == 'tool' -%}{%- continue -%}{%- endif -%}"
        "{%- if ns.first %}{{ strftime_now('%Y') }}{% set ns.first = false %}{% endif -%}"
        "{%- generation -%}{{ turn(m) }}{%- endgeneration -%}"
        "{%- endfor -%}"
        "{%- if tools %}{{ tools | tojson(indent=2) }}{% endif -%}"
        "{%- if enable_thinking is defined and enable_thinking is false -%}<quiet>{%- endif -%}"
    )
    assert template(source).render(CHAT) == (
        "2025<system>Rules.<user>Task.<assistant>Act.<user>Seen.<quiet>"
    )


def test_the_date_does_not_follow_the_clock() -> None:
    source = "{{ strftime_now('%d %b %Y') }}{% for m in messages %}{{ m.content }}{% endfor %}"
    assert template(source).render(CHAT).startswith("01 Jan 2025")


LOOP = "{% for a in range(99999) %}"
END = "{% endfor %}"


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages.__class__.__mro__ }}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
        "{{ raise_exception.__globals__ }}",
        "{{ strftime_now.__self__.__class__ }}",
        "{{ messages.append(1) }}",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
        "{{ self._TemplateReference__context }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}{{ os }}",
        "{{ 'x' * 10**9 }}",
        "{{ [0] * 10**9 }}",
        "{{ 9 ** 9 ** 9 }}",
        "{{ '%999999999d' % 1 }}",
        "{{ '{:>999999999}'.format(1) }}",
        "{{ 'x' | center(10**9) }}",
        "{{ range(10**9) | list }}",
        "{{ 1 / 0 }}",
        "{{ undefined_name.attribute }}",
        "{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}",
        "{% for m in messages %}",
        "{{ messages[99].content }}",
        "{{ messages | nosuchfilter }}",
        "nothing of the conversation",
    ],
)
def test_hostile_and_broken_templates_are_errors(source: str) -> None:
    with pytest.raises(ModelError, match=r"model\.gguf") as caught:
        template(source)
    assert "\n" not in caught.value.message
    assert "agent.chat_template=" in caught.value.hint


@pytest.mark.parametrize(
    "source",
    [
        LOOP * 4 + END * 4,
        LOOP * 4 + "{% if false %}x{% endif %}" + END * 4,
        "{% set r = range(99999) %}" + "{% for a in r %}{% for b in r %}{% for c in r %}" + END * 3,
        LOOP + "{% for b in range(99999) if b > 100000 %}" + END + END,
        "{% macro f(n) %}{% if n %}{{ f(n - 1) ~ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        LOOP + LOOP + "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" + END + END,
    ],
)
def test_endless_templates_are_stopped(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentr_lite.actors.chat.template._BUDGET_S", 0.2)
    with pytest.raises(ModelError, match=r"runs for more|its output does not end"):
        template(source)


@pytest.mark.parametrize(
    "source",
    [
        "{% for m in messages %}{{ '[%s] %s|' % (m.role, m.content) }}{% endfor %}",
        "{% for m in messages %}{{ '[%s] %s|' | format(m.role, m.content) }}{% endfor %}",
    ],
)
def test_printf_formats_work(source: str) -> None:
    template = ChatTemplate(source, origin="test")
    assert template.render([{"role": "user", "content": "hi %d"}]) == "[user] hi %d|"


@pytest.mark.parametrize(
    "form", ["'%1000000000s' % x", "'%*s' % (1000000000, x)", "'%1000000000s' | format(x)"]
)
def test_printf_formats_cannot_grow_a_text_at_will(form: str) -> None:
    source = f"{{% for m in messages %}}{{% set x = m.content %}}{{{{ {form} }}}}{{% endfor %}}"
    with pytest.raises(ModelError, match="too large a width"):
        ChatTemplate(source, origin="test")


def test_centred_text_has_a_bounded_width() -> None:
    source = "{% for m in messages %}[{{ m.content | center(9) }}]{% endfor %}"
    assert ChatTemplate(source, origin="test").render([{"role": "user", "content": "abc"}]) == (
        "[   abc   ]"
    )
    with pytest.raises(ModelError, match="too large a width"):
        ChatTemplate(source.replace("9", "1000000000"), origin="test")

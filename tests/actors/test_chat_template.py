"""Chat templates: the common families' ways, and hostile ones."""

from __future__ import annotations

import pytest

from agentr_lite.actors.chat.sandbox import Sandbox
from agentr_lite.actors.chat.template import ChatTemplate, merge_system
from agentr_lite.actors.chat.template_child import RemoteSandbox
from agentr_lite.actors.llamacpp.gguf_header import read_header
from agentr_lite.actors.registry import STARTER, resolve_model
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
    monkeypatch.setattr("agentr_lite.actors.chat.template_child._LIMIT_S", 0.5)
    with pytest.raises(ModelError, match=r"ran for more|its output does not end"):
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
    "expression",
    [
        "'%1000000000s' % x",
        "'%*s' % (1000000000, x)",
        "'%1000000000s' | format(x)",
        "'{:>1000000000}'.format(x)",
        "x | center(10 ** 9)",
        "x.center(10 ** 9)",
        "x.ljust(10 ** 10)",
        "x.zfill(10 ** 10)",
        "x.expandtabs(10 ** 9) ~ ('\\t' * 9).expandtabs(10 ** 9)",
        "x * 10 ** 10",
        "[x] * 10 ** 10",
        "x | slice(10 ** 10) | list",
        "x | indent(2 * 10 ** 9, true)",
        "x | batch(10 ** 10, x) | list",
        "(x * 99999) | replace(x[0], x * 9999)",
        "(x * 9999) | list | join(x * 99999)",
        "(x * 9999).join((x * 9999) | list)",
        "(x * 99999) | wordwrap(1, true, x * 9999)",
        "(x * 99999).translate({112: x * 9999})",
        "messages | tojson(indent=10 ** 10)",
        "10 ** 10 ** 10",
        "(10 ** 10 ** 6) | string",
        "1 | round(10 ** 10)",
        "range(99999) | map('string') | map('center', 99999) | list",
        "((range(99999) | list) * 99999) | sum",
    ],
)
def test_templates_cannot_take_time_or_memory_at_will(
    expression: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentr_lite.actors.chat.template_child._LIMIT_S", 2.0)
    source = (
        "{% for m in messages %}{{ m.content }}{% set x = m.content %}"
        f"{{% if ({expression}) | string | length < 3000000 %}}{{{{ 1 / 0 }}}}{{% endif %}}"
        "{{ 'small enough' / 0 }}{% endfor %}"
    )
    with pytest.raises(ModelError, match=r"the chat template of test (fails|does not compile): "):
        ChatTemplate(source, origin="test")
    assert template(CHATML).render(CHAT)


NESTED = 30_000


def ascii_beginning(source: str) -> str:
    return ascii(source[:40])


@pytest.mark.parametrize(
    "source",
    [
        "{{ " + "(" * NESTED + ")" * NESTED + " }}",
        "{{ " + "[" * NESTED + "]" * NESTED + " }}",
        "{{ " + "not " * NESTED + "x }}",
        "{{ " + "-" * NESTED + "1 }}",
        "{{ " + "1 + " * NESTED + "1 }}",
        "{{ x" + ".y" * NESTED + " }}",
        "{{ x" + "|trim" * NESTED + " }}",
        "{% if x %}" * 2_000 + "{% endif %}" * 2_000,
        "{% for x in y %}" * 200 + "{% endfor %}" * 200,
        "{{ " + "9" * NESTED + " }}",
        "{{ 1e" + "9" * 300 + " | int }}",
        "{{ 1e999 | int }}",
        "{{ '\\ud800' }}\ud800",
        "{{ '\\N{NO SUCH NAME}' }}",
        "{{ '\\x' }}",
        "{{ 0x }}",
        "{{ 1_ }}",
        "{% set messages.x = 1 %}",
        "{% set ns.x = 1 %}",
        "{% macro f(f, f) %}{% endmacro %}",
        "{% block b %}{% endblock %}{% block b %}{% endblock %}",
        "{% extends 'x' %}",
        "{% break %}",
        "{% generation %}",
        "{{ raise_exception('x' * 10 ** 7) }}",
        "{{ raise_exception(messages) }}",
        "{{ strftime_now('\ud800') }}",
        "{{ messages | random }}",
        "x" * 300_000,
        "".join(f"<a{i}>" for i in range(9_999)),
        "{{ messages | map(attribute='__class__') | list | first }}",
        "{{ messages | sort(attribute='content.x', case_sensitive=9) | groupby(9) }}",
        "\0",
        "{#" * 99,
        "{{",
        "{%",
    ],
    ids=ascii_beginning,
)
def test_templates_that_do_not_compile_are_errors(source: str) -> None:
    with pytest.raises(ModelError, match=r"the chat template of model\.gguf") as caught:
        template(source)
    assert "\n" not in caught.value.message and len(caught.value.message) < 500
    assert template(CHATML).render(CHAT)


def test_half_characters_in_a_template_are_replaced() -> None:
    made = template("{% for m in messages %}{{ '\\ud800' ~ m.content }}{% endfor %}")
    assert made.render(CHAT[1:2]) == "\ufffdTask."


def test_a_text_of_a_class_of_its_own_is_rendered_as_text() -> None:
    class Loud(str):
        def __str__(self) -> str:
            raise AssertionError

    text = template(CHATML).render([{"role": "user", "content": Loud("seen")}])
    assert text.startswith("<|im_start|>user\nseen<|im_end|>")


def test_a_template_that_turns_later_costs_its_conversation_only() -> None:
    turning = template(
        "{% for m in messages %}{{ m.content }}"
        "{% if m.content == 'turn' %}{{ [0] * 10 ** 10 }}{% endif %}{% endfor %}"
    )
    good = template(CHATML)
    before = good.render(CHAT)
    with pytest.raises(ModelError, match=r"model\.gguf fails: it takes too much memory"):
        turning.render([{"role": "user", "content": "turn"}])
    assert good.render(CHAT) == before
    assert turning.render([{"role": "user", "content": "x"}]) == "x"


def test_more_templates_than_the_child_keeps() -> None:
    made = [template(f"{CHATML}{n}") for n in range(40)]
    assert [one.render(CHAT)[-2:].strip() for one in made] == [str(n)[-2:] for n in range(40)]


def test_the_bundled_models_template_is_rendered_here() -> None:
    source = read_header(resolve_model(STARTER).gguf).chat_template
    assert source is not None
    ours = template(source)
    assert isinstance(ours._sandbox, Sandbox)
    assert ours.render(CHAT) == "".join(
        [*(f"<|{m['role']}|>{m['content']}<|end|>" for m in CHAT), "<|assistant|>"]
    )
    assert isinstance(template(source + " ")._sandbox, RemoteSandbox)

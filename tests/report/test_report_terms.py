"""The list of words at the report's end, and the links that lead to it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from agentr_lite_tui.layout.glossary import GLOSSARY
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from agentr_lite.console.glossary import BY_WORD, TERMS
from agentr_lite.report.render.page import render_page
from agentr_lite.report.render.terms import anchor, linker
from agentr_lite.store import Store
from tests.support.episode_case import plant_episodes
from tests.support.report_case import Page


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    path = tmp_path_factory.mktemp("terms") / "runs.db"
    run = plant_episodes(path)
    with Store.open(path, read_only=True) as store:
        return Page(render_page([(store, run)]))


@pytest.mark.parametrize(
    "word",
    [
        *("parting", "t′", "alpha", "beta", "naive", "verified", "recovery", "revision length"),
        *("inside the noise", "base", "critic", "reflection", "revision", "episode", "step"),
    ],
)
def test_a_word_of_the_field_is_in_the_list(word: str) -> None:
    assert "\n" not in BY_WORD[word].meaning


def test_every_word_is_in_the_page_once_with_one_line(page: Page) -> None:
    ids = [a["id"] for _, a in page.elements if (a.get("id") or "").startswith("word-")]
    assert ids == [anchor(term) for term in TERMS]
    assert len(set(ids)) == len(ids)
    for term in TERMS:
        assert term.meaning in page.text


def test_no_form_belongs_to_two_words() -> None:
    forms = [form.lower() for term in TERMS for form in term.forms]
    assert len(forms) == len(set(forms))


def test_links_have_the_meaning_as_their_title(page: Page) -> None:
    links = page.of("a", "term")
    assert links
    meaning = {f"#{anchor(term)}": term.meaning for term in TERMS}
    for link in links:
        assert link["title"] == meaning[link["href"] or ""]


def test_headings_and_notes_link_their_first_terms(page: Page) -> None:
    heading = re.search(r"<h2>(.*?)</h2>\s*<p class=\"intro\">What became", page.source, re.DOTALL)
    assert heading is not None
    assert 'href="#word-held-out-tasks"' in heading[1]
    tables = page.source.split('<section class="block">')[1:]
    for table in tables:
        linked = re.findall(r'class="term" href="(#[^"]+)"', table.split("</section>")[0])
        assert len(linked) == len(set(linked))
    assert any('href="#word-paired-by-task"' in table for table in tables)


def test_a_section_links_a_term_once() -> None:
    link = linker()
    assert link("Recovery and recovery").count("#word-recovery") == 1
    assert "#word-recovery" not in link("recovered")
    assert "#word-recovery" in linker()("recovered")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("Recovery search: 3", "recovery search"),
        ("t' and more", "t′"),
        ("inside the noise (95 %", "inside the noise"),
        ("validation loss", "validation loss"),
    ],
)
def test_the_longest_term_counts(text: str, word: str) -> None:
    first = re.search(r'href="#([^"]+)"', linker()(text))
    assert first is not None
    assert first[1] == anchor(BY_WORD[word])


@pytest.mark.parametrize("text", ["splice.alpha", "step-by", "/base/", "bases", "reward_mean"])
def test_a_part_of_a_name_is_no_term(text: str) -> None:
    assert linker()(text) == text


@given(st.text(max_size=80) | st.just("<b>base</b> & naive \x1b"))
def test_links_change_no_text_and_let_no_markup_through(text: str) -> None:
    from agentr_lite.console.text import clean

    made = linker()(text)
    assert isinstance(made, Markup)
    # What is left without our links holds no tag of the text's own.
    bare = re.sub(r'<a class="term" href="[^"<>]*" title="[^"<>]*">|</a>', "", made)
    assert not set("<>") & set(bare)
    assert Markup(bare).unescape() == clean(text)


def test_the_inspector_and_the_report_say_the_same() -> None:
    ours = dict(GLOSSARY)
    shared = ours.keys() & BY_WORD.keys()
    assert len(shared) == len(ours) - 1, "a chain is a sign of the inspector's own"
    assert {word: ours[word] for word in shared} == {w: BY_WORD[w].meaning for w in shared}


def test_the_words_can_be_reached_without_a_script(page: Page, tmp_path: Path) -> None:
    assert "#words" in [a["href"] for a in page.of("a")]

"""The login of an AgentGym server: where it comes from, and where it never appears."""

from __future__ import annotations

import pytest

from agentr_lite.core.errors import RecipeError, UsageError
from agentr_lite.envs.agentgym import AgentGym
from agentr_lite.envs.agentgym.server import login
from agentr_lite.recipe.environments import read_environments
from tests.support.agentgym_server import serving
from tests.support.command_line import Call


def test_a_login_is_taken_from_the_address_or_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving("textcraft") as (address, _):
        assert login(address) == ("", "")
        assert login(address.replace("://", "://me:p%40ss@")) == ("me", "p@ss")
        monkeypatch.setenv("AGENTR_LITE_AGENTGYM_LOGIN", "you:secret:word")
        assert login(address) == ("you", "secret:word")
        env = AgentGym(address.replace("://", "://me:a-long-secret@"))
        assert env.name == f"agentgym+{address}"
        env.close()


def test_a_login_of_another_form_is_refused_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AGENTR_LITE_AGENTGYM_LOGIN", "secret")
    with pytest.raises(UsageError, match="USER:PASSWORD") as caught:
        AgentGym("http://127.0.0.1:9/textcraft")
    assert "secret" not in str(caught.value) + caught.value.hint


def test_an_address_with_a_password_is_not_stored() -> None:
    for named in ("agentgym+http://me:secret@h", [{"name": "agentgym+http://secret@h/x"}]):
        with pytest.raises(RecipeError, match="password") as caught:
            read_environments(named, {})
        assert "secret" not in str(caught.value) + caught.value.hint


def test_a_check_does_not_show_the_password(cli: Call) -> None:
    code, out, err = cli("envs", "check", "agentgym+http://me:secret@127.0.0.1:9/textcraft")
    assert code == 1
    assert "secret" not in out + err

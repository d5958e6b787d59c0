"""What actors over one model share, loaded once: weights, adapters, tokenizer, grammars."""

from __future__ import annotations

from pathlib import Path

from agentr_lite.actors.chat_template import ChatTemplate, model_template
from agentr_lite.actors.fragments import Tokenizer
from agentr_lite.actors.llamacpp.adapters import Adapters
from agentr_lite.actors.llamacpp.grammar import Grammar
from agentr_lite.actors.llamacpp.model import Model


class Weights:
    """A loaded model with its users; the last one to leave frees it.

    Attributes:
        model: the loaded file.
        adapters: those that were loaded for it.
        tokenizer: keeps what it has tokenized, for all users.
        template: the chat template.
    """

    def __init__(self, path: Path, *, n_gpu_layers: int, chat_template: Path | None) -> None:
        """Load them, for one user.

        Raises:
            ModelError: see ``LlamaCppActor``.
        """
        self.model = model = Model(path, n_gpu_layers=n_gpu_layers)
        self.adapters = Adapters(model)
        self.template: ChatTemplate = model_template(
            path,
            model.header.chat_template,
            override=chat_template,
            bos=model.token_text(model.bos),
            eos=model.token_text(model.eos),
        )
        self.tokenizer = Tokenizer(model)
        self._grammars: dict[str, Grammar] = {}
        self._users = 1

    def grammar(self, text: str) -> Grammar:
        """A grammar over the model's vocabulary, compiled once.

        Raises:
            GrammarError: it is wrong.
        """
        if text not in self._grammars:
            self._grammars[text] = Grammar(self.model, text)
        return self._grammars[text]

    def join(self) -> Weights:
        """Let another user in."""
        self._users += 1
        return self

    def leave(self) -> None:
        """One user less; its contexts must be gone."""
        self._users -= 1
        if self._users:
            return
        for grammar in self._grammars.values():
            grammar.close()
        self._grammars.clear()
        # Adapters point into the model.
        self.adapters.close()
        self.model.close()

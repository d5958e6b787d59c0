"""What the actors over one model share: weights, adapters, tokenizer and grammars."""

from __future__ import annotations

from pathlib import Path

from agentr_lite.actors.chat.encoder import ChatEncoder, History
from agentr_lite.actors.chat.template import model_template
from agentr_lite.actors.chat.tokenizer import Tokenizer
from agentr_lite.actors.grammar.matcher import Grammars
from agentr_lite.actors.llamacpp.adapters import Adapters
from agentr_lite.actors.llamacpp.model import Model
from agentr_lite.actors.shared import Shared


class Weights(Shared):
    """A loaded model. A user must close its contexts before it leaves.

    Attributes:
        model: the loaded file.
        adapters: the adapters that were loaded for it.
        encoder: turns conversations into tokens, for all users.
        grammars: those that answers have followed.
    """

    def __init__(
        self,
        path: Path,
        *,
        n_gpu_layers: int,
        chat_template: Path | None,
        history: History,
        thinking: bool = False,
    ) -> None:
        """Load the weights, for one user.

        Raises:
            ModelError: see ``LlamaCppActor``.
        """
        self.model = model = Model(path, n_gpu_layers=n_gpu_layers)
        try:
            self.adapters = Adapters(model)
            template = model_template(
                path,
                model.header.chat_template,
                override=chat_template,
                bos=model.token_text(model.bos),
                eos=model.token_text(model.eos),
                thinking=thinking,
            )
            eos = model.token_text(model.eos)
            self.encoder = ChatEncoder(template, Tokenizer(model), eos=eos, history=history)
            model.end_tokens |= self.encoder.end_tokens
        except BaseException:
            model.close()
            raise
        self.grammars = Grammars(model, model.n_vocab)
        super().__init__()

    def _free(self) -> None:
        # Adapters point into the model.
        self.adapters.close()
        self.model.close()

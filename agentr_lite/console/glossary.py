"""The words of the field and of this program, each in one line.

The inspector's help and the report's list of words are made from these.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Term:
    """A word that needs an explanation."""

    word: str
    meaning: str
    """A sentence or two, in one line."""
    spellings: tuple[str, ...] = ()
    """Other forms of the word; upper and lower case are the same."""

    @property
    def forms(self) -> tuple[str, ...]:
        """All that the word may look like."""
        return (self.word, *self.spellings)


TERMS: tuple[Term, ...] = (
    Term(
        "episode",
        "All steps from the beginning of a task to its end. Also: a trajectory.",
        ("episodes", "trajectory", "trajectories"),
    ),
    Term("step", "One turn of the model and the answer of the environment.", ("steps",)),
    Term("held-out tasks", "Tasks of a split that no training set holds.", ("held-out",)),
    Term("greedy", "Played with the likeliest token each time, so that nothing is drawn."),
    Term("sampled", "Played with drawn tokens, several times for each task."),
    Term("base", "The model before any training.", ("the base model",)),
    Term("imitation", "Training on demonstrations, before the first round."),
    Term("reward", "What the environment gives for an episode, from 0 to 1.", ("rewards",)),
    Term("success", "An episode that earns the whole reward, 1.", ("solved",)),
    Term("level", "How hard a task is, as its environment counts it.", ("levels",)),
    Term(
        "recovery",
        "Solving a task from the middle of one of the base's failed episodes.",
        ("recovered",),
    ),
    Term(
        "given",
        "A step that the model did not choose: recovery begins after a failed beginning.",
    ),
    Term(
        "95 % interval",
        "The values that agree with what was measured; a wide one means few tasks.",
        ("95 % intervals",),
    ),
    Term(
        "inside the noise",
        "The interval of the difference includes 0: the rounds may be equally good.",
    ),
    Term(
        "too few to tell",
        "Fewer than six tasks (n), or an interval that excludes nothing: even if all of the tasks"
        " agreed, that could be chance.",
    ),
    Term("p", "How often chance alone would give a difference at least as large."),
    Term(
        "paired by task",
        "Each task's result is compared with the result of the same task, so that hard and easy"
        " tasks cancel out.",
        ("paired",),
    ),
    Term(
        "bootstrap",
        "An interval from drawing the tasks again and again, with repetition.",
    ),
    Term("Wilson", "The interval of a share; it holds for few tasks, and for 0 % and 100 %, too."),
    Term("Student", "The interval of a mean, from the spread of its values."),
    Term("McNemar's exact test", "A test for pairs, from how many tasks changed and which way."),
    Term(
        "repeated",
        "The share of steps that repeat the steps just before them, with the same answer.",
        ("repeated steps", "repeated actions", "repetition"),
    ),
    Term("loops", "Repetitions of 1 to 4 steps, each with the same answers as before."),
    Term(
        "valid",
        "An action that the environment understands and can do.",
        ("valid actions", "validity"),
    ),
    Term("invalid", "An action that is missing, not understood or not possible."),
    Term(
        "reflection",
        "The sentence that says that something went wrong; the good end follows it. Also: the"
        " revision signal.",
        ("reflections", "revision signal"),
    ),
    Term(
        "revision",
        "A bad beginning, a reflection and a good end, as one training example.",
        ("revisions", "revision data"),
    ),
    Term(
        "revision length",
        "How many bad steps come before the reflection.",
        ("revision lengths",),
    ),
    Term(
        "good trajectory",
        "An episode of a tree that earned at least α.",
        ("good trajectories",),
    ),
    Term(
        "bad trajectory",
        "An episode of a tree that earned less than α, and less than a good one by more than β.",
        ("bad trajectories",),
    ),
    Term("pair", "A good and a bad trajectory of one tree.", ("pairs",)),
    Term(
        "parting",
        "The last step that a good and a bad trajectory share. From there on they differ.",
        ("part after",),
    ),
    Term(
        "t′",
        "The last bad step that a revision keeps: the first step that the critic judged bad. The"
        " revision signal comes right after it.",
        ("t'",),
    ),
    Term(
        "alpha",
        "α, the least reward of a good trajectory in a round (recipe key splice.alpha).",
        ("α",),
    ),
    Term(
        "beta",
        "β, by more than which a bad trajectory must earn less than the good one (splice.beta).",
        ("β",),
    ),
    Term("critic", "The model itself, asked which step of its bad trajectory was wrong."),
    Term(
        "verdict",
        "The critic's answer for a step: good, bad or uncertain, with its probability.",
        ("verdicts",),
    ),
    Term(
        "splice",
        "Joining the beginning of a bad trajectory to the end of a good one.",
        ("splices", "spliced"),
    ),
    Term(
        "naive",
        "A naive splice joins the texts of the two trajectories and executes nothing. Its figure is"
        " the reward that it earned when it was replayed.",
        ("naive splice", "naive splices", "naive failed"),
    ),
    Term(
        "verified",
        "Executed in the environment, and kept only if it still earns the reward.",
        ("replayed", "replay"),
    ),
    Term(
        "recovery search",
        "A search for a true end from the bad state, where the joined texts do not hold.",
    ),
    Term("rejected", "A pair of which nothing is learnt, with the reason."),
    Term(
        "search tree",
        "All that the search tried at one task: a node is a step, a path is an episode.",
        ("search trees", "tree", "trees"),
    ),
    Term("node", "One step in a search tree.", ("nodes",)),
    Term("visits", "How many simulations went through a node."),
    Term("value", "The mean reward of the simulations that went through a node."),
    Term(
        "simulation",
        "One way down a search tree, to an end whose reward is then counted.",
        ("simulations",),
    ),
    Term("loss", "Mean negative log-likelihood of the learnt tokens; less is better."),
    Term(
        "validation loss",
        "The loss of examples that are not trained on. If it rises, the model learns by heart.",
    ),
    Term("adapter", "The small set of weights that training adds to the model.", ("adapters",)),
    Term("generated", "Tokens that the model wrote."),
    Term("decoded", "Prompt tokens that the model had to read; the others were reused."),
    Term(
        "prefix reuse",
        "Prompts that begin alike are read once.",
        ("reused",),
    ),
    Term("seed", "The number that all draws of a run follow from.", ("seeds",)),
    Term("recipe", "The settings of a run."),
)
"""In the order in which a reader meets them."""

BY_WORD = {term.word: term for term in TERMS}

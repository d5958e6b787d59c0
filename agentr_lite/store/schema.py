"""The database's tables as the first release made them; ``migrations`` holds what came later.

One SQLite file in WAL mode, made to be opened by Datasette as it is. Texts are content-addressed:
a node stores its own turn and observation only, and its conversation is the path to the root, so a
tree of n nodes costs O(n) bytes.
"""

from __future__ import annotations

APPLICATION_ID = 0x41524C54
"""``PRAGMA application_id``: "ARLT". It tells our databases from other people's."""

TABLES = """
-- Every prompt, turn and observation once, found by its hash, so that equal texts (system prompts,
-- error observations) are stored once. Half a SHA-256 is enough to tell them apart, and it is
-- stored twice (row and index): in full and in hex it would outweigh most texts.
CREATE TABLE texts (
    id INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE CHECK (length(digest) = 16),
    content TEXT NOT NULL
) STRICT;

-- What an actor says of itself; results depend on the file's digest (empty for a server) and on the
-- other settings in the description, not on the path.
CREATE TABLE models (
    id INTEGER PRIMARY KEY,
    sha256 TEXT NOT NULL,
    path TEXT NOT NULL,
    description TEXT NOT NULL CHECK (json_valid(description)),
    UNIQUE (sha256, description)
) STRICT;

CREATE TABLE runs (
    id TEXT PRIMARY KEY,
    created_utc TEXT NOT NULL,
    finished_utc TEXT,
    status TEXT NOT NULL CHECK (status IN ('running', 'finished', 'failed', 'interrupted')),
    env TEXT NOT NULL,
    model_id INTEGER REFERENCES models (id),
    seed INTEGER NOT NULL,
    -- The resolved recipe: everything that the result depends on, besides the model.
    recipe TEXT NOT NULL CHECK (json_valid(recipe)),
    versions TEXT NOT NULL CHECK (json_valid(versions)),
    error TEXT
) STRICT;

-- Round 0 is the base model's evaluation. A stage's finish time is what resume looks at.
CREATE TABLE rounds (
    run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    round INTEGER NOT NULL CHECK (round >= 0),
    stage TEXT NOT NULL CHECK (stage IN ('search', 'splice', 'train', 'eval')),
    started_utc TEXT NOT NULL,
    finished_utc TEXT,
    wall_s REAL NOT NULL DEFAULT 0,
    model_ms REAL NOT NULL DEFAULT 0,
    prompt_tokens INTEGER NOT NULL DEFAULT 0,
    decoded_prompt_tokens INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0,
    -- Stage-specific counts (trees, nodes, pairs, rejected …) for people and for the report.
    summary TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(summary)),
    PRIMARY KEY (run_id, round, stage)
) STRICT;

CREATE TABLE tasks (
    id INTEGER PRIMARY KEY,
    env TEXT NOT NULL,
    name TEXT NOT NULL,
    split TEXT NOT NULL,
    goal TEXT NOT NULL,
    level INTEGER NOT NULL DEFAULT 0,
    UNIQUE (env, split, name)
) STRICT;

CREATE TABLE trees (
    id INTEGER PRIMARY KEY,
    run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    round INTEGER NOT NULL,
    task_id INTEGER NOT NULL REFERENCES tasks (id),
    -- Waves are committed whole; a cut wave is searched again.
    wave INTEGER NOT NULL,
    instructions_id INTEGER NOT NULL REFERENCES texts (id),
    observation_id INTEGER NOT NULL REFERENCES texts (id),
    best_reward REAL NOT NULL CHECK (best_reward BETWEEN 0 AND 1),
    node_count INTEGER NOT NULL,
    simulations INTEGER NOT NULL,
    -- A failed task (a plugin raised, no action ever came) is a row, not a crash.
    error TEXT,
    UNIQUE (run_id, round, task_id)
) STRICT;

-- idx 0 is the root: no action, its observation is the tree's.
CREATE TABLE nodes (
    tree_id INTEGER NOT NULL REFERENCES trees (id) ON DELETE CASCADE,
    idx INTEGER NOT NULL CHECK (idx >= 0),
    parent_idx INTEGER CHECK (parent_idx < idx),
    depth INTEGER NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('root', 'act', 'reflect', 'none')),
    action TEXT,
    text_id INTEGER REFERENCES texts (id),
    observation_id INTEGER NOT NULL REFERENCES texts (id),
    reward REAL NOT NULL CHECK (reward BETWEEN 0 AND 1),
    terminated INTEGER NOT NULL CHECK (terminated IN (0, 1)),
    truncated INTEGER NOT NULL CHECK (truncated IN (0, 1)),
    invalid INTEGER NOT NULL CHECK (invalid IN (0, 1)),
    disaster INTEGER NOT NULL DEFAULT 0 CHECK (disaster IN (0, 1)),
    visits INTEGER NOT NULL,
    value_sum REAL NOT NULL,
    -- How many sampled candidates had this action and were merged into the node.
    merged INTEGER NOT NULL DEFAULT 1,
    PRIMARY KEY (tree_id, idx)
) STRICT, WITHOUT ROWID;

-- One row for each conversation that the actor was asked to go on with; in a tree, (tree_id,
-- node_idx) is the node whose children it made.
CREATE TABLE model_calls (
    id INTEGER PRIMARY KEY,
    run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    round INTEGER NOT NULL,
    purpose TEXT NOT NULL CHECK (purpose IN ('expand', 'judge', 'recover', 'eval')),
    tree_id INTEGER REFERENCES trees (id) ON DELETE CASCADE,
    node_idx INTEGER,
    seeds TEXT NOT NULL CHECK (json_valid(seeds)),
    prompt_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    dropped_turns INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Root-to-leaf paths that splicing looked at; the path itself is in nodes.
CREATE TABLE trajectories (
    id INTEGER PRIMARY KEY,
    tree_id INTEGER NOT NULL REFERENCES trees (id) ON DELETE CASCADE,
    leaf_idx INTEGER NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('good', 'bad')),
    reward REAL NOT NULL,
    steps INTEGER NOT NULL,
    UNIQUE (tree_id, leaf_idx)
) STRICT;

-- What the critic (the current actor) said of one step of a bad trajectory; each step once.
CREATE TABLE judgements (
    id INTEGER PRIMARY KEY,
    trajectory_id INTEGER NOT NULL REFERENCES trajectories (id) ON DELETE CASCADE,
    step INTEGER NOT NULL,
    node_idx INTEGER NOT NULL,
    verdict TEXT NOT NULL CHECK (verdict IN ('good', 'bad', 'uncertain')),
    critic TEXT NOT NULL CHECK (critic IN ('score', 'reason', 'none')),
    -- Log-likelihoods of good, bad, uncertain (score) or the critic's words (reason).
    scores TEXT CHECK (scores IS NULL OR json_valid(scores)),
    reason_id INTEGER REFERENCES texts (id),
    UNIQUE (trajectory_id, step)
) STRICT;

CREATE TABLE revisions (
    id INTEGER PRIMARY KEY,
    run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    round INTEGER NOT NULL,
    good_id INTEGER NOT NULL REFERENCES trajectories (id) ON DELETE CASCADE,
    bad_id INTEGER NOT NULL REFERENCES trajectories (id) ON DELETE CASCADE,
    -- Steps that the two share, counted from reset.
    parting_step INTEGER NOT NULL,
    -- t': how many steps of the bad trajectory are kept, the judged error included.
    cut_step INTEGER NOT NULL,
    reflection_id INTEGER NOT NULL REFERENCES texts (id),
    -- Revision length: bad steps from the parting node up to and including t'.
    revision_length INTEGER NOT NULL,
    -- How the naive splice did when it was replayed; NULL where verification was off.
    naive_reward REAL,
    status TEXT NOT NULL CHECK (status IN ('naive', 'replayed', 'recovered', 'rejected')),
    reason TEXT NOT NULL,
    -- Messages with loss flags: {"messages": [...], "loss": [...]}; NULL where rejected.
    messages TEXT CHECK (messages IS NULL OR json_valid(messages)),
    UNIQUE (good_id, bad_id)
) STRICT;

CREATE TABLE datasets (
    id INTEGER PRIMARY KEY,
    run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    round INTEGER NOT NULL,
    settings TEXT NOT NULL CHECK (json_valid(settings)),
    created_utc TEXT NOT NULL
) STRICT;

CREATE TABLE dataset_items (
    dataset_id INTEGER NOT NULL REFERENCES datasets (id) ON DELETE CASCADE,
    idx INTEGER NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('revision', 'good', 'general')),
    revision_id INTEGER REFERENCES revisions (id) ON DELETE CASCADE,
    trajectory_id INTEGER REFERENCES trajectories (id) ON DELETE CASCADE,
    -- Line of the general file; its text is not copied.
    general_line INTEGER,
    split TEXT NOT NULL CHECK (split IN ('train', 'valid')),
    PRIMARY KEY (dataset_id, idx)
) STRICT, WITHOUT ROWID;

CREATE TABLE adapters (
    id INTEGER PRIMARY KEY,
    run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    round INTEGER NOT NULL,
    dataset_id INTEGER NOT NULL REFERENCES datasets (id),
    mlx_dir TEXT NOT NULL,
    gguf_path TEXT NOT NULL,
    gguf_sha256 TEXT NOT NULL,
    summary TEXT NOT NULL CHECK (json_valid(summary)),
    UNIQUE (run_id, round)
) STRICT;

CREATE TABLE evals (
    id INTEGER PRIMARY KEY,
    run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    round INTEGER NOT NULL,
    mode TEXT NOT NULL CHECK (mode IN ('greedy', 'sampled', 'recovery')),
    split TEXT NOT NULL,
    summary TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(summary)),
    UNIQUE (run_id, round, mode, split)
) STRICT;

CREATE TABLE eval_items (
    eval_id INTEGER NOT NULL REFERENCES evals (id) ON DELETE CASCADE,
    task_id INTEGER NOT NULL REFERENCES tasks (id),
    sample INTEGER NOT NULL DEFAULT 0,
    reward REAL NOT NULL,
    success INTEGER NOT NULL CHECK (success IN (0, 1)),
    steps INTEGER NOT NULL,
    invalid_actions INTEGER NOT NULL,
    repeated_actions INTEGER NOT NULL,
    reflections INTEGER NOT NULL,
    -- The episode's steps: [{"text", "action", "observation", "reward", "kind", "invalid"}].
    steps_json TEXT NOT NULL CHECK (json_valid(steps_json)),
    error TEXT,
    PRIMARY KEY (eval_id, task_id, sample)
) STRICT, WITHOUT ROWID;

-- Series for plots: training and validation loss by step and the like.
CREATE TABLE metrics (
    run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    round INTEGER NOT NULL,
    name TEXT NOT NULL,
    step INTEGER NOT NULL,
    value REAL NOT NULL,
    PRIMARY KEY (run_id, round, name, step)
) STRICT, WITHOUT ROWID;

CREATE INDEX trees_by_run ON trees (run_id, round);
CREATE INDEX calls_by_tree ON model_calls (tree_id);
CREATE INDEX revisions_by_run ON revisions (run_id, round);
-- Without these, each row that a delete cascades through would scan the table that points to it.
CREATE INDEX revisions_by_bad ON revisions (bad_id);
CREATE INDEX items_by_revision ON dataset_items (revision_id);
CREATE INDEX items_by_trajectory ON dataset_items (trajectory_id);

-- For people in Datasette; the program anchors its own queries at one tree.
CREATE VIEW node_texts AS
SELECT n.tree_id, n.idx, n.parent_idx, n.depth, n.kind, n.action, t.content AS text,
       o.content AS observation, n.reward, n.terminated, n.truncated, n.invalid,
       n.visits, CASE WHEN n.visits > 0 THEN n.value_sum / n.visits END AS value
FROM nodes n
LEFT JOIN texts t ON t.id = n.text_id
JOIN texts o ON o.id = n.observation_id;
"""

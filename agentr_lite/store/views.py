"""Views for people who look at a database in Datasette or in the sqlite3 shell.

The program does not read them. Their columns have names that need no explanation, and texts stand
where the tables have ids.
"""

from __future__ import annotations

READABLE_VIEWS = """
CREATE VIEW results AS
SELECT e.run_id AS run, e.round, e.mode, e.split, k.env AS environment,
    count(*) AS episodes, sum(i.success) AS solved,
    round(100.0 * avg(i.success), 1) AS success_percent,
    round(avg(i.reward), 3) AS mean_reward,
    round(avg(i.steps), 1) AS mean_steps,
    round(100.0 * sum(i.invalid_actions) / nullif(sum(i.steps), 0), 1) AS invalid_percent,
    round(100.0 * sum(i.repeated_actions) / nullif(sum(i.steps), 0), 1) AS repeated_percent,
    round(avg(i.reflections), 2) AS mean_reflections
FROM evals e
JOIN eval_items i ON i.eval_id = e.id
JOIN tasks k ON k.id = i.task_id
-- Episodes that the environment broke are no result; one that outgrew the context is.
WHERE i.error IS NULL
    OR i.error = 'overflow: the task and the last turns do not fit the model''s context'
GROUP BY e.id, k.env;

CREATE VIEW episodes AS
SELECT e.run_id AS run, e.round, e.mode, k.name AS task,
    iif(i.success, 'yes', 'no') AS solved, i.reward, i.steps,
    (SELECT group_concat(s.action, char(10)) FROM
        (SELECT coalesce(json_extract(value, '$.action'), '') AS action
         FROM json_each(i.steps_json) ORDER BY key) s) AS actions,
    i.error, k.goal, k.level, k.env AS environment, e.split, i.sample,
    i.invalid_actions, i.repeated_actions, i.reflections
FROM evals e
JOIN eval_items i ON i.eval_id = e.id
JOIN tasks k ON k.id = i.task_id;

CREATE VIEW revisions_readable AS
SELECT r.id, r.run_id AS run, r.round, k.name AS task, r.status, r.reason,
    x.content AS reflection,
    (SELECT group_concat(m.line, char(10) || char(10)) FROM
        (SELECT upper(json_extract(value, '$.role')) || ': '
            || json_extract(value, '$.content') AS line
         FROM json_each(r.messages, '$.messages') ORDER BY key) m) AS conversation,
    b.reward AS bad_reward, g.reward AS good_reward, r.naive_reward,
    r.parting_step AS shared_steps, r.cut_step AS reflection_after_step,
    r.revision_length AS bad_steps, k.goal, k.env AS environment
FROM revisions r
JOIN trajectories g ON g.id = r.good_id
JOIN trajectories b ON b.id = r.bad_id
JOIN trees t ON t.id = b.tree_id
JOIN tasks k ON k.id = t.task_id
JOIN texts x ON x.id = r.reflection_id;

CREATE VIEW first_errors AS
SELECT t.run_id AS run, t.round, k.name AS task, j.step + 1 AS step, p.steps AS of_steps,
    n.action, o.content AS observation, w.content AS said, j.critic, y.content AS reason,
    p.reward AS trajectory_reward, k.goal, k.env AS environment, j.trajectory_id AS trajectory
FROM judgements j
JOIN trajectories p ON p.id = j.trajectory_id
JOIN trees t ON t.id = p.tree_id
JOIN tasks k ON k.id = t.task_id
JOIN nodes n ON n.tree_id = t.id AND n.idx = j.node_idx
JOIN texts o ON o.id = n.observation_id
LEFT JOIN texts w ON w.id = n.text_id
LEFT JOIN texts y ON y.id = j.reason_id
WHERE j.verdict = 'bad' AND j.step = (
    SELECT min(f.step) FROM judgements f
    WHERE f.trajectory_id = j.trajectory_id AND f.verdict = 'bad'
);
"""
"""As they were first made; ``SHORTER_VIEWS`` replaces three of them."""

SHORTER_VIEWS = """
DROP VIEW results;
DROP VIEW episodes;
DROP VIEW revisions_readable;

CREATE VIEW results AS
SELECT e.run_id AS run, coalesce(l.name, '') AS name, e.round, e.mode, e.split,
    k.env AS environment,
    count(*) AS episodes, sum(i.success) AS solved,
    round(100.0 * avg(i.success), 1) AS success_percent,
    round(avg(i.reward), 3) AS mean_reward,
    round(avg(i.steps), 1) AS mean_steps,
    round(100.0 * sum(i.invalid_actions) / nullif(sum(i.steps), 0), 1) AS invalid_percent,
    round(100.0 * sum(i.repeated_actions) / nullif(sum(i.steps), 0), 1) AS repeated_percent,
    round(avg(i.reflections), 2) AS mean_reflections
FROM evals e
JOIN eval_items i ON i.eval_id = e.id
JOIN tasks k ON k.id = i.task_id
LEFT JOIN run_labels l ON l.run_id = e.run_id
-- Episodes that the environment broke are no result; one that outgrew the context is.
WHERE i.error IS NULL
    OR i.error = 'overflow: the task and the last turns do not fit the model''s context'
GROUP BY e.id, k.env;

CREATE VIEW episodes AS
SELECT e.run_id AS run, e.round, e.mode, k.name AS task,
    iif(i.success, 'yes', 'no') AS solved, i.reward, i.steps,
    (SELECT group_concat(s.line, char(10)) FROM
        (SELECT (key + 1) || '. ' || coalesce(json_extract(value, '$.action'), '(no action)')
            || iif(json_extract(value, '$.invalid'), ' (invalid)', '') AS line
         FROM json_each(i.steps_json) ORDER BY key) s) AS actions,
    i.error, k.goal, k.level, k.env AS environment, e.split, i.sample,
    i.invalid_actions, i.repeated_actions, i.reflections
FROM evals e
JOIN eval_items i ON i.eval_id = e.id
JOIN tasks k ON k.id = i.task_id;

CREATE VIEW revisions_readable AS
SELECT r.id, r.run_id AS run, r.round, k.name AS task, r.status, r.reason,
    (SELECT group_concat(s.said, char(10) || char(10)) FROM
        (SELECT json_extract(m.value, '$.content') AS said
         FROM json_each(r.messages, '$.messages') m
         JOIN json_each(r.messages, '$.loss') f ON f.key = m.key
         WHERE json_extract(m.value, '$.role') = 'assistant' AND NOT f.value
         ORDER BY m.key) s) AS turns_before,
    x.content AS reflection,
    (SELECT group_concat(s.said, char(10) || char(10)) FROM
        (SELECT json_extract(m.value, '$.content') AS said
         FROM json_each(r.messages, '$.messages') m
         JOIN json_each(r.messages, '$.loss') f ON f.key = m.key
         WHERE json_extract(m.value, '$.role') = 'assistant' AND f.value
         ORDER BY m.key) s) AS turns_learnt,
    b.reward AS bad_reward, g.reward AS good_reward, r.naive_reward,
    r.parting_step AS shared_steps, r.cut_step AS reflection_after_step,
    r.revision_length AS bad_steps, k.goal, k.env AS environment
FROM revisions r
JOIN trajectories g ON g.id = r.good_id
JOIN trajectories b ON b.id = r.bad_id
JOIN trees t ON t.id = b.tree_id
JOIN tasks k ON k.id = t.task_id
JOIN texts x ON x.id = r.reflection_id;

CREATE VIEW conversations AS
SELECT r.id AS revision, r.run_id AS run, r.round, k.name AS task, m.key + 1 AS message,
    json_extract(m.value, '$.role') AS role, iif(f.value, 'yes', '') AS learnt,
    json_extract(m.value, '$.content') AS text
FROM revisions r
JOIN trajectories b ON b.id = r.bad_id
JOIN trees t ON t.id = b.tree_id
JOIN tasks k ON k.id = t.task_id
JOIN json_each(r.messages, '$.messages') m
JOIN json_each(r.messages, '$.loss') f ON f.key = m.key;
"""
"""A row of a revision fits a screen: what the environment said has a view of its own."""

VIEW_MEANINGS = {
    "node_texts": "The nodes of all trees with their texts. Slow without a `tree_id`.",
    "results": "A row for each run, round, mode, split and environment: how the evaluated episodes"
    " ended. Episodes that the environment broke are left out.",
    "episodes": "A row for each evaluated episode, with its actions, one a line.",
    "revisions_readable": "A row for each pair of a good and a bad trajectory: what became of it,"
    " what the agent said up to the error, the reflection, and the turns that are learnt.",
    "conversations": "A row for each message of the revisions: the whole conversations that are"
    " trained on. Filter by `revision`, which is the `id` in `revisions_readable`.",
    "first_errors": "A row for each bad trajectory that the critic found an error in: the first"
    " step that it called bad. Steps count from 1.",
}
"""View to what it shows, for the documentation."""

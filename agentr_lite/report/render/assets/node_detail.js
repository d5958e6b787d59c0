// What the page says of one node of a tree.

// What to show of a node, as elements.
function nodeDetail(explorer, at) {
  const tree = explorer.tree;
  const [glyph, tone, word] = explorer.mark(at);
  const parts = [];
  const title = make("h4");
  title.append(make("span", tone, glyph), " ", foreign("span", "", explorer.title(at)));
  parts.push(title);
  const facts = [
    ["step", tree.depth[at]],
    ["visits", tree.visits[at]],
    ["value", tree.visits[at] ? tree.value[at].toFixed(3) : "–"],
  ];
  if (tree.reward[at] !== null) facts.push(["reward", round(tree.reward[at])]);
  if (tree.merged[at] > 1) facts.push(["candidates with this action", tree.merged[at]]);
  facts.push(["node", tree.idx[at]]);
  const numbers = make("ul", "numbers");
  for (const [name, value] of facts) {
    const item = make("li");
    item.append(`${name} `, make("b", "", value));
    numbers.append(item);
  }
  parts.push(numbers);
  const state = [word];
  if (explorer.best.has(at)) state.push("on the best path");
  if (!tree.visits[at]) state.push("never visited");
  parts.push(make("p", "dim", state.join(" · ")));
  for (const found of tree.verdicts[at] || []) {
    const colour = { good: "good", bad: "bad", uncertain: "partial" }[found.verdict];
    const line = make("p", colour, `critic: ${found.words}`);
    if (found.reason >= 0) line.append(": ", foreign("span", "", explorer.text(found.reason)));
    parts.push(line);
  }
  if (at) block(parts, "The agent said", explorer.text(tree.text[at]));
  block(parts, at ? "It was answered" : "What it saw", explorer.text(tree.observation[at]));
  const call = tree.calls[tree.parent[at]];
  if (at && call) {
    const dropped = call.dropped ? ` ${call.dropped} old turns did not fit and were left out.` : "";
    parts.push(
      make("h5", "", "The model call that made it and its siblings"),
      make(
        "p",
        "dim",
        `${call.prompt} prompt tokens (${call.cached} reused), ${call.output} generated for ` +
          `${call.seeds.length} candidates; seeds ${call.seeds.join(", ")}.${dropped}`,
      ),
    );
  }
  const way = [];
  for (let up = tree.parent[at]; up >= 0; up = tree.parent[up]) way.unshift(up);
  if (way.length > 1) {
    const box = make("details", "quiet");
    box.append(make("summary", "", `The way here: ${way.length - 1} steps`));
    const list = make("ol");
    for (const step of way.slice(1)) {
      const item = make("li");
      const go = foreign("button", "", `${explorer.mark(step)[0]} ${explorer.title(step)}`);
      go.type = "button";
      go.addEventListener("click", () => explorer.goTo(step));
      item.append(go);
      list.append(item);
    }
    box.append(list);
    parts.push(box);
  }
  return parts;
}

function block(parts, heading, text) {
  if (text) parts.push(make("h5", "", heading), foreign("pre", "", text));
}

// One tree, unfolded and folded, searched and walked through with keys.

const DEEPEST_INDENT = 16;

class Explorer {
  constructor(section) {
    this.section = section;
    this.tree = data.trees[Number(section.dataset.tree)];
    this.name = section.id;
    this.children = this.tree.idx.map(() => []);
    this.tree.parent.forEach((parent, at) => {
      if (parent >= 0) this.children[parent].push(at);
    });
    this.best = new Set(this.tree.best);
    this.open = new Set([0, ...this.tree.best]);
    if (!this.tree.best.length) this.openMostVisited();
    this.revealed = new Set();
    this.order = "made";
    this.now = 0;
    this.hits = [];
    this.build();
    this.draw();
    this.show(0);
  }

  openMostVisited() {
    let at = 0;
    while (this.children[at].length) {
      this.open.add(at);
      at = this.children[at].reduce((a, b) => (this.tree.visits[b] > this.tree.visits[a] ? b : a));
    }
  }

  text(place) {
    return place < 0 ? "" : data.texts[place];
  }

  mark(at) {
    return data.marks[this.tree.mark[at]];
  }

  title(at) {
    if (at === 0) return "start";
    return this.tree.action[at] < 0 ? "(no action)" : this.text(this.tree.action[at]);
  }

  build() {
    const box = this.section.querySelector(".explorer");
    const tools = make("div", "tools");
    this.button(tools, "Best path", () => this.toBest()).disabled = !this.tree.best.length;
    this.button(tools, "Open all", () => this.openAll());
    this.button(tools, "Close all", () => this.closeAll());
    const order = make("select");
    order.setAttribute("aria-label", "Order of siblings");
    for (const [value, words] of [
      ["made", "as made"],
      ["visits", "most visited first"],
      ["value", "best value first"],
    ]) {
      const option = make("option", "", words);
      option.value = value;
      order.append(option);
    }
    order.addEventListener("change", () => {
      this.order = order.value;
      this.draw();
    });
    const search = make("input");
    search.type = "search";
    search.placeholder = "Find in the tree, Enter for the next";
    search.setAttribute("aria-label", "Find in actions, turns and observations");
    search.addEventListener("input", () => this.find(search.value));
    search.addEventListener("keydown", (event) => {
      if (event.key === "Enter") this.nextHit(event.shiftKey ? -1 : 1);
    });
    this.found = make("output");
    tools.append(order, search, this.found);
    const heads = make("div", "heads");
    heads.setAttribute("aria-hidden", "true");
    heads.append(make("span", "n", "visits"), make("span", "v", "value"));
    this.rows = make("div", "rows");
    this.rows.setAttribute("role", "tree");
    this.rows.setAttribute("aria-label", "Search tree");
    this.rows.addEventListener("click", (event) => this.clicked(event));
    this.rows.addEventListener("keydown", (event) => this.pressed(event));
    this.detail = make("div", "detail");
    this.detail.setAttribute("role", "region");
    this.detail.setAttribute("aria-label", "The node");
    this.detail.tabIndex = 0;
    const left = make("div");
    left.append(heads, this.rows);
    const panes = make("div", "panes");
    panes.append(left, this.detail);
    box.append(tools, panes);
    this.cells = new Map();
    for (const cell of this.section.querySelectorAll(".cell")) {
      this.cells.set(Number(cell.dataset.at), cell);
      cell.addEventListener("click", () => this.goTo(Number(cell.dataset.at)));
    }
  }

  button(box, words, action) {
    const button = make("button", "", words);
    button.type = "button";
    button.addEventListener("click", action);
    box.append(button);
    return button;
  }

  ordered(at) {
    const below = this.children[at];
    if (this.order === "made") return below;
    const key = this.order === "visits" ? this.tree.visits : this.tree.value;
    return [...below].sort((a, b) => key[b] - key[a] || a - b);
  }

  wasTried(at) {
    return this.tree.visits[at] > 0 || this.tree.reward[at] !== null || this.best.has(at);
  }

  // What is in sight, from top to bottom: nodes, and rows for what is left out. Where a node has
  // one child only, the way goes straight on; the indentation counts forks, not steps.
  visible() {
    const out = [];
    const stack = [{ at: 0, indent: 0, forked: true }];
    while (stack.length) {
      const item = stack.pop();
      out.push(item);
      if (item.at === undefined || !this.open.has(item.at)) continue;
      const all = this.ordered(item.at);
      const shown = this.revealed.has(item.at) ? all : all.filter((at) => this.wasTried(at));
      const forked = shown.length > 1;
      const indent = item.indent + (forked || item.forked ? 1 : 0);
      const below = shown.map((at) => ({ at, indent, forked }));
      const never = all.length - shown.length;
      if (never) below.push({ parent: item.at, indent, never });
      const left = this.tree.hidden[item.at];
      if (left) below.push({ parent: item.at, indent, left });
      for (let i = below.length - 1; i >= 0; i--) stack.push(below[i]);
    }
    return out;
  }

  draw() {
    const items = document.createDocumentFragment();
    this.shown = [];
    for (const item of this.visible()) {
      if (item.at !== undefined) {
        this.shown.push(item.at);
        items.append(this.row(item.at, item.indent));
      } else {
        items.append(this.moreRow(item));
      }
    }
    const top = this.rows.scrollTop;
    this.rows.replaceChildren(items);
    this.rows.scrollTop = top;
    if (!this.shown.includes(this.now)) this.now = this.shown[0];
    this.markNow();
  }

  indent(row, level) {
    row.style.setProperty("--d", Math.min(level, DEEPEST_INDENT));
  }

  row(at, indent) {
    const tree = this.tree;
    const [glyph, tone, word] = this.mark(at);
    const row = make("div", "row");
    row.id = `${this.name}-${at}`;
    row.dataset.at = at;
    row.tabIndex = -1;
    row.setAttribute("role", "treeitem");
    row.setAttribute("aria-level", tree.depth[at] + 1);
    row.setAttribute("aria-selected", "false");
    if (this.best.has(at)) row.classList.add("best");
    if (!tree.visits[at]) row.classList.add("never");
    if (this.hits.includes(at)) row.classList.add("hit");
    this.indent(row, indent);
    const foldable = this.children[at].length + tree.hidden[at] > 0;
    if (foldable) row.setAttribute("aria-expanded", String(this.open.has(at)));
    const twist = make("span", "twist", foldable ? (this.open.has(at) ? "▾" : "▸") : "");
    twist.setAttribute("aria-hidden", "true");
    const sign = make("span", `sign ${tone}`, glyph);
    sign.title = word;
    const what = foreign("span", "what", this.title(at).replace(/\s+/g, " "));
    row.append(twist, make("span", "step", at ? tree.depth[at] : ""), sign, what);
    if (tree.merged[at] > 1) row.append(make("span", "times", `×${tree.merged[at]}`));
    row.append(make("span", "n", tree.visits[at] || "·"));
    const level = make("span", "level");
    const fill = make("i");
    fill.style.setProperty("--q", tree.value[at]);
    level.append(fill);
    row.append(level, make("span", "val", tree.visits[at] ? tree.value[at].toFixed(2) : "·"));
    const reward = tree.reward[at] === null ? "" : `, reward ${round(tree.reward[at])}`;
    const best = this.best.has(at) ? ", on the best path" : "";
    row.setAttribute(
      "aria-label",
      `step ${tree.depth[at]}, ${word}: ${what.textContent}, visits ${tree.visits[at]}, value ${tree.value[at].toFixed(2)}${reward}${best}`,
    );
    return row;
  }

  moreRow(item) {
    const words = item.never
      ? `… ${item.never} never visited`
      : `… ${item.left} more, not in this page`;
    const row = make("div", "row more", words);
    row.setAttribute("role", "none");
    if (item.never) row.dataset.reveal = item.parent;
    this.indent(row, item.indent);
    return row;
  }

  markNow() {
    for (const row of this.rows.querySelectorAll('[aria-selected="true"]')) {
      row.setAttribute("aria-selected", "false");
      row.tabIndex = -1;
    }
    const row = document.getElementById(`${this.name}-${this.now}`);
    if (row) {
      row.setAttribute("aria-selected", "true");
      row.tabIndex = 0;
    }
    for (const cell of this.cells.values()) cell.classList.remove("now");
    const cell = this.cells.get(this.now);
    if (cell) cell.classList.add("now");
    return row;
  }

  select(at, focus = true) {
    this.now = at;
    const row = this.markNow();
    if (row && focus) row.focus({ preventScroll: true });
    if (row) keepInSight(this.rows, row);
    this.show(at);
  }

  goTo(at) {
    for (let up = this.tree.parent[at]; up >= 0; up = this.tree.parent[up]) this.open.add(up);
    if (!this.wasTried(at)) this.revealed.add(this.tree.parent[at]);
    this.draw();
    this.select(at);
  }

  toBest() {
    this.goTo(this.tree.best[this.tree.best.length - 1]);
  }

  openAll() {
    this.children.forEach((below, at) => {
      if (below.length || this.tree.hidden[at]) this.open.add(at);
    });
    this.draw();
  }

  closeAll() {
    this.open = new Set();
    this.now = 0;
    this.draw();
    this.show(0);
  }

  toggle(at) {
    if (!this.children[at].length && !this.tree.hidden[at]) return;
    if (!this.open.delete(at)) this.open.add(at);
    this.draw();
  }

  clicked(event) {
    const row = event.target.closest(".row");
    if (!row) return;
    if (row.dataset.reveal !== undefined) {
      this.revealed.add(Number(row.dataset.reveal));
      this.draw();
    } else if (row.dataset.at !== undefined) {
      const at = Number(row.dataset.at);
      // A tap on the node that is shown already folds it, as its small triangle does.
      if (event.target.closest(".twist") || at === this.now) this.toggle(at);
      this.select(at);
    }
  }

  pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const at = this.now;
    const place = this.shown.indexOf(at);
    const last = this.shown.length - 1;
    const moves = {
      ArrowDown: () => this.select(this.shown[Math.min(last, place + 1)]),
      ArrowUp: () => this.select(this.shown[Math.max(0, place - 1)]),
      Home: () => this.select(this.shown[0]),
      End: () => this.select(this.shown[last]),
      ArrowRight: () => {
        if (!this.open.has(at)) {
          this.toggle(at);
          this.select(at);
        } else if (this.children[at].length) {
          const child = this.shown[place + 1];
          if (child !== undefined && this.tree.parent[child] === at) this.select(child);
        }
      },
      ArrowLeft: () => {
        if (this.open.has(at) && this.children[at].length) {
          this.toggle(at);
          this.select(at);
        } else if (this.tree.parent[at] >= 0) {
          this.select(this.tree.parent[at]);
        }
      },
      Enter: () => this.fold(at),
      " ": () => this.fold(at),
      "*": () => {
        for (const one of this.siblings(at)) if (this.children[one].length) this.open.add(one);
        this.draw();
        this.select(at);
      },
    };
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    move();
  }

  fold(at) {
    this.toggle(at);
    this.select(at);
  }

  siblings(at) {
    const parent = this.tree.parent[at];
    return parent < 0 ? [at] : this.children[parent];
  }

  find(words) {
    const needle = words.trim().toLowerCase();
    this.hits = [];
    if (needle) {
      const has = (place) => place >= 0 && data.texts[place].toLowerCase().includes(needle);
      this.hits = this.tree.idx
        .map((_, at) => at)
        .filter((at) =>
          [this.tree.action[at], this.tree.text[at], this.tree.observation[at]].some(has),
        );
    }
    this.hit = -1;
    this.found.textContent = needle ? `${this.hits.length} found` : "";
    this.draw();
  }

  nextHit(step) {
    if (!this.hits.length) return;
    const count = this.hits.length;
    // Backwards before any has been shown begins with the last.
    if (step < 0 && this.hit < 0) this.hit = 0;
    this.hit = (this.hit + step + count) % count;
    const at = this.hits[this.hit];
    for (let up = this.tree.parent[at]; up >= 0; up = this.tree.parent[up]) this.open.add(up);
    if (!this.wasTried(at)) this.revealed.add(this.tree.parent[at]);
    this.draw();
    // The focus stays in the field, so that Enter goes on.
    this.select(at, false);
    this.found.textContent = `${this.hit + 1} of ${count}`;
  }

  show(at) {
    this.detail.replaceChildren(...nodeDetail(this, at));
    this.detail.scrollTop = 0;
  }
}

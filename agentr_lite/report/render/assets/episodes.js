// The table of held-out episodes: filtered, sorted, and opened task by task.

const PAGE = 200;
const CHANGES = [
  ["all", "All"],
  ["gained", "▲ Gained"],
  ["lost", "▼ Lost"],
  ["kept", "✓ Kept"],
  ["failed in both", "✗ Failed"],
];

class Episodes {
  constructor(section, table) {
    this.section = section;
    this.marks = table.marks;
    this.set = table.sets[Number(section.dataset.set)];
    this.left = 0;
    this.right = this.set.rounds.length - 1;
    this.which = "all";
    this.needle = "";
    this.sort = null;
    this.limit = PAGE;
    this.now = null;
    this.build();
    this.draw();
  }

  // The place of the chosen two rounds among all pairs; -1 where there is one round.
  get pair() {
    return this.set.pairs.findIndex(([a, b]) => a === this.left && b === this.right);
  }

  change(row) {
    return this.pair < 0 ? ["–", "dim", "one round only"] : this.marks[row[4][this.pair]];
  }

  // ---- tools ---------------------------------------------------------------------------------

  build() {
    const tools = this.section.querySelector(".tools");
    tools.hidden = false;
    this.filters = new Map();
    if (this.set.pairs.length) {
      const box = make("div", "filters");
      box.setAttribute("role", "group");
      box.setAttribute("aria-label", "Which tasks");
      for (const [which] of CHANGES) {
        const button = make("button");
        button.type = "button";
        button.addEventListener("click", () => {
          this.which = which;
          this.again();
        });
        this.filters.set(which, button);
        box.append(button);
      }
      tools.append(box, this.chooser("left", "The round on the left"), "→");
      tools.append(this.chooser("right", "The round on the right"));
    }
    const search = make("input");
    search.type = "search";
    search.placeholder = "Find a task";
    search.setAttribute("aria-label", "Find a task by its name or goal");
    search.addEventListener("input", () => {
      this.needle = search.value.trim().toLowerCase();
      this.again();
    });
    this.count = make("output");
    tools.append(search, this.count);
    this.head();
    this.body = this.section.querySelector("tbody");
    this.body.addEventListener("click", (event) => {
      const row = event.target.closest("tr");
      if (row) this.open(this.set.rows[row.dataset.at]);
    });
    this.body.addEventListener("keydown", (event) => this.pressed(event));
    const old = this.section.querySelector(".more-tasks");
    if (old) old.remove();
    this.more = make("button", "more-tasks");
    this.more.type = "button";
    this.more.addEventListener("click", () => {
      this.limit += PAGE;
      this.draw();
    });
    this.section.querySelector(".scroll").after(this.more);
    this.panel = this.section.querySelector(".transcript");
    this.panel.addEventListener("keydown", (event) => this.inPanel(event));
  }

  chooser(side, words) {
    const box = make("select", side);
    box.setAttribute("aria-label", words);
    this.set.rounds.forEach((name, at) => {
      const option = make("option", "", name);
      option.value = at;
      box.append(option);
    });
    // The earlier round is on the left, so the last one never is, nor the first one on the right.
    box.options[side === "left" ? this.set.rounds.length - 1 : 0].disabled = true;
    box.value = this[side];
    box.addEventListener("change", () => {
      this[side] = Number(box.value);
      if (this.left >= this.right) {
        if (side === "left") this.right = this.left + 1;
        else this.left = this.right - 1;
      }
      for (const each of ["left", "right"]) {
        this.section.querySelector(`select.${each}`).value = this[each];
      }
      this.again();
      if (this.now) this.show();
    });
    return box;
  }

  head() {
    const cells = [...this.section.querySelectorAll("thead th")];
    const rounds = this.set.rounds.length;
    const keys = [
      (row) => row[1].toLowerCase(),
      (row) => this.rank(row),
      ...this.set.rounds.map((_, at) => (row) => this.cell(row, at, 1)),
      (row) => this.cell(row, this.right, 1),
      (row) => this.cell(row, this.right, 2),
      (row) => this.cell(row, this.right, 3),
      (row) => row[2],
    ];
    cells.forEach((cell, at) => {
      const button = make("button", "by", cell.textContent);
      button.type = "button";
      // The word is explained by a pointer's rest; the link to it would be a button in a button.
      const term = cell.querySelector(".term");
      if (term) button.title = term.title;
      button.addEventListener("click", () => {
        const down = this.sort && this.sort.at === at ? !this.sort.down : at > 1 && at < rounds + 5;
        this.sort = { at, down, key: keys[at] };
        for (const each of cells) each.removeAttribute("aria-sort");
        cell.setAttribute("aria-sort", down ? "descending" : "ascending");
        this.again();
      });
      cell.replaceChildren(button);
    });
  }

  cell(row, round, at) {
    const cell = row[3][round];
    return cell ? cell[at] : -1;
  }

  rank(row) {
    const word = this.change(row)[2];
    const at = ["gained", "lost", "failed in both", "kept"].indexOf(word);
    return at < 0 ? 9 : at;
  }

  // ---- rows ------------------------------------------------------------------------------------

  again() {
    this.limit = PAGE;
    this.draw();
  }

  chosen() {
    const found = this.set.rows.filter(
      (row) =>
        !this.needle ||
        row[0].toLowerCase().includes(this.needle) ||
        row[1].toLowerCase().includes(this.needle),
    );
    for (const [which, words] of CHANGES) {
      const button = this.filters.get(which);
      if (!button) continue;
      const count = found.filter((row) => this.wanted(row, which)).length;
      button.textContent = `${words} ${count}`;
      button.setAttribute("aria-pressed", String(which === this.which));
    }
    const rows = found.filter((row) => this.wanted(row, this.which));
    if (this.sort) {
      const { key, down } = this.sort;
      const turn = down ? -1 : 1;
      rows.sort((a, b) => turn * ((key(a) > key(b)) - (key(a) < key(b))));
    }
    return rows;
  }

  wanted(row, which) {
    return which === "all" || this.change(row)[2] === which;
  }

  draw() {
    this.rows = this.chosen();
    const items = document.createDocumentFragment();
    const shown = this.rows.slice(0, this.limit);
    for (const row of shown) items.append(this.row(row));
    this.body.replaceChildren(items);
    const left = this.rows.length - shown.length;
    this.more.hidden = left === 0;
    this.more.textContent = `Show ${Math.min(PAGE, left)} more of ${left}`;
    const all = this.set.rows.length;
    const count = this.rows.length;
    this.count.textContent = count === all ? `${all} tasks` : `${count} of ${all} tasks`;
    this.markNow();
  }

  row(row) {
    const line = make("tr");
    line.dataset.at = this.set.rows.indexOf(row);
    const head = make("th", "task");
    head.scope = "row";
    const button = foreign("button", "", row[1]);
    button.type = "button";
    button.tabIndex = -1;
    head.append(button, foreign("span", "dim", row[0]));
    const [glyph, tone, word] = this.change(row);
    const change = make("td", "left change");
    const mark = make("span", tone);
    const hidden = make("span", "", glyph);
    hidden.setAttribute("aria-hidden", "true");
    mark.append(hidden, " ", make("span", "word", word));
    change.append(mark);
    line.append(head, change);
    row[3].forEach((cell, at) => {
      const box = make("td", at === this.left || at === this.right ? "mark chosen" : "mark");
      if (cell) box.append(sign(...this.marks[cell[0]]));
      else box.textContent = "–";
      line.append(box);
    });
    for (const [at, show] of [
      [1, round],
      [2, String],
      [3, String],
    ]) {
      const cells = (this.pair < 0 ? [this.right] : [this.left, this.right]).map((r) => row[3][r]);
      const box = make("td", "", cells.map((cell) => (cell ? show(cell[at]) : "–")).join(" → "));
      if (at === 3 && cells.at(-1)) {
        box.title = `${this.set.rounds[this.right]}: ${cells.at(-1)[4]} invalid, ${cells.at(-1)[5]} repeated`;
      }
      line.append(box);
    }
    line.append(make("td", "level", row[2]));
    return line;
  }

  markNow() {
    let current = null;
    for (const line of this.body.rows) {
      const here = this.set.rows[line.dataset.at] === this.now;
      if (here) {
        line.setAttribute("aria-current", "true");
        current = line;
      } else {
        line.removeAttribute("aria-current");
      }
      line.querySelector("button").tabIndex = -1;
    }
    const entry = current || this.body.rows[0];
    if (entry) entry.querySelector("button").tabIndex = 0;
    return current;
  }

  pressed(event) {
    const line = event.target.closest("tr");
    if (!line || event.ctrlKey || event.metaKey || event.altKey) return;
    const lines = [...this.body.rows];
    const at = lines.indexOf(line);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: lines.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const next = lines[Math.max(0, Math.min(lines.length - 1, to))];
    line.querySelector("button").tabIndex = -1;
    const button = next.querySelector("button");
    button.tabIndex = 0;
    button.focus();
  }

  // ---- the transcript ----------------------------------------------------------------------------

  open(row) {
    this.now = row;
    this.markNow();
    history.replaceState(null, "", `#${this.section.id}-task-${this.set.rows.indexOf(row)}`);
    return this.show().then(() => {
      this.panel.focus({ preventScroll: true });
      this.panel.scrollIntoView({ block: "start" });
    });
  }

  async show() {
    const row = this.now;
    this.panel.hidden = false;
    let parts;
    try {
      parts = await this.elements(row);
    } catch (wrong) {
      parts = [make("p", "warning", `The transcript cannot be shown: ${wrong.message}.`)];
    }
    // Meanwhile another one may have been opened.
    if (this.now === row) this.panel.replaceChildren(this.heading(row), ...parts);
  }

  async elements(row) {
    if (!row[5]) {
      return [make("p", "warning", "This transcript is not in this page; agentr-lite tui shows it.")];
    }
    const [block, place] = row[5];
    const [shared, own] = await Promise.all([unpack("episodes-shared"), unpack(`episodes-${block}`)]);
    const text = (at) => (at >= 0 ? own.texts[at] : shared[-2 - at]);
    const transcript = new Transcript(this.marks, own.records[place], text);
    const names = this.pair < 0 ? [this.right] : [this.left, this.right];
    return transcript.elements(
      this.left,
      this.right,
      names.map((at) => this.set.rounds[at]),
      this.pair,
    );
  }

  heading(row) {
    const box = make("div", "opened");
    const [glyph, tone, word] = this.change(row);
    const title = make("h4");
    title.append(foreign("span", "", row[1]));
    const words = make("p", "dim");
    words.append(foreign("span", "", row[0]), ` · level ${row[2]} · `, make("span", tone, `${glyph} ${word}`));
    const at = this.rows.indexOf(row);
    const go = make("div", "tools");
    for (const [by, label] of [
      [-1, "← Previous task"],
      [1, "Next task →"],
    ]) {
      const button = make("button", "", label);
      button.type = "button";
      button.disabled = !this.rows[at + by] || (at < 0 && by < 0);
      button.addEventListener("click", () => this.other(by));
      go.append(button);
    }
    const close = make("button", "", "Close");
    close.type = "button";
    close.addEventListener("click", () => this.close());
    go.append(close, make("output", "", at < 0 ? "" : `${at + 1} of ${this.rows.length}`));
    box.append(title, words, go);
    return box;
  }

  other(by) {
    const at = this.rows.indexOf(this.now) + by;
    if (at < 0 || at >= this.rows.length) return;
    if (at >= this.limit) {
      this.limit = at + PAGE;
      this.draw();
    }
    this.open(this.rows[at]).then(() => {
      const line = this.markNow();
      if (line) keepInSight(this.section.querySelector(".scroll"), line);
    });
  }

  close() {
    const line = this.markNow();
    this.now = null;
    this.panel.hidden = true;
    if (line) line.querySelector("button").focus();
  }

  inPanel(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    if (event.target.matches("select, input")) return;
    const moves = {
      ArrowLeft: () => this.other(-1),
      ArrowRight: () => this.other(1),
      Escape: () => this.close(),
    };
    if (!moves[event.key]) return;
    event.preventDefault();
    moves[event.key]();
  }
}

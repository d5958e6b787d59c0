// Two rounds' episodes of a task side by side, from their first difference on.

const GIVEN = 1;
const REPEATS = 2;
const FAULTY = 4;

class Transcript {
  // `marks` are the signs, `record` is the task's part of a block, `text` gives a text by its place.
  constructor(marks, record, text) {
    this.marks = marks;
    [this.played, this.parted] = record;
    this.text = text;
  }

  // The elements for two rounds of these names; `pair` is their place among all pairs, -1 for one
  // round alone.
  elements(left, right, names, pair) {
    const sides = pair < 0 ? [right] : [left, right];
    const [shared, words] = pair < 0 ? [0, -1] : this.parted[pair];
    const both = sides.map((at) => this.played[at]);
    const parts = [];
    if (words !== -1) parts.push(foreign("p", "outcome", this.text(words)));
    parts.push(...this.openings(both));
    const lengths = both.map((episode) => (episode ? episode[5].length : 0));
    const most = Math.max(...lengths);
    // Without a difference there is nothing else to show.
    if (pair < 0 || lengths.every((count) => count === shared)) {
      parts.push(this.sides(both, names, 0, most, { heads: true }));
      return parts;
    }
    if (shared) {
      const box = make("details", "quiet same");
      box.append(make("summary", "", `${shared} step${shared === 1 ? "" : "s"} the same in both`));
      box.append(this.sides(both, names, 0, shared, { heads: false }));
      parts.push(box);
    }
    parts.push(this.sides(both, names, shared, most, { heads: true, parted: true }));
    return parts;
  }

  openings(both) {
    const parts = [];
    const known = both.filter(Boolean);
    const notes = new Set(known.map((episode) => episode[2]).filter((at) => at !== -1));
    for (const note of notes) parts.push(make("p", "dim", this.text(note)));
    const box = make("details", "quiet");
    box.append(make("summary", "", "What the agent saw first"));
    for (const saw of new Set(known.map((episode) => episode[1]))) {
      box.append(foreign("pre", "", this.text(saw)));
    }
    for (const before of new Set(known.map((episode) => episode[0]))) {
      if (before !== -1) box.append(make("h5", "", "Instructions"), foreign("pre", "", this.text(before)));
    }
    parts.push(box);
    return parts;
  }

  sides(both, names, from, to, { heads, parted }) {
    const box = make("div", "sides beside");
    // One row for the heading, one for the line of the difference, one for each step.
    box.style.setProperty("--rows", to - from + 1 + (parted ? 1 : 0));
    both.forEach((episode, at) => {
      const side = make("section", "side");
      side.setAttribute("aria-label", names[at]);
      if (heads) side.append(this.heading(episode, names[at]));
      const list = make("ol", "turns");
      if (episode) {
        const steps = episode[5].slice(from, to);
        if (parted) list.append(this.difference(from, steps.length));
        steps.forEach((step, place) => list.append(this.turn(step, from + place + 1)));
      }
      side.append(list);
      box.append(side);
    });
    return box;
  }

  heading(episode, name) {
    const box = make("div", "whose");
    const title = make("h4", "", name);
    if (!episode) {
      box.append(title, make("p", "dim", "not played"));
      return box;
    }
    const [glyph, tone, word] = this.marks[episode[3]];
    title.append(" ", make("span", tone, `${glyph} ${word}`));
    const steps = episode[5];
    const given = steps.filter((step) => step[1] & GIVEN).length;
    let words = `${steps.length} step${steps.length === 1 ? "" : "s"}`;
    if (given) words += `, ${given} given`;
    box.append(title, make("p", "dim", words));
    if (episode[4] !== -1) box.append(foreign("p", "odd", this.text(episode[4])));
    return box;
  }

  difference(from, left) {
    const words = left ? `first difference · step ${from + 1}` : `over after step ${from}`;
    const item = make("li", "apart");
    item.append(make("span", "", words));
    return item;
  }

  turn([mark, flags, action, said, thinking, observation], number) {
    const [glyph, tone, word] = this.marks[mark];
    const item = make("li", `turn${flags & GIVEN ? " given" : ""}`);
    const act = make("p", "act");
    act.append(make("span", "no", number), sign(glyph, tone, word), " ");
    if (flags & FAULTY) act.append(sign(...this.named("invalid action")), " ");
    if (flags & REPEATS) act.append(sign(...this.named("repeats the steps just before it")), " ");
    act.append(foreign("code", "", action === -1 ? "(no action)" : this.text(action)));
    if (flags & GIVEN) act.append(make("span", "segment", "given"));
    item.append(act);
    if (thinking !== -1) {
      const box = make("details", "quiet");
      box.append(make("summary", "", "What the model thought first"));
      box.append(foreign("pre", "", this.text(thinking)));
      item.append(box);
    }
    if (said !== -1) item.append(foreign("p", "said", this.text(said)));
    if (observation !== -1) item.append(foreign("p", "saw", this.text(observation)));
    return item;
  }

  named(word) {
    return this.marks.find((mark) => mark[2] === word);
  }
}

// A sign with its word for those who do not see it.
function sign(glyph, tone, word) {
  const box = make("span", tone, glyph);
  box.title = word;
  box.setAttribute("role", "img");
  box.setAttribute("aria-label", word);
  return box;
}

// The page as a whole: its theme, which tree is shown, and what goes on paper.

// ---- theme -------------------------------------------------------------------------------

const THEMES = ["auto", "light", "dark"];
const themeButton = document.getElementById("theme");

function remembered() {
  // A browser may refuse storage to a file; the page then follows the system.
  try {
    return localStorage.getItem("agentr-lite-theme");
  } catch (refused) {
    return null;
  }
}

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  themeButton.textContent = `Theme: ${name}`;
  try {
    localStorage.setItem("agentr-lite-theme", name);
  } catch (refused) {
    // Kept for as long as the page is open.
  }
}

themeButton.hidden = false;
setTheme(THEMES.includes(remembered()) ? remembered() : "auto");
themeButton.addEventListener("click", () => {
  const at = THEMES.indexOf(document.documentElement.dataset.theme);
  setTheme(THEMES[(at + 1) % THEMES.length]);
});

// ---- all trees: one is shown at a time -----------------------------------------------------

const sections = [...document.querySelectorAll(".tree")];
const picks = [...document.querySelectorAll(".pick")];
const explorers = new Map();

function showTree(section) {
  for (const each of sections) each.hidden = each !== section;
  for (const pick of picks) {
    if (pick.hash === `#${section.id}`) pick.setAttribute("aria-current", "true");
    else pick.removeAttribute("aria-current");
  }
  if (!explorers.has(section)) explorers.set(section, new Explorer(section));
}

for (const pick of picks) {
  pick.addEventListener("click", (event) => {
    event.preventDefault();
    showTree(document.getElementById(pick.hash.slice(1)));
    history.replaceState(null, "", pick.hash);
  });
}

// ---- held-out episodes: one evaluation is shown at a time ------------------------------------

const playedSections = [...document.querySelectorAll(".played")];
const playedPicks = [...document.querySelectorAll(".choice")];
const tables = new Map();
let episodesTable = null;

function showPlayed(section) {
  if (!episodesTable) return null;
  for (const each of playedSections) each.hidden = each !== section;
  for (const pick of playedPicks) {
    if (pick.hash === `#${section.id}`) pick.setAttribute("aria-current", "true");
    else pick.removeAttribute("aria-current");
  }
  if (!tables.has(section)) tables.set(section, new Episodes(section, episodesTable));
  return tables.get(section);
}

for (const pick of playedPicks) {
  pick.addEventListener("click", (event) => {
    if (!episodesTable) return;
    event.preventDefault();
    showPlayed(document.getElementById(pick.hash.slice(1)));
    history.replaceState(null, "", pick.hash);
  });
}

async function startEpisodes() {
  if (!playedSections.length) return;
  document.querySelector("#episodes .unscripted").hidden = true;
  try {
    episodesTable = await unpack("episodes-table");
  } catch (wrong) {
    const told = make("p", "warning", `The transcripts cannot be shown: ${wrong.message}.`);
    playedSections[0].before(told);
    return;
  }
  for (const each of document.querySelectorAll("#episodes .scripted")) each.hidden = false;
  const [, name, task] = location.hash.match(/^#(played-\d+)(?:-task-(\d+))?$/) || [];
  const section = document.getElementById(name || "") || playedSections[0];
  const shown = showPlayed(section);
  if (task !== undefined && shown.set.rows[task]) await shown.open(shown.set.rows[task]);
  else if (name) section.scrollIntoView();
}

function followHash() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  if (target.matches(".played")) showPlayed(target);
  if (target.matches(".tree")) showTree(target);
  if (target.matches("details")) target.open = true;
  target.scrollIntoView();
}

if (sections.length) showTree(sections[0]);
window.addEventListener("hashchange", followHash);
followHash();
startEpisodes();

// ---- print: all trees, splices and recipes are on paper; what they fold away is not ----------

let unfolded = [];
window.addEventListener("beforeprint", () => {
  for (const section of sections) {
    if (!explorers.has(section)) explorers.set(section, new Explorer(section));
  }
  const wanted = document.querySelectorAll("details.splice, details.run, #setup details");
  unfolded = [...wanted].filter((each) => !each.open);
  for (const each of unfolded) each.open = true;
});
window.addEventListener("afterprint", () => {
  for (const each of unfolded) each.open = false;
});

// Compressed parts of the page, each unpacked when it is first needed, and kept.

const unpacked = new Map();
// The compressed parts stand behind the script; until the page is read to its end they are not there.
const pageRead = new Promise((done) => {
  if (document.readyState !== "loading") done();
  else document.addEventListener("DOMContentLoaded", done);
});

function unpack(name) {
  if (!unpacked.has(name)) unpacked.set(name, pageRead.then(() => inflate(name)));
  return unpacked.get(name);
}

async function inflate(name) {
  if (typeof DecompressionStream === "undefined") {
    throw new Error("this browser cannot unpack it (it has no DecompressionStream)");
  }
  const packed = JSON.parse(document.getElementById(name).textContent);
  const bytes = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

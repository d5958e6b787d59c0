"use strict";
// What all parts of the script need: the page's data, and ways to make elements. Texts of models and
// environments only ever become text nodes.

const data = JSON.parse(document.getElementById("data").textContent);

function make(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function foreign(tag, className, text) {
  const node = make(tag, className, text);
  node.dir = "auto";
  return node;
}

function round(value) {
  return String(Math.round(value * 1000) / 1000);
}

function keepInSight(box, row) {
  const top = row.offsetTop - box.offsetTop;
  if (top < box.scrollTop) box.scrollTop = top;
  const bottom = top + row.offsetHeight - box.clientHeight;
  if (bottom > box.scrollTop) box.scrollTop = bottom;
}

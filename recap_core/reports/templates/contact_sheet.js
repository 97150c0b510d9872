"use strict";
const cards = [...document.querySelectorAll("article.card")];
const drivers = ["policy", "paused", "operator", "demonstration"];
const labels = ["none", "negative", "positive"];
const visible = () => cards.filter((card) => card.offsetParent !== null);

function countShown() {
  const shown = visible().length;
  document.querySelector(".status").textContent =
    shown === cards.length ? `${shown} episodes shown` : `${shown} of ${cards.length} episodes shown`;
  document.body.classList.toggle("nothing", shown === 0);
}

function step(direction) {
  const shown = visible();
  const line = parseFloat(getComputedStyle(document.documentElement).scrollPaddingTop) + 8;
  const tops = shown.map((card) => card.getBoundingClientRect().top);
  const at = direction > 0 ? tops.findIndex((top) => top > line) : tops.findLastIndex((top) => top < line - 16);
  const target = shown[at];
  if (target) {
    target.scrollIntoView();
    target.focus({ preventScroll: true });
  }
}

const choices = { a: "show-all", f: "show-failures", s: "show-successes", t: "show-corrected" };
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "j" || event.key === "k") step(event.key === "j" ? 1 : -1);
  else if (event.key in choices) document.getElementById(choices[event.key]).click();
});
document.querySelector(".filters").addEventListener("change", countShown);
document.querySelector(".filters").addEventListener("submit", (event) => event.preventDefault());

function signed(thousandths) {
  const number = Number(thousandths) / 1000;
  return `${number < 0 ? "\u2212" : ""}${Math.abs(number).toFixed(3)}`;
}

function tell(card, strips, event) {
  const data = card.dataset;
  const box = strips.getBoundingClientRect();
  const share = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 0.999999);
  const point = Math.floor((share * Number(data.frames)) / Number(data.stride));
  const frame = point * Number(data.stride);
  const value = data.values.split(",")[point];
  const advantage = data.advantage.split(",")[point];
  let text = `frame ${frame}, ${(frame / Number(data.fps)).toFixed(2)} s, ${drivers[data.drivers[point]]}`;
  if (value) text += `\nvalue ${signed(value)}`;
  if (advantage) text += `${value ? ", " : "\n"}advantage ${signed(advantage)}`;
  text += `\nlabel ${labels[data.labels[point]]}`;
  cursor.style.left = `${100 * share}%`;
  readout.textContent = text;
  readout.style.left = share < 0.5 ? `calc(${100 * share}% + 10px)` : "auto";
  readout.style.right = share < 0.5 ? "auto" : `calc(${100 - 100 * share}% + 10px)`;
  strips.append(cursor, readout);
}

const cursor = document.createElement("div");
const readout = document.createElement("div");
cursor.className = "cursor";
readout.className = "readout";
for (const card of cards) {
  const strips = card.querySelector(".strips");
  strips.addEventListener("pointermove", (event) => tell(card, strips, event));
  strips.addEventListener("pointerleave", () => { cursor.remove(); readout.remove(); });
}
countShown();
document.body.classList.add("scripted");

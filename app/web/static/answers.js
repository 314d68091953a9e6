// Every task's answer as a card, by the task's kind.
import { element, number, percent } from "./dom.js";

const MOST_CHIPS = 12;

/** A card a task, before anything was asked: what kind of answer will stand there. */
export function emptyCards(tasks) {
  return Object.entries(tasks).map(([name, task]) => card(name, "waiting", element("p", { class: "expects" }, expectation(task))));
}

/**
 * A card a prediction, in the order of the answer. `tasks` is the model's description of them, `why(name)` what can be
 * opened below an answer.
 */
export function answerCards(predictions, tasks, why) {
  return Object.entries(predictions).map(([name, prediction]) => {
    const show = KINDS[prediction.kind] || unknown;
    return card(name, prediction.kind, ...show(prediction, tasks[name]), why(name));
  });
}

/** Say an answer in one line, for those who listen. */
export function spoken(predictions) {
  return Object.entries(predictions)
    .map(([name, p]) => `${name}: ${p.labels ? p.labels.join(", ") || "none" : (p.label ?? p.value)}`)
    .join("; ");
}

const KINDS = {
  multiclass: (p) => [bars(p.top)],
  binary: (p, task) => [bars(twoSided(p, task))],
  multilabel: (p) => [chips(p)],
  ordinal: (p, task) => [headline(p.value, p.confidence), p.interval && scale(p, task)],
  regression: (p) => [headline(number(p.value)), p.interval && note(`between ${number(p.interval[0])} and ${number(p.interval[1])}`)],
};

function unknown(prediction) {
  return [element("pre", {}, JSON.stringify(prediction, null, 2))];
}

function card(name, kind, ...content) {
  return element("article", { class: `card ${kind}`, "data-task": name }, element("h3", {}, name), ...content);
}

function headline(label, confidence) {
  return element(
    "p",
    { class: "headline" },
    element("strong", {}, label),
    confidence !== undefined && element("span", { class: "confidence" }, percent(confidence)),
  );
}

function note(text) {
  return element("p", { class: "note" }, text);
}

/** Labels from the likeliest down; the first is the answer and stands out. */
function bars(entries) {
  return element(
    "ol",
    { class: "bars" },
    ...entries.map(({ label, confidence }) => {
      const fill = element("span", { class: "fill" });
      fill.style.inlineSize = `${(confidence * 100).toFixed(2)}%`;
      return element(
        "li",
        {},
        element("span", { class: "name" }, label),
        element("span", { class: "share" }, percent(confidence)),
        element("span", { class: "track", "aria-hidden": "true" }, fill),
      );
    }),
  );
}

function twoSided({ label, confidence }, task) {
  const other = task?.labels?.find((candidate) => candidate !== label);
  const entries = [{ label, confidence }];
  if (other !== undefined) entries.push({ label: other, confidence: 1 - confidence });
  return entries;
}

function chips({ labels, confidences }) {
  const chosen = new Set(labels);
  const sorted = Object.entries(confidences).sort(([, a], [, b]) => b - a);
  const shown = sorted.filter(([label], place) => chosen.has(label) || place < MOST_CHIPS);
  const rest = sorted.length - shown.length;
  return element(
    "ul",
    { class: "chips" },
    ...shown.map(([label, confidence]) =>
      element(
        "li",
        { class: chosen.has(label) ? "on" : "off" },
        element("span", { class: "mark", "aria-hidden": "true" }, chosen.has(label) ? "✓" : "–"),
        element("span", { class: "unseen" }, chosen.has(label) ? "yes: " : "no: "),
        element("span", { class: "name" }, label),
        element("span", { class: "share" }, percent(confidence)),
      ),
    ),
    rest > 0 && element("li", { class: "rest" }, `and ${rest} below`),
  );
}

/** The line of all values, the interval on it and the answer as a dot. */
function scale({ value, interval }, task) {
  const [low, high] = interval;
  const text = low === high ? `only ${low}` : `${low} to ${high}`;
  const values = (task?.labels || []).map(Number);
  if (values.length < 2 || values.some(Number.isNaN)) return note(text);
  const place = (x) => `${((values.indexOf(Number(x)) / (values.length - 1)) * 100).toFixed(2)}%`;
  const band = element("span", { class: "band" });
  band.style.insetInlineStart = place(low);
  band.style.insetInlineEnd = `calc(100% - ${place(high)})`;
  const dot = element("span", { class: "dot" });
  dot.style.insetInlineStart = place(value);
  return element(
    "div",
    { class: "scale" },
    element("div", { class: "line", "aria-hidden": "true" }, band, dot),
    element(
      "p",
      { class: "ends" },
      element("span", { "aria-hidden": "true" }, task.labels[0]),
      element("span", { class: "between" }, element("span", { class: "unseen" }, "interval: "), text),
      element("span", { "aria-hidden": "true" }, task.labels[task.labels.length - 1]),
    ),
  );
}

function expectation({ kind, labels }) {
  if (kind === "multiclass") return `one of ${labels.length}`;
  if (kind === "multilabel") return `any of ${labels.length}`;
  if (kind === "binary") return labels.join(" or ");
  if (kind === "ordinal") return `${labels[0]} to ${labels[labels.length - 1]}`;
  if (kind === "regression") return "a number";
  return kind;
}

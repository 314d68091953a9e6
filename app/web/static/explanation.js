// Why an answer is as it is: what each input gave to it, and where in the picture and in which words that lies.
import { Problem, predict } from "./api.js";
import { element, number, percent } from "./dom.js";

let count = 0;

/**
 * What opens the explanation of a task's answer: a function from the task's name. Asked for once it is wanted, of all
 * tasks at once: they share nearly all of the work.
 * @param {object} model its description
 * @param {string[]} tasks that were answered
 * @param {Record<string, File | string>} parts what the answers are about
 * @param {AbortSignal} signal of the answers: newer ones need no explanation of these
 */
export function explainer(model, tasks, parts, signal) {
  let asked = null;
  const ask = () => {
    asked ??= explained(parts, { model: model.name, tasks }, signal).catch((error) => {
      asked = null;
      throw error;
    });
    return asked;
  };
  return (task) => whyButton(task, async () => explanationNodes((await ask()).answer.predictions[task], model, parts));
}

/** A button with a place below it that it opens; `find` gives what stands there. */
function whyButton(task, find) {
  const place = element("div", { class: "why", id: `why-${++count}`, role: "status", hidden: true });
  const button = element(
    "button",
    { type: "button", class: "link", "aria-expanded": "false", "aria-controls": place.id, onclick: press },
    "Why?",
    element("span", { class: "unseen" }, ` ${task}`),
  );
  let begun = false;

  function press() {
    place.hidden = !place.hidden;
    button.setAttribute("aria-expanded", String(!place.hidden));
    if (!begun) fill();
  }

  async function fill() {
    begun = true;
    place.replaceChildren(element("p", { class: "note" }, "Taking the inputs apart…"));
    try {
      place.replaceChildren(...(await find()));
    } catch (error) {
      if (error.name === "AbortError") return;
      begun = false;
      const problem = error instanceof Problem ? error : new Problem({ title: "The page failed", detail: String(error) });
      place.replaceChildren(
        element("p", { class: "note" }, problem.detail || problem.title),
        element("button", { type: "button", class: "link", onclick: fill }, "Try again"),
      );
    }
  }

  return element("div", { class: "why-foot" }, button, place);
}

/** Full explanations where the service gives any, else plain ones. */
async function explained(parts, options, signal) {
  try {
    return await predict(parts, { ...options, explain: "full" }, signal);
  } catch (error) {
    if (error.status !== 422) throw error;
    return await predict(parts, { ...options, explain: "true" }, signal);
  }
}

function explanationNodes(prediction, model, parts) {
  const told = prediction.explanation;
  if (told.shapley === undefined) {
    return [element("p", { class: "note" }, "This model cannot tell what each input gave: it was made without priors.")];
  }
  if (prediction.kind !== "multilabel") return labelNodes(told, prediction, model, parts);

  // Each label has an explanation of its own: one at a time, the likeliest first.
  const labels = Object.keys(told.shapley).sort((a, b) => prediction.confidences[b] - prediction.confidences[a]);
  const place = element("div", { class: "why-label" });
  const show = (label) => {
    const own = { base: told.base[label], shapley: told.shapley[label], parts: told.parts?.[label] };
    place.replaceChildren(...labelNodes(own, prediction, model, parts));
  };
  const choice = element(
    "select",
    { "aria-label": "Label to explain", onchange: (event) => show(event.target.value) },
    ...labels.map((label) => element("option", { value: label }, label)),
  );
  show(labels[0]);
  return [choice, place];
}

function labelNodes({ base, shapley, parts: apart }, prediction, model, parts) {
  const regression = prediction.kind === "regression";
  const start = regression ? number(base) : percent(base);
  const change = regression ? (value) => signed(number(Math.abs(value)), value) : points;
  const rows = Object.entries(shapley);
  const largest = Math.max(...rows.map(([, value]) => Math.abs(value)), Number.MIN_VALUE);
  return [
    element(
      "ul",
      { class: "gave" },
      element("li", {}, element("span", {}, "without any input"), element("span", { class: "amount" }, start)),
      ...rows.map(([name, value]) => {
        const fill = element("span", { class: value < 0 ? "fill against" : "fill" });
        fill.style.inlineSize = `${((Math.abs(value) / largest) * 100).toFixed(2)}%`;
        return element(
          "li",
          {},
          element("span", { class: "name" }, name),
          element("span", { class: "amount" }, change(value)),
          element("span", { class: "track", "aria-hidden": "true" }, fill),
        );
      }),
    ),
    ...Object.entries(apart || {}).map(([name, weights]) =>
      model.modalities[name].kind === "image"
        ? heatMap(name, weights, model.modalities[name], parts[name], change)
        : words(name, weights, change),
    ),
    apart && element("p", { class: "note" }, "Green speaks for the answer, orange against it."),
  ].filter(Boolean);
}

/** The picture as the network sees it, under a grid of what each cell gave. */
function heatMap(name, rows, { width, height, fit }, file, change) {
  const address = URL.createObjectURL(file);
  const release = () => URL.revokeObjectURL(address);
  const picture = element("img", { src: address, alt: "", class: fit, onload: release, onerror: release });
  const largest = Math.max(...rows.flat().map(Math.abs), Number.MIN_VALUE);
  const cells = element("div", { class: "cells" });
  cells.style.gridTemplateColumns = `repeat(${rows[0].length}, 1fr)`;
  cells.append(...rows.flat().map((value) => marked("span", value, largest, { title: change(value) })));
  const frame = element(
    "div",
    { class: "heat", role: "img", "aria-label": `${name}: ${whereMost(rows)}` },
    picture,
    cells,
  );
  frame.style.aspectRatio = `${width} / ${height}`;
  return frame;
}

/** Where the picture gave most, in words. */
function whereMost(rows) {
  const flat = rows.flat();
  const most = flat.indexOf(Math.max(...flat));
  const third = (place, of, names) => names[Math.min(2, Math.floor(((place + 0.5) / of) * 3))];
  const down = third(Math.floor(most / rows[0].length), rows.length, ["top", "middle", "bottom"]);
  const across = third(most % rows[0].length, rows[0].length, ["left", "centre", "right"]);
  return `most was given by the ${down} ${across}`;
}

function words(name, weights, change) {
  const largest = Math.max(...weights.map(({ weight }) => Math.abs(weight)), Number.MIN_VALUE);
  return element(
    "p",
    { class: "words" },
    element("span", { class: "unseen" }, `${name}: `),
    ...weights.flatMap(({ word, weight }) => [
      marked("mark", weight, largest, { title: change(weight) }, word, element("span", { class: "unseen" }, ` (${change(weight)})`)),
      " ",
    ]),
  );
}

/** Coloured by what it gave: for the answer or against it, and how much next to the largest. */
function marked(tag, value, largest, properties, ...children) {
  const node = element(tag, { class: value < 0 ? "against" : "for", ...properties }, ...children);
  node.style.setProperty("--much", (Math.abs(value) / largest).toFixed(3));
  return node;
}

function points(value) {
  const size = Math.abs(value * 100);
  return signed(size < 0.05 ? "0" : size < 10 ? size.toFixed(1) : size.toFixed(0), value) + " points";
}

function signed(text, value) {
  return text === "0" ? text : `${value < 0 ? "−" : "+"}${text}`;
}

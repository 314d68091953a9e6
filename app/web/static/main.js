// The page: reads what the model takes and answers, asks, and shows what came back.
import { answerCards, emptyCards, spoken } from "./answers.js";
import { Problem, describeModel, hasKey, listModels, predict, useKey } from "./api.js";
import { byId, element } from "./dom.js";
import { explainer } from "./explanation.js";
import { buildInputs } from "./inputs.js";
import { sampleButtons } from "./samples.js";
import { timingNodes } from "./timing.js";

// Of ordinary inputs, one in a hundred is less familiar.
const STRANGE = 0.01;

const page = { model: null, inputs: null, running: null, afterKey: null };

function wire() {
  byId("form").addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
  byId("form").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) ask();
  });
  byId("model-name").addEventListener("change", (event) => open(event.target.value));
  byId("tasks-all").addEventListener("click", () => checkTasks(true));
  byId("tasks-none").addEventListener("click", () => checkTasks(false));
  byId("access").addEventListener("submit", (event) => {
    event.preventDefault();
    giveKey(byId("key").value.trim());
  });
  byId("forget-key").addEventListener("click", () => {
    useKey(null);
    window.location.reload();
  });
  document.addEventListener("paste", (event) => {
    const picture = [...event.clipboardData.files].find((file) => file.type.startsWith("image/"));
    if (picture && page.inputs?.takePicture(picture)) event.preventDefault();
  });
  // A picture dropped beside its place must not replace the page.
  for (const type of ["dragover", "drop"]) document.addEventListener(type, (event) => event.preventDefault());
}

/** Show a model, the default one where none is named. */
async function open(name) {
  try {
    if (name === undefined) {
      const names = await listModels();
      byId("model-name").replaceChildren(...names.map((each) => element("option", { value: each }, each)));
      byId("model-name").disabled = names.length < 2;
      name = names[0];
    }
    await load(name);
    // With keys, metrics are for those whose key says so, and a link cannot send one.
    byId("metrics").hidden = byId("forget-key").hidden = false;
    (hasKey() ? byId("metrics") : byId("forget-key")).hidden = true;
    byId("sample-list").replaceChildren(...(await sampleButtons(useSample)));
    byId("samples").hidden = !Object.values(page.model.modalities).some(({ kind }) => kind === "image");
  } catch (error) {
    const again = () => open(name);
    showProblem(error, again);
    // While the models load, the service says when to come back.
    if (error.status === 503 && error.retryAfter) setTimeout(again, error.retryAfter * 1000);
  }
}

async function load(name) {
  page.running?.abort();
  page.model = await describeModel(name);
  page.inputs = buildInputs(page.model.modalities, refresh);
  byId("inputs").replaceChildren(...page.inputs.nodes);
  byId("any-will-do").hidden = page.inputs.nodes.length < 2;
  byId("model").hidden = false;
  byId("model-version").textContent = `version ${page.model.version}`;
  byId("tasks").replaceChildren(...Object.keys(page.model.tasks).map(taskBox));
  byId("task-filter").hidden = Object.keys(page.model.tasks).length < 2;
  byId("cards").replaceChildren(...emptyCards(page.model.tasks));
  byId("used").replaceChildren();
  byId("timing").hidden = true;
  byId("problem").hidden = true;
  refresh();
}

function taskBox(name) {
  const box = element("input", { type: "checkbox", name: "task", value: name, checked: true, onchange: refresh });
  return element("label", { class: "task" }, box, element("span", {}, name));
}

function checkTasks(on) {
  for (const box of byId("tasks").querySelectorAll("input")) box.checked = on;
  refresh();
}

/** The tasks asked for, or null where that is all of them. */
function chosenTasks() {
  const boxes = [...byId("tasks").querySelectorAll("input")];
  const chosen = boxes.filter((box) => box.checked).map((box) => box.value);
  return chosen.length === boxes.length ? null : chosen;
}

function refresh() {
  const tasks = chosenTasks();
  const count = Object.keys(page.model.tasks).length;
  byId("task-count").textContent = tasks === null ? `all ${count}` : `${tasks.length} of ${count}`;
  byId("predict").disabled = Object.keys(page.inputs.values()).length === 0 || tasks?.length === 0;
}

function useSample(picture, text) {
  page.inputs.fill(picture, text);
  ask();
}

async function ask() {
  if (byId("predict").disabled) return;
  page.running?.abort();
  const running = new AbortController();
  page.running = running;
  busy(true);
  try {
    const parts = page.inputs.values();
    const result = await predict(parts, { model: page.model.name, tasks: chosenTasks() }, running.signal);
    byId("problem").hidden = true;
    showAnswer(result, parts);
  } catch (error) {
    if (error.name !== "AbortError") showProblem(error, ask);
  } finally {
    if (page.running === running) busy(false);
  }
}

function busy(on) {
  byId("answers").setAttribute("aria-busy", String(on));
  byId("predict").classList.toggle("busy", on);
  byId("predict").textContent = on ? "Predicting…" : "Predict";
}

/** `parts` are what was asked about: the form may say something else by the time that somebody asks why. */
function showAnswer({ answer, stages, elapsed }, parts) {
  const why = explainer(page.model, Object.keys(answer.predictions), parts, page.running.signal);
  byId("cards").replaceChildren(...answerCards(answer.predictions, page.model.tasks, why));
  const cut = new Set(answer.truncated || []);
  byId("used").replaceChildren(
    ...Object.keys(page.model.modalities).map((name) => {
      const used = answer.modalities.includes(name);
      const strange = used && answer.familiarity?.[name] < STRANGE;
      const state = [
        used ? "used" : "not given",
        cut.has(name) && "cut to its first part",
        strange && "unlike what the model was trained on",
      ];
      return element(
        "li",
        { class: strange ? "on strange" : used ? "on" : "off" },
        name,
        element("span", { class: "state" }, state.filter(Boolean).join(", ")),
      );
    }),
  );
  byId("timing").replaceChildren(...timingNodes(stages, elapsed));
  byId("timing").hidden = false;
  byId("status").textContent = spoken(answer.predictions);
  reveal(byId("answers"));
}

function showProblem(error, again) {
  const problem = error instanceof Problem ? error : new Problem({ title: "The page failed", detail: String(error) });
  byId("cards").replaceChildren();
  byId("used").replaceChildren();
  byId("timing").hidden = true;
  byId("status").textContent = "";
  byId("problem").replaceChildren(
    element(
      "div",
      {},
      element("h3", {}, problem.title),
      problem.detail && element("p", {}, problem.detail),
      problem.retryAfter && element("p", {}, `Try again in ${problem.retryAfter} s.`),
      element(
        "p",
        { class: "problem-foot" },
        problem.status && element("span", {}, `Status ${problem.status}`),
        problem.requestId && element("span", {}, "Request ", element("code", {}, problem.requestId)),
        (problem.status === undefined || problem.retryAfter) &&
          element("button", { type: "button", class: "link", onclick: again }, "Try again"),
      ),
    ),
  );
  if (problem.needsKey) askForKey(again);
  // To be asked for a key for the first time is no problem.
  byId("problem").hidden = problem.needsKey && !hasKey();
  if (!byId("problem").hidden) reveal(byId("problem"));
}

/** Show the field for the key; `again` is what to do once there is one. */
function askForKey(again) {
  page.afterKey = again;
  byId("access").hidden = false;
  byId("key").value = "";
  byId("key").focus();
}

function giveKey(key) {
  if (key === "") return;
  // A header holds no other characters, and no key does.
  useKey(key.replace(/[^\x21-\x7e]/g, "?"));
  byId("access").hidden = true;
  byId("problem").hidden = true;
  page.afterKey();
}

/** On a narrow screen the answers stand below the form: bring them into view. */
function reveal(node) {
  if (node.getBoundingClientRect().top > window.innerHeight * 0.7) {
    const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    node.scrollIntoView({ behavior: still ? "auto" : "smooth", block: "start" });
  }
}

wire();
open();

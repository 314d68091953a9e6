// Ask a running service for every task's answer. Needs Node 20; the same code runs in a browser, but for the file.
//
//   node examples/client.mjs --image examples/pictures/shoe.jpg --text "Men White Sports Shoes"
//   node examples/client.mjs --text "Women Red Dress" --tasks articleType,baseColour
//
// Prints a line a task; exits with 1 and the service's own words when there is no answer. An API key, where the service
// asks for one, is read from the environment variable TRUNKLINE_KEY: a command line is there for every user to see.

import { openAsBlob } from "node:fs";
import { basename } from "node:path";
import { parseArgs } from "node:util";

const { values: given } = parseArgs({
  options: {
    url: { type: "string", default: "http://127.0.0.1:8000" },
    image: { type: "string" },
    text: { type: "string" },
    tasks: { type: "string" },
  },
});

async function predict() {
  const form = new FormData();
  if (given.image) form.append("image", await openAsBlob(given.image), basename(given.image));
  if (given.text) form.append("text", given.text);
  if (given.tasks) form.append("tasks", given.tasks);
  // No Content-Type here: fetch writes it, with the boundary of the parts.
  const key = process.env.TRUNKLINE_KEY;
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  const response = await fetch(`${given.url}/predict`, { method: "POST", body: form, headers });
  const body = await response.json();
  if (!response.ok) throw new Error(`${body.title}: ${body.detail}`);
  return body.predictions;
}

const percent = (share) => `${Math.round(share * 100)}%`;

function line(prediction) {
  switch (prediction.kind) {
    case "multiclass":
    case "binary":
      return `${prediction.label} (${percent(prediction.confidence)})`;
    case "multilabel":
      return prediction.labels.map((label) => `${label} (${percent(prediction.confidences[label])})`).join(", ") || "none";
    default:
      return `${prediction.value}${prediction.interval ? ` (${prediction.interval.join(" to ")})` : ""}`;
  }
}

try {
  for (const [task, prediction] of Object.entries(await predict())) console.log(`${task}: ${line(prediction)}`);
} catch (error) {
  // fetch hides why it failed behind "fetch failed".
  console.error(error.cause ? `no answer: ${error.cause.message || error.cause.code}` : error.message);
  process.exitCode = 1;
}
